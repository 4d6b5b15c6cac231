"""Who may take replicas of a stateful service away: an autoscaler that has measured its load, and nobody by the way."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.cluster.kube import APPLY, Call
from mooring_operator.facts import Manifest
from tests.support.kubelet import Kubelet
from tests.support.stateful import STATE, record_of, serving, settled
from tests.support.world import MERGE, World, condition, eventually

NAME = "talk"
SCALED: dict[str, Any] = {"minReplicas": 2, "maxReplicas": 8, "cpu": {"target": 50}}
pytestmark = [pytest.mark.usefixtures("leading", "growing_class"), pytest.mark.timeout(120)]


@pytest.fixture
async def kubelet(world: World) -> AsyncIterator[Kubelet]:
    async with Kubelet(world) as running:
        yield running


def written(world: World, **spec: Any) -> Manifest:
    """A file as users keep it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": NAME, "namespace": world.namespace},
        "spec": {"model": {"uri": "pvc://models/model.onnx"}, "state": STATE, "scaling": SCALED, **spec},
    }


async def scale(world: World, replicas: int, manager: str) -> None:
    """Write /scale as the autoscaler does."""
    path = kinds.INFERENCE_SERVICE.path(world.namespace, NAME, "scale")
    now = await world.kube.call(Call("get", "GET", path))
    del now["metadata"]["resourceVersion"]
    body = {**now, "spec": {"replicas": replicas}}
    await world.kube.call(Call("update", "PUT", path, (("fieldManager", manager),), body))


async def apply(world: World, manifest: Manifest) -> None:
    path = kinds.INFERENCE_SERVICE.path(world.namespace, NAME)
    query = (("fieldManager", "gitops"), ("force", "true"))
    await world.kube.call(Call("apply", "PATCH", path, query, manifest, APPLY))


async def looked_at(world: World) -> Manifest:
    """Wait until the autoscaler has had its say, and the operator after it."""

    def lifted(found: Manifest) -> bool:
        return bool(found["spec"]["replicas"] >= SCALED["minReplicas"])

    await world.becomes(kinds.INFERENCE_SERVICE, NAME, lifted, "is lifted to the minimum by the autoscaler")
    return await world.settled(NAME)


async def test_nothing_that_users_write_moves_a_session(world: World, kubelet: Kubelet) -> None:
    await apply(world, written(world, replicas=2))
    await settled(world, 2)
    await scale(world, 8, names.AUTOSCALER_FIELD_MANAGER)
    before = await settled(world, 8)
    for manifest in (written(world, replicas=1), written(world, replicas=2), written(world)):
        await apply(world, manifest)
        await looked_at(world)
        assert await record_of(world, NAME) == before
    live = await world.appears(kinds.INFERENCE_SERVICE, NAME)
    await world.kube.replace(
        kinds.INFERENCE_SERVICE, {**live, "spec": {**live["spec"], "replicas": 1, "resources": {"cpu": "1"}}}
    )
    await looked_at(world)
    assert await record_of(world, NAME) == before
    # A person may want fewer by hand, while the autoscaler is on: it is not the autoscaler that says so.
    await scale(world, 3, "kubectl")
    await world.settled(NAME)
    assert await record_of(world, NAME) == before
    assert kubelet.ordinals == list(range(8))
    assert (await world.appears(kinds.STATEFUL_SET, NAME))["spec"]["replicas"] == 8


