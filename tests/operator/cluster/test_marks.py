"""Marks of a rollout are written to the workload by which they were decided, and to no other state of it."""

from typing import Any, cast

import pytest

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.cluster.apply import Applier
from mooring_operator.cluster.cache import Cache
from mooring_operator.cluster.errors import ConflictError
from mooring_operator.cluster.kinds import Kind
from mooring_operator.cluster.kube import Kube
from mooring_operator.facts import Manifest
from tests.support import builders

GOOD, FAILED = names.ANNOTATION_GOOD_TEMPLATE, names.ANNOTATION_FAILED_TEMPLATE
SERVICE = builders.service(state={"volume": {"size": "1Gi"}})


class Server:
    """An API server with one StatefulSet."""

    def __init__(self) -> None:
        self.live = builders.stateful_set("v1")
        self.live["metadata"] |= {"uid": "u1", "resourceVersion": "10"}
        self.restless = 0
        """How many more writes its status is written before."""

    def write(self, **meta: Any) -> None:
        """Somebody writes it; without arguments only its status."""
        version = str(int(self.live["metadata"]["resourceVersion"]) + 1)
        self.live = {**self.live, "metadata": {**self.live["metadata"], **meta, "resourceVersion": version}}

    async def get(self, _kind: Kind, _namespace: str, _name: str) -> Manifest:
        """Read it."""
        return self.live

    async def apply(self, _kind: Kind, manifest: Manifest, _manager: str) -> Manifest:
        """Apply the annotations, where it is what is meant."""
        if self.restless:
            self.restless -= 1
            self.write()
        wanted, meta = manifest["metadata"], self.live["metadata"]
        if any(wanted.get(field, meta[field]) != meta[field] for field in ("uid", "resourceVersion")):
            raise ConflictError(409, "Conflict", "it was written meanwhile")
        kept = {key: value for key, value in meta["annotations"].items() if key not in names.ROLLOUT_MARKS}
        self.write(annotations=kept | wanted["annotations"])
        return self.live

    def marks(self) -> dict[str, str | None]:
        """What it carries."""
        return {key: self.live["metadata"]["annotations"].get(key) for key in (GOOD, FAILED)}


def looked(server: Server) -> tuple[Applier, Manifest]:
    """An operator that has just looked, and what it saw."""
    cache = Cache()
    cache.begin(kinds.WATCHED)
    cache.put(kinds.STATEFUL_SET, server.live)
    seen = cache.get(kinds.STATEFUL_SET, builders.NAMESPACE, builders.NAME)
    assert seen is not None
    return Applier(cast(Kube, server), cache), seen


async def test_an_old_plan_does_not_take_the_good_version_away() -> None:
    server = Server()
    held_up, before = looked(server)
    leader, seen = looked(server)
    assert await leader.apply_marks(SERVICE, {GOOD: "v1"}, seen)
    assert not await held_up.apply_marks(SERVICE, {}, before)
    for marks in ({FAILED: "v1"}, {GOOD: "v0"}, {}):
        with pytest.raises(ConflictError, match="written meanwhile"):
            await held_up.apply_marks(SERVICE, marks, before)
    assert server.marks() == {GOOD: "v1", FAILED: None}


async def test_an_old_plan_does_not_judge_a_newer_template() -> None:
    server = Server()
    held_up, before = looked(server)
    server.write(generation=3)
    with pytest.raises(ConflictError):
        await held_up.apply_marks(SERVICE, {FAILED: "v1"}, before)
    assert server.marks() == {GOOD: None, FAILED: None}


async def test_a_status_that_changes_meanwhile_holds_nothing_up() -> None:
    server = Server()
    applier, seen = looked(server)
    server.restless = 2
    assert await applier.apply_marks(SERVICE, {GOOD: "v1"}, seen)
    assert server.marks()[GOOD] == "v1"
    assert not await applier.apply_marks(SERVICE, {GOOD: "v1"}, seen)
    # One that never rests is for the next round.
    server.restless = 9
    with pytest.raises(ConflictError, match="all the time"):
        await applier.apply_marks(SERVICE, {}, server.live)


@pytest.mark.parametrize("before", [None, "u0"], ids=["there was none", "it is made anew"])
async def test_a_statefulset_that_was_just_made_gets_its_marks_unless_somebody_was_faster(before: str | None) -> None:
    server = Server()
    applier, made = looked(server)
    old = None if before is None else {**made, "metadata": {**made["metadata"], "uid": before}}
    server.write()
    assert await applier.apply_marks(SERVICE, {GOOD: "v1"}, old)
    late, _ = looked(server)
    with pytest.raises(ConflictError):
        await late.apply_marks(SERVICE, {GOOD: "v0"}, old)
    assert server.marks()[GOOD] == "v1"
