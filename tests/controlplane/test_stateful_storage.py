"""Volumes and nodes of stateful services: what the cluster has, what it refuses, what is lost."""

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from mooring_operator.cluster import kinds
from mooring_operator.cluster.kube import Call
from mooring_operator.facts import Manifest
from tests.cluster.cluster import Cluster
from tests.support.kubelet import Kubelet
from tests.support.stateful import STATE, pods_of, serving, settled
from tests.support.world import MERGE, World, condition

MARK = secrets.token_hex(3)
DRIVER, CSI, FIXED = f"csi-{MARK}.test", f"csi-{MARK}", f"fixed-{MARK}"
IN_USE = "mooring.test/in-use"
pytestmark = [pytest.mark.usefixtures("leading", "growing_class", "classes"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def classes(control_plane: Cluster) -> Iterator[None]:
    """A class of a CSI driver, and one whose volumes cannot grow."""
    made: list[Manifest] = [
        {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {}},
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CSI},
            "provisioner": DRIVER,
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": FIXED},
            "provisioner": "mooring.test/fixed",
        },
    ]
    control_plane.apply(*made)
    yield
    for each in made:
        control_plane.kubectl("delete", each["kind"].lower(), each["metadata"]["name"])


@pytest.fixture
async def kubelet(world: World) -> AsyncIterator[Kubelet]:
    async with Kubelet(world) as running:
        yield running


def state(storage_class: str, size: str = "1Gi") -> dict[str, Any]:
    return {**STATE, "volume": {"size": size, "storageClassName": storage_class}}


def modes(workload: Manifest) -> list[str]:
    [claim] = workload["spec"]["volumeClaimTemplates"]
    return list(claim["spec"]["accessModes"])


async def test_a_driver_that_can_lets_one_pod_use_a_volume(world: World, control_plane: Cluster) -> None:
    await world.make("talk", state=state(CSI))
    assert modes(await world.appears(kinds.STATEFUL_SET, "talk")) == ["ReadWriteOncePod"]
    # What stands stays: a template that cannot be changed must not be asked to.
    control_plane.kubectl("delete", "csidriver", DRIVER)
    await world.change("talk", resources={"cpu": "2"})
    await world.settled("talk")
    told = await world.appears(kinds.INFERENCE_SERVICE, "talk")
    assert condition(told, "Stalled").get("status") == "False"
    assert modes(await world.appears(kinds.STATEFUL_SET, "talk")) == ["ReadWriteOncePod"]
    control_plane.apply(
        {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {}}
    )


async def test_other_volumes_are_for_one_node(world: World) -> None:
    await world.make("talk", state=STATE)
    assert modes(await world.appears(kinds.STATEFUL_SET, "talk")) == ["ReadWriteOnce"]


async def test_a_class_that_is_not_there_is_named(world: World) -> None:
    await world.make("talk", state=state("nowhere"))

    def stalled(found: Manifest) -> bool:
        return condition(found, "Stalled").get("reason") == "StorageClassNotFound"

    told = await world.becomes(kinds.INFERENCE_SERVICE, "talk", stalled, "is stalled")
    assert "spec.state.volume.storageClassName" in condition(told, "Stalled")["message"]


async def test_a_class_that_cannot_grow_is_told(world: World, kubelet: Kubelet) -> None:
    await world.make("talk", state=state(FIXED))
    await settled(world, 1)
    await serving(world)
    before = await world.appears(kinds.STATEFUL_SET, "talk")
    await world.change("talk", state={"volume": {"size": "2Gi"}})

    def stalled(found: Manifest) -> bool:
        return condition(found, "Stalled").get("reason") == "VolumeCannotGrow"

    told = condition(await world.becomes(kinds.INFERENCE_SERVICE, "talk", stalled, "is stalled"), "Stalled")
    for part in ("spec.state.volume.size", "'sessions-talk-0'", FIXED, "allowVolumeExpansion"):
        assert part in told["message"]
    # What serves goes on, and the StatefulSet stands as it was.
    assert (await world.appears(kinds.STATEFUL_SET, "talk"))["metadata"]["uid"] == before["metadata"]["uid"]
    assert kubelet.ordinals == [0]


