"""The autoscaler that the operator makes, read by the real controller from our adapter, and what the status tells."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.facts import Manifest
from tests.cluster.cluster import Cluster
from tests.support import prometheus_pages
from tests.support.adapters import Adapters, steadily
from tests.support.operator import Operator
from tests.support.prometheus_pages import Replica
from tests.support.prometheus_process import Server
from tests.support.world import World, condition, eventually

pytestmark = pytest.mark.timeout(240)
PATIENCE = 60.0
SCALING = {"maxReplicas": 9, "latency": {"target": "400ms"}, "queue": {"target": 50}}
BEHAVIOR = {"scaleDown": {"stabilizationWindowSeconds": 1}}
RULE, QUEUE = names.METRIC_DESIRED_REPLICAS, names.METRIC_QUEUE_DEPTH


class Site:
    """One replica that requests come to, so many a second, and a Prometheus that scrapes it."""

    def __init__(self, pod: Replica, prometheus: Server) -> None:
        self.rate = 0
        self.pod = pod
        self.prometheus = prometheus
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._come)
        self._thread.start()

    def _come(self) -> None:
        while not self._over.wait(0.1):
            self.pod.receive(self.rate // 10)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.prometheus.stop()


@pytest.fixture
def site(namespace: str, tmp_path: Path) -> Iterator[Site]:
    """Service `demo`, and one of its name in another namespace, which has far more requests. Prometheus is not up."""
    pod, other = Replica("demo", namespace), Replica("demo", "elsewhere")
    other.running = 1_000_000
    with ExitStack() as stack:
        targets = stack.enter_context(prometheus_pages.served(pod, other))
        made = Site(pod, Server(tmp_path / "prometheus", targets))
        stack.callback(made.close)
        yield made


@pytest.fixture
def adapters(control_plane: Cluster, site: Site, tmp_path: Path) -> Iterator[Adapters]:
    settings = {"adapter_refresh_seconds": "1", "adapter_answer_seconds": "5", "scrape_seconds": "1"}
    with Adapters(control_plane, tmp_path, site.prometheus.url, settings) as made:
        yield made


@pytest.fixture
def leader(new_operator: Callable[..., Operator], site: Site) -> Operator:
    """An operator that looks often. Not started: the adapter's rights are not installed before it."""
    return new_operator(scaling_seconds="0.5", scrape_seconds="1", prometheus_url=site.prometheus.url)


async def says(world: World, status: str, reason: str, never: str = "") -> str:
    """Wait until AutoscalingReady is this, and has not been `never` meanwhile; return its message."""

    def told(found: Manifest) -> bool:
        now = condition(found, "AutoscalingReady")
        assert not never or now.get("reason") != never, now.get("message")
        return (now.get("status"), now.get("reason")) == (status, reason)

    what = f"has AutoscalingReady {status} for {reason}"
    service = await world.becomes(kinds.INFERENCE_SERVICE, "demo", told, what, PATIENCE)
    return str(condition(service, "AutoscalingReady")["message"])


async def hears(world: World, reason: str) -> None:
    """Wait until the autoscaler itself was told this by the adapter."""

    def told(found: Manifest) -> bool:
        conditions = found.get("status", {}).get("conditions") or ()
        return any(each["type"] == "ScalingActive" and f": {reason}: " in each["message"] for each in conditions)

    await world.becomes(kinds.HORIZONTAL_POD_AUTOSCALER, "demo", told, f"hears of {reason}", PATIENCE)


async def has(world: World, replicas: int) -> None:
    """Wait until the Deployment has so many replicas."""

    def so_many(found: Manifest) -> bool:
        return bool(found["spec"]["replicas"] == replicas)

    await world.becomes(kinds.DEPLOYMENT, "demo", so_many, f"has {replicas} replicas", PATIENCE)


def metric(service: Manifest, name: str) -> Manifest:
    found = [
        each for each in service.get("status", {}).get("autoscaling", {}).get("metrics", []) if each["name"] == name
    ]
    return found[0] if found else {}


async def test_replicas_follow_and_stay_while_nobody_can_see(
    world: World, control_plane: Cluster, site: Site, adapters: Adapters, leader: Operator
) -> None:
    leader.start_leading()
    adapter = adapters.start()
    adapters.wait_available()
    await world.make("demo", scaling={**SCALING, "behavior": BEHAVIOR})
    assert "Replicas stay as they are" in await says(world, "False", "PrometheusUnreachable")

    # 200 requests a second, of which one replica holds about 90 at this target.
    site.rate = 200
    site.prometheus.start()
    await has(world, 3)
    assert f"{RULE} asks for 3 replicas" in await says(world, "True", "Learning")
    service = await world.appears(kinds.INFERENCE_SERVICE, "demo")
    assert metric(service, RULE).items() >= {"healthy": True, "value": "3", "series": 1}.items()
    assert metric(service, QUEUE).items() >= {"healthy": True, "value": "0", "replicas": 0}.items()
    assert service["status"]["autoscaling"].items() >= {"backend": "adapter", "plan": "rate", "heldBy": RULE}.items()
    assert leader.metric(RULE) == 3

    # What nobody can see changes nothing, and leaves no series that somebody might take for new.
    site.prometheus.stop()
    await says(world, "False", "PrometheusUnreachable", never="AdapterDown")
    await hears(world, "PrometheusUnreachable")
    site.rate = 0
    assert steadily(control_plane, world.namespace, 5) == {3}
    assert leader.metric(RULE) == 0
    site.rate = 200
    site.prometheus.start()
    # We see it again before the autoscaler does, which has heard of it: nothing is the matter with the adapter.
    await says(world, "True", "Learning", never="AdapterDown")

    # The adapter dies; Prometheus goes on.
    adapter.kill()
    await says(world, "False", "AdapterDown")
    assert steadily(control_plane, world.namespace, 5) == {3}
    adapters.start("adapter-1")
    await says(world, "True", "Learning")

    # It needs no operator, which finds more asked for than is allowed, and changes nothing of what it made.
    before = await world.appears(kinds.HORIZONTAL_POD_AUTOSCALER, "demo")
    leader.kill()
    site.rate = 2000
    await has(world, 9)
    leader.start_leading()
    assert "maxReplicas is 9: raise it" in await says(world, "True", "AtMaximum")
    site.rate = 20
    await has(world, 1)
    after = await world.appears(kinds.HORIZONTAL_POD_AUTOSCALER, "demo")
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])


async def test_a_status_is_not_written_for_each_number(world: World, site: Site, leader: Operator) -> None:
    site.prometheus.start()
    site.rate = 100
    leader.start_leading()
    await world.make("demo", scaling={**SCALING, "backend": "adapter"})

    def sees(found: Manifest) -> bool:
        return bool(metric(found, RULE).get("healthy"))

    await world.becomes(kinds.INFERENCE_SERVICE, "demo", sees, "sees its metrics", PATIENCE)
    await asyncio.sleep(3)  # what belongs to the start is written
    before = (await world.appears(kinds.INFERENCE_SERVICE, "demo"))["metadata"]["resourceVersion"]
    for rate in (900, 2000):
        site.rate, site.pod.queued = rate, rate // 10
        await eventually(f"a queue of {rate // 10}", lambda: _load_is(leader, site.pod.queued), PATIENCE)
    assert (await world.appears(kinds.INFERENCE_SERVICE, "demo"))["metadata"]["resourceVersion"] == before


async def _load_is(leader: Operator, load: int) -> bool:
    return leader.metric(names.METRIC_LOAD) == load