@pytest.mark.parametrize("written_out", [True, False])
async def test_the_autoscaler_takes_replicas_away(written_out: bool, world: World, kubelet: Kubelet) -> None:
    # Who leaves `replicas` out of the file leaves no trace of the autoscaler's writes either.
    await apply(world, written(world, scaling={**SCALED, "minReplicas": 1}, **({"replicas": 1} if written_out else {})))
    await settled(world, 1)
    await scale(world, 3, names.AUTOSCALER_FIELD_MANAGER)
    before = await settled(world, 3)
    await scale(world, 1, names.AUTOSCALER_FIELD_MANAGER)

    async def measured() -> bool:
        # No metrics-server stands here: what its controller would have measured is written in its place.
        found = await world.appears(kinds.HORIZONTAL_POD_AUTOSCALER, NAME)
        metric = {"name": "cpu", "container": "server", "current": {"averageUtilization": 5, "averageValue": "1m"}}
        conditions = [
            {**each, **({"status": "True", "reason": "ValidMetricFound"} if each["type"] == "ScalingActive" else {})}
            for each in found["status"]["conditions"]
        ]
        status = {
            "conditions": conditions,
            "currentMetrics": [{"type": "ContainerResource", "containerResource": metric}],
        }
        path = kinds.HORIZONTAL_POD_AUTOSCALER.path(world.namespace, NAME, "status")
        await world.kube.call(Call("patch", "PATCH", path, (), {"status": status}, MERGE))
        record = await record_of(world, NAME)
        return record is not None and record.size == 1

    await eventually("fewer are members", measured)
    assert (await settled(world, 1)).epoch > before.epoch
    assert kubelet.replica(0).volume.record is not None


async def test_a_person_scales_where_there_is_no_autoscaler(world: World, kubelet: Kubelet) -> None:
    await world.make(NAME, state=STATE, replicas=1)
    await settled(world, 1)
    await scale(world, 2, "kubectl")
    await settled(world, 2)
    await world.change(NAME, replicas=1)
    await settled(world, 1)
    assert kubelet.replica(0).volume.record is not None


async def test_a_bad_edit_does_not_hold_sessions_up_that_are_on_their_way(world: World, kubelet: Kubelet) -> None:
    await world.make(NAME, state=STATE, replicas=3)
    await settled(world, 3)
    kubelet.replica(2).volume.sessions = 5
    kubelet.hands_over = False
    await world.change(NAME, replicas=1)

    async def shrinks() -> bool:
        record = await record_of(world, NAME)
        return record is not None and record.past == (3,)

    await eventually("it shrinks", shrinks)
    await world.change(NAME, replicas=2, pod={"priorityClassName": "nowhere"})

    def stalled(found: Manifest) -> bool:
        return condition(found, "Stalled").get("reason") == "PriorityClassNotFound"

    await world.becomes(kinds.INFERENCE_SERVICE, NAME, stalled, "is stalled")
    kubelet.hands_over = True
    ended = await settled(world, 1)
    # All of that, and nothing else: what the spec says now is not believed yet.
    assert kubelet.ordinals == [0, 1, 2]
    assert kubelet.replica(0).volume.sessions == 5
    assert condition(await world.appears(kinds.INFERENCE_SERVICE, NAME), "Stalled")["status"] == "True"
    await world.change(NAME, pod=None)
    assert (await settled(world, 2)).epoch > ended.epoch
    await eventually("the third one goes", gone(kubelet))


def gone(kubelet: Kubelet) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return kubelet.ordinals == [0, 1]

    return look


async def test_the_autoscaler_finds_the_replicas_by_our_scale(world: World, kubelet: Kubelet) -> None:
    await apply(world, written(world, replicas=2))
    await settled(world, 2)

    found = await world.appears(kinds.HORIZONTAL_POD_AUTOSCALER, NAME)
    assert found["spec"]["scaleTargetRef"] == {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": NAME}
    await serving(world, NAME)
    path = kinds.INFERENCE_SERVICE.path(world.namespace, NAME, "scale")
    told = await world.kube.call(Call("get", "GET", path))
    assert told["status"]["replicas"] == 2
    assert told["status"]["selector"] == (
        f"{names.LABEL_COMPONENT}={names.COMPONENT_SERVER},{names.LABEL_SERVICE}={NAME}"
    )
    service = await world.appears(kinds.INFERENCE_SERVICE, NAME)
    assert condition(service, "AutoscalingReady") != {}
    assert kubelet.ordinals == [0, 1]