async def test_a_claim_that_is_deleted_keeps_its_pod_until_its_sessions_have_moved(
    world: World, kubelet: Kubelet
) -> None:
    await world.make("talk", state=STATE, replicas=2)
    await settled(world, 2)
    await serving(world)
    kubelet.replica(1).volume.sessions = 3
    before = await pods_of(world)
    # As Kubernetes protects a claim that a pod on a node uses; here no pod is on one.
    await world.patch(kinds.PERSISTENT_VOLUME_CLAIM, "sessions-talk-1", {"metadata": {"finalizers": [IN_USE]}})
    await world.delete(kinds.PERSISTENT_VOLUME_CLAIM, "sessions-talk-1")

    def at_risk(found: Manifest) -> bool:
        return condition(found, "AtRisk").get("reason") == "VolumeLost"

    told = condition(await world.becomes(kinds.INFERENCE_SERVICE, "talk", at_risk, "tells of it"), "AtRisk")
    assert "'sessions-talk-1'" in told["message"]
    # A new version would take the pod, and with it the volume.
    await world.change("talk", resources={"cpu": "2"})

    def waits(found: Manifest) -> bool:
        return "claim of replica 1 is being deleted" in condition(found, "Reconciling").get("message", "")

    await world.becomes(kinds.INFERENCE_SERVICE, "talk", waits, "waits with that pod", 40)
    now = await pods_of(world)
    same = [o for o in (0, 1) if now[o]["metadata"]["uid"] == before[o]["metadata"]["uid"]]
    assert same == [1]
    # What the message says saves the sessions.
    await world.change("talk", replicas=1)
    await settled(world, 1)
    await world.vanishes(kinds.POD, "talk-1")
    await world.patch(kinds.PERSISTENT_VOLUME_CLAIM, "sessions-talk-1", {"metadata": {"finalizers": None}})
    await world.vanishes(kinds.PERSISTENT_VOLUME_CLAIM, "sessions-talk-1")
    assert kubelet.replica(0).volume.sessions == 3
    assert condition(await serving(world), "AtRisk")["status"] == "False"


async def test_a_lost_node_is_told_with_the_remedy(world: World, kubelet: Kubelet, control_plane: Cluster) -> None:
    node = f"lost-{MARK}"
    control_plane.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    try:
        await world.make("talk", state=STATE, replicas=2)
        await settled(world, 2)
        assert condition(await serving(world), "AtRisk")["status"] == "False"
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": "talk-1", "namespace": world.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        path = kinds.POD.path(world.namespace, "talk-1", "binding")
        await world.kube.call(Call("create", "POST", path, (), binding))
        # Nobody hears of it any more: its controller says so, and takes the readiness of its pods away.
        unready = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "no word from it"}]
        await world.kube.call(
            Call(
                "patch", "PATCH", kinds.NODE.path(None, node, "status"), (), {"status": {"conditions": unready}}, MERGE
            )
        )
        away = [{"type": "Ready", "status": "False"}]
        await world.kube.call(
            Call(
                "patch",
                "PATCH",
                kinds.POD.path(world.namespace, "talk-1", "status"),
                (),
                {"status": {"conditions": away}},
                MERGE,
            )
        )

        def at_risk(found: Manifest) -> bool:
            return condition(found, "AtRisk").get("reason") == "NodeLost"

        told = condition(await world.becomes(kinds.INFERENCE_SERVICE, "talk", at_risk, "is at risk"), "AtRisk")
        for part in ("replica 1", f"'{node}'", "no word from it", "out-of-service", "--force"):
            assert part in told["message"]
        assert kubelet.ordinals == [0, 1]
    finally:
        control_plane.kubectl("delete", "node", node)
