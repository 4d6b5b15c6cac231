"""When the StatefulSet is written only as it was seen, and what goes on where the API server refuses something."""

from dataclasses import replace
from typing import cast

import pytest

from mooring_operator.api.membership import Record
from mooring_operator.cluster import kinds
from mooring_operator.cluster.cache import Cache
from mooring_operator.cluster.errors import ForbiddenError
from mooring_operator.cluster.kinds import Kind
from mooring_operator.cluster.kube import Kube
from mooring_operator.cluster.moves import Mover, guarded
from mooring_operator.cluster.peers import Peers
from mooring_operator.facts import Manifest, Members, Moves
from tests.support.builders import NAME, NAMESPACE, claim, observed, replica, service, stateful_set

STATEFUL = service(state={"volume": {"size": "2Gi"}})


class Refusing:
    """An API server that takes no object of these kinds."""

    def __init__(self, *refused: Kind) -> None:
        self.refused = refused
        self.evicted: list[tuple[str, str]] = []

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Make one."""
        return await self.apply(kind, manifest, "")

    async def apply(self, kind: Kind, manifest: Manifest, _manager: str) -> Manifest:
        """Apply one."""
        if kind in self.refused:
            raise ForbiddenError(403, "Forbidden", "exceeded quota")
        return {**manifest, "metadata": {**manifest["metadata"], "uid": "u", "resourceVersion": "9"}}

    async def evict(self, _namespace: str, name: str, uid: str) -> None:
        """Evict a pod."""
        self.evicted.append((name, uid))

    def mover(self, *claims: Manifest) -> Mover:
        """Return who writes to it."""
        cache = Cache()
        cache.begin(kinds.WATCHED)
        for each in claims:
            meta = {**each["metadata"], "namespace": NAMESPACE, "uid": "c", "resourceVersion": "5"}
            cache.put(kinds.PERSISTENT_VOLUME_CLAIM, {**each, "metadata": meta})
        return Mover(cast(Kube, self), cache, Peers(b"key"))


def live(replicas: int) -> Manifest:
    found = stateful_set("v1", replicas=replicas)
    return {**found, "metadata": {**found["metadata"], "resourceVersion": "77"}}


@pytest.mark.parametrize(
    ("keeps", "before", "after", "version"),
    [("Delete", 3, 2, "77"), ("Delete", 3, 3, None), ("Delete", 3, 4, None), ("Retain", 3, 1, None)],
    ids=["volumes go", "all stay", "more come", "volumes are kept"],
)
def test_volumes_are_taken_away_only_by_who_has_seen_the_latest(
    keeps: str, before: int, after: int, version: str | None
) -> None:
    asked = service(state={"volume": {"size": "1Gi"}, "retention": {"whenScaled": keeps}})
    other = {"kind": "Service", "metadata": {"name": NAME}}
    first, second = guarded(asked, [other, stateful_set("v1", replicas=after)], observed(live(before)))
    assert first == other
    assert second["metadata"].get("resourceVersion") == version


def test_a_statefulset_that_is_not_there_is_made() -> None:
    asked = service(state={"volume": {"size": "1Gi"}, "retention": {"whenScaled": "Delete"}})
    children = [stateful_set("v1")]
    assert guarded(asked, children, observed()) == children


async def test_a_volume_that_cannot_grow_keeps_no_failed_version_in_its_place() -> None:
    server = Refusing(kinds.PERSISTENT_VOLUME_CLAIM)
    down = replace(replica(0, "v2", ready=False), uid="of this pod and no successor")
    moves = Moves(grow={claim(0)["metadata"]["name"]: "2Gi"}, evict=down)
    [problem] = await server.mover(claim(0)).after_children(STATEFUL, observed(), moves)
    assert problem.reason == "VolumeCannotGrow"
    assert server.evicted == [(down.name, down.uid)]


@pytest.mark.parametrize(("kind", "name"), [(kinds.SECRET, "peer-token"), (kinds.CONFIG_MAP, "membership")])
async def test_what_the_api_server_refuses_is_told(kind: Kind, name: str) -> None:
    moves = Moves(record=Record(1, 1, (), {0: "a"}))
    [problem] = await Refusing(kind).mover().before_children(STATEFUL, Members(), moves)
    assert (problem.field, problem.reason) == ("spec.state", "ChildRefused")
    assert problem.message == f"{kind.kind} {NAME}-{name} cannot be written: 403 Forbidden: exceeded quota"


async def test_a_full_quota_of_secrets_stops_no_service_that_has_its_own() -> None:
    members = Members(record=Record(1, 1, (), {0: "a"}), version="4")
    moves = Moves(record=Record(2, 1, (), {0: "b"}, ("a",)))
    assert await Refusing(kinds.SECRET).mover().before_children(STATEFUL, members, moves) == []
