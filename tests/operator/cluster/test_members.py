"""What is gathered of the replicas of a stateful service, from what the watches brought."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.api.membership import Record
from mooring_operator.cluster import kinds
from mooring_operator.cluster.cache import Cache
from mooring_operator.cluster.connection import Connection
from mooring_operator.cluster.errors import LeftoverError
from mooring_operator.cluster.kinds import Kind
from mooring_operator.cluster.kube import Kube
from mooring_operator.cluster.members import MembersObserver, peer_pod
from mooring_operator.cluster.membership import Kept, kept, outlives
from mooring_operator.cluster.ownership import scaled_by
from mooring_operator.cluster.peers import Peers
from mooring_operator.facts import Manifest, Members, ObjectKey, Service
from tests.support import builders

STATE = {"volume": {"size": "1Gi"}}
RECORD = Record(3, 2, (), {0: "s0", 1: "s1"})
SERVICE = builders.service(state=STATE)
NAME, NAMESPACE = builders.NAME, builders.NAMESPACE
OURS = {names.LABEL_SERVICE: NAME, names.LABEL_MANAGED_BY: names.MANAGED_BY}


class Seen:
    """A cache to be filled with whole objects, as the API server gives them."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.cache.begin(kinds.WATCHED)
        self._version = 0

    def put(self, kind: Kind, name: str, labels: dict[str, str] | None = None, **fields: Any) -> None:
        self._version += 1
        meta: Manifest = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(self._version)}
        meta |= {"labels": OURS | (labels or {}), **fields.pop("meta", {})}
        if kind.namespaced:
            meta["namespace"] = NAMESPACE
        self.cache.put(kind, {"metadata": meta, "spec": {}, **fields})

    def record(self, text: str, **meta: Any) -> None:
        self.put(kinds.CONFIG_MAP, f"{NAME}-membership", data={"record.json": text, "other": "x"}, meta=meta)

    def pod(self, ordinal: int, node: str, **meta: Any) -> None:
        labels = {names.LABEL_ORDINAL: str(ordinal), names.LABEL_COMPONENT: names.COMPONENT_SERVER}
        status = {"phase": "Running", "podIP": f"10.0.0.{ordinal}"}
        self.put(kinds.POD, f"{NAME}-{ordinal}", labels, spec={"nodeName": node}, status=status, meta=meta)

    def claim(self, name: str, **meta: Any) -> None:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        self.put(kinds.PERSISTENT_VOLUME_CLAIM, name, spec=spec, status={"phase": "Bound"}, meta=meta)

    def node(self, name: str, ready: str, message: str = "") -> None:
        condition = {"type": "Ready", "status": ready, "message": message}
        self.put(kinds.NODE, name, status={"conditions": [condition]})

    async def members(self, service: Service = SERVICE, live: Manifest | None = None, *children: Manifest) -> Members:
        mine = {ObjectKey(child["kind"], child["metadata"]["name"]): child for child in children}
        # Nobody is asked: without a key the peers are silent, and a claim that stands decides the access mode.
        kube = Kube(Connection(None), 1)
        async with kube, Peers() as peers:
            return await MembersObserver(kube, self.cache, peers).observe(service, live or {"metadata": {}}, mine)


async def test_the_record_and_when_it_last_gave_another_size() -> None:
    seen = Seen()
    seen.claim(f"sessions-{NAME}-0")
    annotations = {names.ANNOTATION_RESIZED: "2026-11-22T12:00:00Z", names.ANNOTATION_BOOTS: '{"s0": 3}', "x": "y"}
    seen.record(RECORD.to_json(), annotations=annotations)
    found = await seen.members()
    assert (found.record, found.version) == (RECORD, "2")
    assert found.resized == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert found.notes == {names.ANNOTATION_BOOTS: '{"s0": 3}'}


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"epoch": 9, "size": 1000000000, "past": [], "stores": {}}'])
async def test_a_record_that_cannot_be_read_is_none_and_can_be_replaced(text: str) -> None:
    seen = Seen()
    seen.claim(f"sessions-{NAME}-0")
    seen.record(text, annotations={names.ANNOTATION_RESIZED: "yesterday"})
    found = await seen.members()
    assert (found.record, found.version, found.resized) == (None, "2", None)
    assert kept(None) == Kept()


