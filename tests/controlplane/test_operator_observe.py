"""What a round sees beyond its own watches: free accelerators, missing classes, the objects of others."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mooring_operator.cluster import kinds
from mooring_operator.cluster.cache import Cache
from mooring_operator.cluster.errors import NotFoundError
from mooring_operator.cluster.observe import Observer
from mooring_operator.cluster.peers import Peers
from mooring_operator.facts import Manifest, ObjectKey, Observed
from mooring_operator.validation import parse_service
from tests.support.world import World, eventually

pytestmark = pytest.mark.usefixtures("operator_env")
GPU = f"example.com/gpu-{secrets.token_hex(3)}"
"""A resource of this run: other tests' nodes have none of it."""


@pytest.fixture
async def node(world: World) -> AsyncIterator[str]:
    """A node with four accelerators, and no kubelet behind it."""
    name = f"gpus-{secrets.token_hex(3)}"
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"vendor.example/product": "L40S"}},
        "spec": {"taints": [{"key": GPU, "value": "yes", "effect": "NoSchedule"}]},
        "status": {"allocatable": {GPU: "4", "cpu": "8", "memory": "32Gi", "pods": "110"}},
    }
    await world.kube.create(kinds.NODE, manifest)
    yield name
    await world.kube.delete(kinds.NODE, None, name, (await world.kube.get(kinds.NODE, None, name))["metadata"]["uid"])


async def observe(world: World, cache: Cache | None = None, **spec: Any) -> Observed:
    """Observe a new service, with a cache that has just been filled unless another is given."""
    live = await world.make(f"seen-{secrets.token_hex(3)}", **spec)
    if cache is None:
        cache = Cache()
        await cache.fill(world.kube, kinds.WATCHED)
    service = parse_service(live)
    assert not isinstance(service, list)
    return await Observer(world.kube, cache, Peers()).observe(service, live)


async def occupy(
    world: World, node: str, count: int, phase: str = "Pending", labels: dict[str, str] | None = None
) -> Manifest:
    """Put a pod on the node, of someone else unless its labels say otherwise."""
    name = f"pod-{secrets.token_hex(3)}"
    resources = {"requests": {GPU: str(count)}, "limits": {GPU: str(count)}}
    container = {"name": "busy", "image": "busy:1", "resources": resources}
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": world.namespace, "labels": labels or {}},
        "spec": {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0},
    }
    written = await world.kube.create(kinds.POD, manifest)
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": world.namespace}}
    assert written["spec"]["nodeName"] == node
    return await world.kube.apply(kinds.POD, {**body, "status": {"phase": phase}}, "kubelet", subresource="status")


async def test_free_accelerators(world: World, node: str) -> None:
    await occupy(world, node, 1)
    await occupy(world, node, 2, phase="Running")
    await occupy(world, node, 1, phase="Succeeded")
    seen = {found.name: found for found in (await observe(world, accelerator={"type": GPU})).nodes}[node]
    assert (seen.allocatable[GPU], seen.free) == (4, {GPU: 1})
    assert seen.labels["vendor.example/product"] == "L40S"
    assert (GPU, "yes", "NoSchedule") in [(taint.key, taint.value, taint.effect) for taint in seen.taints]
    assert seen.schedulable


async def test_a_pod_of_ones_own_counts_as_soon_as_it_is_bound(world: World, node: str) -> None:
    cache = Cache()
    await cache.fill(world.kube, kinds.WATCHED)
    live = await world.make("own", accelerator={"type": GPU})
    service = parse_service(live)
    assert not isinstance(service, list)
    observer = Observer(world.kube, cache, Peers())

    async def free() -> int:
        return {found.name: found for found in (await observer.observe(service, live)).nodes}[node].free[GPU]

    assert await free() == 4
    labels = {"mooring.dev/inferenceservice": "own", "app.kubernetes.io/managed-by": "mooring"}
    cache.put(kinds.POD, await occupy(world, node, 1, labels=labels))
    assert await free() == 3, "the nodes were looked at a moment ago, and that is what is believed"
    await occupy(world, node, 1)
    assert await eventually("someone else's counts with the next look", lambda: told(free, 2))


async def told(look: Callable[[], Awaitable[int]], wanted: int) -> bool:
    return await look() == wanted


async def test_nodes_are_not_asked_for_in_vain(world: World, node: str) -> None:
    assert (await observe(world)).nodes == ()


async def test_missing_classes(world: World) -> None:
    pod = {"priorityClassName": "system-node-critical", "runtimeClassName": "not-there"}
    seen = await observe(world, pod=pod, accelerator={"deviceClass": "not.there.example"})
    assert [(one.field, one.kind, one.name) for one in seen.missing] == [
        ("spec.pod.runtimeClassName", "RuntimeClass", "not-there"),
        ("spec.accelerator.deviceClass", "DeviceClass", "not.there.example"),
    ]


async def test_foreign_objects_are_looked_at_again(world: World) -> None:
    cache = Cache()
    await cache.fill(world.kube, kinds.WATCHED)
    live = await world.make("foreign")
    service = parse_service(live)
    assert not isinstance(service, list)
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "foreign", "namespace": world.namespace},
    }
    theirs = await world.kube.create(kinds.SERVICE_ACCOUNT, account)
    key, gone = ObjectKey("ServiceAccount", "foreign"), ObjectKey("Service", "foreign")
    cache.foreign[service.uid] = {key: "someone", gone: "someone"}
    observer = Observer(world.kube, cache, Peers())
    assert (await observer.observe(service, live)).foreign == {key: "nobody (it has no controller)"}
    await world.kube.delete(kinds.SERVICE_ACCOUNT, world.namespace, "foreign", theirs["metadata"]["uid"])
    assert (await observer.observe(service, live)).foreign == {}


async def test_a_kind_that_is_needed_must_be_there(world: World) -> None:
    absent = kinds.Kind("nowhere.example", "v1", "things", "Thing")
    cache = Cache()
    with pytest.raises(NotFoundError):
        await cache.fill(world.kube, [absent])
    assert not cache.ready
