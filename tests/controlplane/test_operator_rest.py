"""An operator with nothing to do writes nothing but its Lease, also after a restart; and it uses no right in vain."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mooring_operator.cluster import kinds
from mooring_operator.facts import Manifest
from tests.cluster.cluster import Cluster
from tests.support.operator import USER, Operator, written
from tests.support.world import World

SERVICES = 12
SPECS: list[dict[str, Any]] = [
    {},
    {"replicas": 3},
    {"scaling": {"maxReplicas": 4, "cpu": {"target": 50}}},
    {"pod": {"labels": {"team": "red"}, "nodeSelector": {"disk": "fast"}}},
    {"model": {"uri": "https://models.example.com/m.onnx", "sha256": "a" * 64}},
    {"accelerator": {"type": "nvidia.com/gpu", "count": 2, "product": "NVIDIA-L40S"}},
]


async def quiet(cluster: Cluster, seconds: float = 3.0) -> None:
    """Wait until the operator has written nothing for a while: controllers take time to finish with new objects."""
    for _ in range(40):
        start = cluster.audit_size()
        await asyncio.sleep(seconds)
        if not written(cluster, start):
            return
    raise AssertionError("the operator does not come to rest")


def is_seen(deployment: Manifest) -> bool:
    """Whether the controllers have made the pods of a Deployment, of which none is ever ready here."""
    status, spec = deployment.get("status", {}), deployment["spec"]
    seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return bool(seen and status.get("replicas", 0) == status.get("unavailableReplicas", 0) == spec["replicas"])


@pytest.mark.timeout(600)
async def test_at_rest_it_writes_nothing_but_its_lease(
    world: World, control_plane: Cluster, new_operator: Callable[..., Operator], long: bool
) -> None:
    # Each service is looked at again about every two seconds: what a resync writes, it would write here.
    began = control_plane.audit_size()
    operator = new_operator(resync_seconds="2").start_leading()
    for number in range(SERVICES):
        await world.make(f"rest-{number}", **SPECS[number % len(SPECS)])
    for number in range(SERVICES):
        await world.appears(kinds.DEPLOYMENT, f"rest-{number}")
        await world.settled(f"rest-{number}")
        # What the controllers do late, the operator would hear of late.
        await world.becomes(kinds.DEPLOYMENT, f"rest-{number}", is_seen, "has as many pods as it wants", 60)
    await quiet(control_plane)
    start, rounds = control_plane.audit_size(), operator.metric("mooring_operator_reconciles_total")
    await asyncio.sleep(300 if long else 10)
    assert operator.metric("mooring_operator_reconciles_total") - rounds >= 3 * SERVICES
    assert written(control_plane, start) == []
    # A new process knows nothing of what the last one wrote, and still finds that nothing is to be done.
    assert operator.stop() == 0
    start = control_plane.audit_size()
    operator.start_leading()
    await asyncio.sleep(4)
    assert operator.metric("mooring_operator_reconciles_total") >= SERVICES
    assert written(control_plane, start) == []
    refused = [
        (entry["verb"], entry["requestURI"])
        for entry in control_plane.audit(began)
        if entry["user"]["username"] == USER and entry["annotations"].get("authorization.k8s.io/decision") == "forbid"
    ]
    assert refused == []