@pytest.mark.parametrize(
    ("meta", "leftover"),
    [
        ({}, False),
        ({"ownerReferences": [{"kind": "InferenceService", "uid": builders.UID}]}, False),
        ({"ownerReferences": [{"kind": "InferenceService", "uid": "of-the-deleted-one"}]}, True),
        ({"deletionTimestamp": "now"}, True),
    ],
)
async def test_the_record_of_a_deleted_service_whose_volumes_go_is_not_taken_over(
    meta: dict[str, Any], leftover: bool
) -> None:
    # Its stores are about to be deleted: under it every new volume would be refused.
    seen = Seen()
    seen.claim(f"sessions-{NAME}-0")
    seen.record(RECORD.to_json(), **meta)
    if leftover:
        with pytest.raises(LeftoverError, match="still there"):
            await seen.members()
    else:
        assert (await seen.members()).record == RECORD


@pytest.mark.parametrize(
    ("meta", "leftover"),
    [
        ({"ownerReferences": [{"kind": "StatefulSet", "uid": "gone"}]}, True),
        ({"ownerReferences": [{"kind": "StatefulSet", "uid": "present"}]}, False),
        ({"ownerReferences": [{"kind": "Pod", "uid": "gone"}]}, False),
        ({"ownerReferences": [{"kind": "StatefulSet", "uid": "gone"}], "deletionTimestamp": "now"}, False),
        ({}, False),
    ],
)
async def test_claims_that_go_with_a_deleted_service_are_not_taken_over(meta: dict[str, Any], leftover: bool) -> None:
    seen = Seen()
    seen.claim(f"sessions-{NAME}-0", **meta)
    seen.claim(f"sessions-{NAME}-1")
    service = builders.service(state={**STATE, "retention": {"whenDeleted": "Delete"}})
    live = builders.stateful_set("v1")
    live["metadata"]["uid"] = "present"
    if leftover:
        with pytest.raises(LeftoverError, match=f"claim sessions-{NAME}-0 of the deleted service"):
            await seen.members(service, None, live)
    else:
        await seen.members(service, None, live)


@pytest.mark.parametrize(
    ("owner", "retention", "recorded", "leftover"),
    [
        ("gone", "Delete", False, True),
        ("present", "Delete", False, False),
        ("", "Delete", False, False),  # between two StatefulSets
        ("gone", "Delete", True, False),
        ("gone", "Retain", False, False),  # what they say still holds
    ],
)
async def test_replicas_of_a_deleted_service_whose_volumes_go_are_not_heard(
    owner: str, retention: str, recorded: bool, leftover: bool
) -> None:
    seen = Seen()
    seen.claim(f"sessions-{NAME}-0")
    owners = [{"kind": "StatefulSet", "name": NAME, "uid": owner, "controller": True}] if owner else []
    seen.pod(0, "node0", ownerReferences=owners)
    if recorded:
        seen.record(RECORD.to_json())
    service = builders.service(state={**STATE, "retention": {"whenDeleted": retention}})
    live = builders.stateful_set("v1")
    live["metadata"]["uid"] = "present"
    seen.node("node0", "True")
    if leftover:
        with pytest.raises(LeftoverError, match=f"pod {NAME}-0 of the deleted service"):
            await seen.members(service, None, live)
        with pytest.raises(LeftoverError):
            await seen.members(service)
        seen.node("node0", "Unknown", "no heartbeat")
        await seen.members(service)
    else:
        await seen.members(service, None, live)


async def test_claims_by_ordinal_with_and_without_a_pod() -> None:
    seen = Seen()
    # Nobody's service has a thousand million replicas: counted so far, none would be served.
    seen.claim(f"sessions-{NAME}-1000000000")
    seen.pod(10**9, "node0")
    for name in (f"sessions-{NAME}-10", f"sessions-{NAME}-2", f"sessions-{NAME}-x", f"sessions-{NAME}-01", "theirs-0"):
        seen.claim(name)
    seen.claim(f"sessions-{NAME}-3", deletionTimestamp="now")
    found = await seen.members()
    assert list(found.claims) == [2, 10]
    assert found.going == {3}
    assert found.silent == {}
    assert found.claims[2]["status"]["phase"] == "Bound"


