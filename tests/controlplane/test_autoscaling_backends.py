"""Who scales a service follows who serves the cluster's external metrics; never two at once, and replicas stay."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from mooring_operator.cluster import kinds
from mooring_operator.cluster.kinds import Kind
from mooring_operator.facts import Manifest
from tests.cluster.cluster import Cluster
from tests.support import foreign
from tests.support.operator import Operator
from tests.support.world import World, condition, eventually

pytestmark = pytest.mark.timeout(180)
LATENCY = {"minReplicas": 2, "maxReplicas": 6, "latency": {"target": "80ms"}}
OURS, THEIRS = kinds.HORIZONTAL_POD_AUTOSCALER, kinds.SCALED_OBJECT


@pytest.fixture(scope="module", autouse=True)
def installed(control_plane: Cluster) -> Iterator[None]:
    """The kinds of KEDA and of the Prometheus operator."""
    with foreign.definitions(control_plane):
        yield


@pytest.fixture(autouse=True)
def nobody_serves(control_plane: Cluster) -> Iterator[None]:
    foreign.serve_no_metrics(control_plane)
    yield
    foreign.serve_no_metrics(control_plane)


@pytest.fixture
def lead(new_operator: Callable[..., Operator]) -> Callable[[], Operator]:
    """Starts an operator that looks often."""

    def start() -> Operator:
        settings = {
            "scaling_seconds": "0.3",
            "prometheus_url": "http://127.0.0.1:9",
            "monitor_labels": '{"release": "a"}',
        }
        return new_operator(**settings).start_leading()

    return start


async def says(world: World, name: str, *reasons: str) -> Manifest:
    """Wait until AutoscalingReady has one of these reasons; return it."""
    service = await world.becomes(
        kinds.INFERENCE_SERVICE,
        name,
        lambda found: condition(found, "AutoscalingReady").get("reason") in reasons,
        f"has AutoscalingReady with reason {' or '.join(reasons)}",
    )
    return condition(service, "AutoscalingReady")


async def replicas(world: World, name: str) -> int:
    found: int = (await world.appears(kinds.DEPLOYMENT, name))["spec"]["replicas"]
    return found


@asynccontextmanager
async def never_two(world: World, name: str) -> AsyncIterator[None]:
    """Fails when a HorizontalPodAutoscaler of ours and a ScaledObject, or what was made of it, stand at one time."""
    both: list[list[str]] = []

    async def watch() -> None:
        while True:
            # Theirs first and last: what goes in between is not counted as standing beside what came.
            before, ours, after = [await world.get(*one) for one in ((THEIRS, name), (OURS, name), (THEIRS, name))]
            of_keda = await world.get(OURS, f"keda-hpa-{name}")
            if ours is not None and ((before is not None and after is not None) or of_keda is not None):
                both.append([kind for kind, found in (("theirs", after), ("KEDA's", of_keda)) if found is not None])
            await asyncio.sleep(0.01)

    task = asyncio.create_task(watch())
    yield
    task.cancel()
    assert both == []


async def test_what_is_made_follows_the_server_of_external_metrics(
    world: World, control_plane: Cluster, lead: Callable[[], Operator]
) -> None:
    operator = lead()
    await world.make("moves", scaling=LATENCY)
    ours = await world.appears(OURS, "moves")
    assert ours["spec"]["metrics"][0]["external"]["metric"]["name"] == "mooring_desired_replicas"
    assert (await says(world, "moves", "MetricsAPIMissing"))["status"] == "False"
    # The autoscaler of the control plane holds the bounds, also without a metric.
    await world.becomes(kinds.DEPLOYMENT, "moves", lambda found: found["spec"]["replicas"] == 2, "has its minimum")
    await world.patch(kinds.DEPLOYMENT, "moves", {"spec": {"replicas": 5}}, "horizontal-pod-autoscaler")

    async with never_two(world, "moves"):
        foreign.serve_metrics(control_plane, foreign.KEDA)
        scaled_object = await world.appears(THEIRS, "moves")
        await world.vanishes(OURS, "moves")
        trigger = scaled_object["spec"]["triggers"][0]["metadata"]
        assert trigger["serverAddress"] == "http://127.0.0.1:9"
        await says(world, "moves", "AdapterDown", "KedaNotReady")
        assert await replicas(world, "moves") == 5

        # As KEDA does. Its autoscaler goes with the ScaledObject, and ours comes only after it.
        await world.kube.create(OURS, foreign.keda_autoscaler(scaled_object))
        foreign.serve_metrics(control_plane, foreign.SOMEBODY)
        told = await says(world, "moves", "MetricsAPIConflict")
        assert "monitoring/cluster-agent" in told["message"]
        assert await world.get(THEIRS, "moves") is not None, "what stands goes on while nobody can decide"

        # Neither a restart nor a new look takes anything over.
        operator.kill()
        lead()
        await says(world, "moves", "MetricsAPIConflict")
        assert await world.get(THEIRS, "moves") is not None
        assert await world.get(OURS, "moves") is None
        api = control_plane.get("apiservice", "v1beta1.external.metrics.k8s.io")
        assert api["spec"]["service"]["name"] == "cluster-agent"

        foreign.serve_metrics(control_plane, foreign.OURS)
        await world.appears(OURS, "moves")
        await world.vanishes(THEIRS, "moves")
    assert await replicas(world, "moves") == 5
    told = await says(world, "moves", "AdapterDown")
    assert "mooring-system/mooring-adapter" in told["message"]


async def test_an_explicit_back_end_is_made_as_it_is_written(world: World, lead: Callable[[], Operator]) -> None:
    lead()
    spec = {**LATENCY, "queue": {"target": 4}, "cpu": {"target": 60, "force": True}}
    await world.make("written", scaling={**spec, "backend": "keda"})
    scaled_object = await world.appears(THEIRS, "written")
    assert [trigger["type"] for trigger in scaled_object["spec"]["triggers"]] == ["prometheus", "prometheus", "cpu"]
    async with never_two(world, "written"):
        await world.change("written", scaling={**spec, "backend": "prometheusAdapter"})
        ours = await world.appears(OURS, "written")
        assert len(ours["spec"]["metrics"]) == 3
        # By the cluster's own CPU alone nobody is needed.
        await world.change(
            "written", scaling={"maxReplicas": 6, "cpu": {"target": 60}, "backend": "auto"} | _nothing(spec)
        )
        await world.becomes(OURS, "written", lambda found: len(found["spec"]["metrics"]) == 1, "goes by CPU")


def _nothing(spec: dict[str, object]) -> dict[str, None]:
    return {field: None for field in ("latency", "queue") if field in spec}


@pytest.mark.parametrize("backend", ["adapter", "keda"])
async def test_replicas_pass_to_each_autoscaler_and_back(
    backend: str, world: World, control_plane: Cluster, lead: Callable[[], Operator]
) -> None:
    lead()
    await world.make("back", replicas=3)
    await world.becomes(kinds.DEPLOYMENT, "back", lambda found: found["spec"]["replicas"] == 3, "has 3 replicas")
    await world.change("back", scaling={**LATENCY, "backend": backend})
    kind = {"adapter": OURS, "keda": THEIRS}[backend]
    await world.appears(kind, "back")
    assert await replicas(world, "back") == 3, "and not the default of the API, which is 1"
    await world.patch(kinds.DEPLOYMENT, "back", {"spec": {"replicas": 5}}, "horizontal-pod-autoscaler")
    await world.change("back", resources={"cpu": "2"})

    def changed(found: Manifest) -> bool:
        [server] = found["spec"]["template"]["spec"]["containers"]
        return bool(server["resources"]["requests"]["cpu"] == "2")

    await world.becomes(kinds.DEPLOYMENT, "back", changed, "has the new resources")
    assert await replicas(world, "back") == 5
    # What it leaves stays, until somebody says how many.
    await world.change("back", scaling=None)
    await world.vanishes(kind, "back")
    await world.change("back", resources={"cpu": "1"})
    await world.becomes(kinds.DEPLOYMENT, "back", lambda found: not changed(found), "has the old resources")
    assert await replicas(world, "back") == 5
    await world.change("back", replicas=4)
    await world.becomes(kinds.DEPLOYMENT, "back", lambda found: found["spec"]["replicas"] == 4, "has 4 replicas")


async def test_a_service_monitor_is_made_where_the_kind_is_known(world: World, lead: Callable[[], Operator]) -> None:
    lead()
    await world.make("seen")
    monitor = await world.appears(kinds.SERVICE_MONITOR, "seen")
    assert monitor["metadata"]["labels"]["release"] == "a"
    await world.delete(kinds.SERVICE_MONITOR, "seen")

    async def again() -> bool:
        found = await world.get(kinds.SERVICE_MONITOR, "seen")
        return found is not None and found["metadata"]["uid"] != monitor["metadata"]["uid"]

    await eventually("another ServiceMonitor", again)


@pytest.mark.parametrize("kind", [kinds.SCALED_OBJECT, kinds.SERVICE_MONITOR], ids=lambda kind: kind.kind)
async def test_what_somebody_else_calls_so_is_left_alone(
    kind: Kind, world: World, lead: Callable[[], Operator]
) -> None:
    lead()
    spec: Manifest = {"selector": {}, "endpoints": []}
    if kind is kinds.SCALED_OBJECT:
        spec = {"scaleTargetRef": {"name": "theirs"}, "triggers": [{"type": "cron", "metadata": {}}]}
    head = {"apiVersion": kind.api_version, "kind": kind.kind}
    await world.kube.create(kind, {**head, "metadata": {"name": "mine", "namespace": world.namespace}, "spec": spec})
    await world.make("mine", scaling={**LATENCY, "backend": "keda"})

    def refused(found: Manifest) -> bool:
        return condition(found, "Stalled").get("reason") == "NameTaken"

    await world.becomes(kinds.INFERENCE_SERVICE, "mine", refused, "is stalled by the name")
    assert (await world.appears(kind, "mine"))["spec"] == spec


async def test_kinds_may_go_and_come(
    world: World, control_plane: Cluster, new_operator: Callable[..., Operator]
) -> None:
    operator = new_operator(scaling_seconds="0.3").start_leading()
    await world.make("left", scaling={**LATENCY, "backend": "keda"})
    await world.appears(THEIRS, "left")
    await world.appears(kinds.SERVICE_MONITOR, "left")
    with operator.kept_running(), foreign.no_definitions(control_plane):
        await world.change("left", resources={"cpu": "2"})

        def changed(found: Manifest) -> bool:
            [server] = found["spec"]["template"]["spec"]["containers"]
            return bool(server["resources"]["requests"]["cpu"] == "2")

        await world.becomes(kinds.DEPLOYMENT, "left", changed, "has the new resources", 60)
        await world.appears(OURS, "left", 60)  # it holds the bounds
        await says(world, "left", "KedaMissing")
    # And back: nobody has to restart anything.
    with operator.kept_running():
        await world.appears(THEIRS, "left", 60)
        await world.appears(kinds.SERVICE_MONITOR, "left", 60)
