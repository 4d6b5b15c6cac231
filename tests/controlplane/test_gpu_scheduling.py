"""Services with accelerators of every vendor: where the operator and the scheduler bring them, and what users read.

No kubelet stands behind these nodes: a pod that has its node stays there, and is ready when the test says so.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.cluster.connection import Connection
from mooring_operator.cluster.kube import Kube
from mooring_operator.facts import Manifest
from tests.cluster import prepared
from tests.cluster.cluster import Cluster
from tests.support import accelerators
from tests.support.accelerators import PENDING, PLACED
from tests.support.world import World, condition, eventually

MARK = f"gpus-{secrets.token_hex(3)}"
GPU = "mooring.test/gpu"
IMAGES = {"runtime": {"variant": "onnx"}, "pod": {"nodeSelector": accelerators.selector(MARK)}}
MODEL = {"uri": "oci://registry.example/models/sentiment:v1"}
CHANGED = {"uri": "oci://registry.example/models/sentiment:v2"}
pytestmark = pytest.mark.usefixtures("leading")


@pytest.fixture(scope="module")
def fleet(control_plane: Cluster, leading: object) -> Iterator[None]:
    """The machines, and a service for each row of the tables."""
    control_plane.kubectl("create", "namespace", MARK)
    with accelerators.machines(control_plane, MARK):
        control_plane.apply(*(service(name, accelerator) for name, (accelerator, _) in (PLACED | PENDING).items()))
        yield
    control_plane.kubectl("delete", "namespace", MARK, "--wait=false")


@pytest.fixture
async def placed(control_plane: Cluster, fleet: None) -> AsyncIterator[World]:
    """The namespace of these services."""
    async with Kube(await Connection.load(control_plane.kubeconfig), concurrency=4) as kube:
        yield World(kube, MARK)


def service(name: str, accelerator: dict[str, Any]) -> Manifest:
    metadata = {"name": name, "namespace": MARK}
    spec = {"model": MODEL, "accelerator": accelerator, **IMAGES}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}


async def pods_of(world: World, service: str) -> list[Manifest]:
    """The pods of a service that are not being deleted."""
    selector = f"mooring.dev/inferenceservice={service},app.kubernetes.io/component=server"
    pages = world.kube.pages(kinds.POD, selector, namespace=world.namespace)
    return [pod async for page in pages for pod in page if "deletionTimestamp" not in pod["metadata"]]


async def the_pod_of(world: World, service: str) -> Manifest:
    """The only pod of a service, when it has a node."""

    async def look() -> Manifest | None:
        pods = await pods_of(world, service)
        return pods[0] if len(pods) == 1 and pods[0]["spec"].get("nodeName") else None

    return await eventually(f"service {service} has one pod on a node", look)


@pytest.mark.parametrize("name", PLACED)
async def test_the_service_lands_on_the_node_that_fits(name: str, placed: World) -> None:
    pod = await the_pod_of(placed, name)
    assert pod["spec"]["nodeName"] == f"{MARK}-{PLACED[name][1]}"


@pytest.mark.parametrize("name", PENDING)
async def test_the_status_says_why_no_node_fits(name: str, placed: World) -> None:
    accelerator, says = PENDING[name]

    def told(service: Manifest) -> bool:
        return says in condition(service, "ModelReady").get("message", "")

    service = await placed.becomes(kinds.INFERENCE_SERVICE, name, told, f"says {says!r}")
    found = condition(service, "ModelReady")
    assert (found["status"], found["reason"]) == ("False", "Unschedulable")
    assert condition(service, "Ready")["reason"] == "Unschedulable"
    asked = f"{accelerator.get('count', 1)} x {accelerator.get('type') or 'device class ' + accelerator['deviceClass']}"
    for words in (f"no node has {asked}", "Change spec.accelerator, add a node or free one"):
        assert words in found["message"]
    for wish in ("product", "minMemory"):
        assert accelerator.get(wish, "") in found["message"]


@pytest.mark.parametrize(
    ("accelerator", "reason", "says"),
    [
        ({"type": "habana.ai/gaudi", "product": "gaudi3"}, "Unsupported", "spec.accelerator.product"),
        ({"type": "amd.com/gpu", "minMemory": "64Gi"}, "Unsupported", "spec.accelerator.minMemory"),
        ({"deviceClass": "no-such-class"}, "DeviceClassNotFound", "spec.accelerator.deviceClass"),
    ],
)
async def test_what_no_scheduler_can_honour_stalls(
    accelerator: dict[str, Any], reason: str, says: str, placed: World
) -> None:
    name = f"stalled-{secrets.token_hex(2)}"
    await placed.make(name, model=MODEL, accelerator=accelerator, **IMAGES)
    service = await placed.settled(name)
    stalled = condition(service, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", reason)
    assert says in stalled["message"]
    assert await placed.get(kinds.DEPLOYMENT, name) is None


async def test_a_full_pool_is_checked_before_it_is_touched(control_plane: Cluster, placed: World) -> None:
    full = prepared.PreparedNode(f"{MARK}-full", {"pool": MARK}, resources={GPU: "1"})
    with prepared.nodes(control_plane, full):
        spec = {"accelerator": {"type": GPU}, "runtime": {"variant": "onnx"}, "pod": {"nodeSelector": {"pool": MARK}}}
        await placed.make("full", model=MODEL, **spec)
        pod = await the_pod_of(placed, "full")
        prepared.report_ready(control_plane, MARK, pod["metadata"]["name"])
        await placed.becomes(
            kinds.INFERENCE_SERVICE, "full", lambda found: condition(found, "Ready").get("status") == "True", "is ready"
        )
        await placed.change("full", model=CHANGED)

        def checking(found: Manifest) -> bool:
            return condition(found, "Reconciling").get("reason") == "CheckingModel"

        await placed.becomes(kinds.INFERENCE_SERVICE, "full", checking, "is checked")
        [after] = await pods_of(placed, "full")
        assert after["metadata"]["uid"] == pod["metadata"]["uid"]
        # Room appears: now the new pod starts beside the old one, and no check is needed any more.
        prepared.set_extended_resources(control_plane, f"{MARK}-full", {GPU: 2})

        async def two() -> bool:
            pods = await pods_of(placed, "full")
            return len(pods) == 2 and all(pod["spec"].get("nodeName") for pod in pods)

        await eventually("two pods have a node", two)