async def test_pods_that_are_asked_and_pods_that_end() -> None:
    seen = Seen()
    seen.claim(f"sessions-{NAME}-0")
    seen.pod(0, "node0")
    seen.pod(1, "node1", deletionTimestamp="now")
    seen.put(kinds.POD, f"{NAME}-router-x", {names.LABEL_COMPONENT: names.COMPONENT_ROUTER}, status={})
    found = await seen.members()
    assert list(found.silent) == [0, 1]
    assert [(pod.ordinal, pod.node) for pod in found.ending] == [(1, "node1")]
    assert [pod.name for pod in found.router] == [f"{NAME}-router-x"]


async def test_nodes_that_are_lost() -> None:
    seen = Seen()
    seen.claim(f"sessions-{NAME}-0")
    for ordinal, (node, ready, message) in enumerate(
        (("well", "True", ""), ("away", "Unknown", "no heartbeat"), ("ill", "False", ""))
    ):
        seen.node(node, ready, message)
        seen.pod(ordinal, node)
    seen.pod(3, "removed")
    seen.node("unused", "Unknown")
    assert (await seen.members()).lost_nodes == {
        "away": "no heartbeat",
        "ill": "it is not ready",
        "removed": "it does not exist any more",
    }


async def test_the_access_mode_never_flips() -> None:
    seen = Seen()
    seen.claim(f"sessions-{NAME}-0")
    assert (await seen.members()).access_mode == "ReadWriteOnce"
    claim = {"metadata": {"name": names.CLAIM_SESSIONS}, "spec": {"accessModes": ["ReadWriteOncePod"]}}
    other = {"metadata": {"name": "other"}, "spec": {"accessModes": ["ReadWriteMany"]}}
    template: Manifest = {"metadata": {"annotations": {}}}
    stands = {
        "kind": "StatefulSet",
        "metadata": {"name": NAME, "annotations": {}},
        "spec": {"volumeClaimTemplates": [other, claim], "template": template},
    }
    assert (await seen.members(SERVICE, None, stands)).access_mode == "ReadWriteOncePod"


async def test_what_a_person_gave_up() -> None:
    seen = Seen()
    seen.claim(f"sessions-{NAME}-0")
    live = {"metadata": {"annotations": {names.ANNOTATION_ABANDON_STORE: "s1"}}}
    assert (await seen.members(SERVICE, live)).abandon == "s1"


def test_the_identity_of_a_pod_changes_with_what_may_change_its_report() -> None:
    def pod(**changed: Any) -> Manifest:
        status = {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": changed.pop("ready", "True")}]}
        status["containerStatuses"] = [{"restartCount": changed.pop("restarts", 0)}]
        return {"metadata": {"uid": "a", **changed}, "status": status}

    same = peer_pod(1, pod())
    assert (same.ordinal, same.address) == (1, "10.0.0.1")
    others = [pod(uid="b"), pod(restarts=1), pod(ready="False"), pod(deletionTimestamp="now")]
    assert len({same, *(peer_pod(1, other) for other in others)}) == 5
    assert peer_pod(1, {"metadata": {"uid": "a"}}).address == ""


@pytest.mark.parametrize("retention", ["Retain", "Delete"])
def test_the_record_lives_as_long_as_the_volumes(retention: str) -> None:
    service = builders.service(state={**STATE, "retention": {"whenDeleted": retention}})
    assert outlives(service) == (retention == "Retain")


@pytest.mark.parametrize(
    ("entries", "manager"),
    [
        # Of a field that nobody owns the API server does not say who wrote it.
        ([], "kube-controller-manager"),
        ([("kubectl", "", "f:other")], "kube-controller-manager"),
        ([("kubectl", "", "f:replicas")], ""),
        ([("kube-controller-manager", "scale", "f:replicas")], "kube-controller-manager"),
        # Somebody applied another value: the field is theirs now, and what is left of the entry says nothing of it.
        ([("kube-controller-manager", "scale", "f:other"), ("argocd", "", "f:replicas")], ""),
        ([("kubectl", "scale", "f:replicas"), ("kube-controller-manager", "scale", "f:other")], "kubectl"),
    ],
)
def test_who_wrote_the_scale(entries: list[tuple[str, str, str]], manager: str) -> None:
    managed = [
        {"manager": who, "subresource": where, "operation": "Update", "fieldsV1": {"f:spec": {field: {}}}}
        for who, where, field in entries
    ]
    assert scaled_by({"metadata": {"managedFields": managed}}) == manager
