"""KEDA itself scales by the operator's series: replicas follow, and stay while nobody can see."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.facts import Manifest
from tests.cluster.cluster import Cluster
from tests.cluster.keda import unusable
from tests.controlplane.test_autoscaling_status import BEHAVIOR, SCALING, Site, has, metric, says
from tests.support import certificates, prometheus_pages
from tests.support.adapters import steadily
from tests.support.keda import Keda
from tests.support.operator import Operator
from tests.support.prometheus_gate import gate
from tests.support.prometheus_pages import Replica
from tests.support.prometheus_process import Server
from tests.support.world import World, condition

pytestmark = pytest.mark.timeout(400)
RULE, QUEUE = names.METRIC_DESIRED_REPLICAS, names.METRIC_QUEUE_DEPTH
AUTOSCALER = "keda-hpa-demo"


@pytest.fixture(scope="module")
def keda(control_plane: Cluster, long: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keda]:
    if not long:
        pytest.skip("a long one: --long; test_autoscaling_backends.py has what needs no KEDA")
    if reason := unusable():
        pytest.skip(reason)
    with Keda(control_plane, tmp_path_factory.mktemp("keda") / "own") as made:
        yield made


@pytest.fixture
def leader(new_operator: Callable[..., Operator]) -> Operator:
    """An operator that looks often; it is told later where Prometheus is, which has to know its port."""
    return new_operator(scaling_seconds="0.5", scrape_seconds="1")


@pytest.fixture
def site(keda: Keda, leader: Operator, namespace: str, tmp_path: Path) -> Iterator[Site]:
    """Service `demo`, and a Prometheus that scrapes its one replica and the operator."""
    pod = Replica("demo", namespace)
    with ExitStack() as stack:
        targets = stack.enter_context(prometheus_pages.served(pod))
        server = Server(tmp_path / "prometheus", [*targets, f"127.0.0.1:{leader.metrics_port}"])
        leader.settings["prometheus_url"] = server.url
        made = Site(pod, server)
        stack.callback(made.close)
        server.start()
        yield made


async def sees(world: World, wanted: bool) -> str:
    """Wait until KEDA's autoscaler can read its metrics, or cannot; return what it says."""

    def told(found: Manifest) -> bool:
        return condition(found, "ScalingActive").get("status") == str(wanted)

    found = await world.becomes(kinds.HORIZONTAL_POD_AUTOSCALER, AUTOSCALER, told, f"sees: {wanted}", 60)
    return str(condition(found, "ScalingActive").get("message", ""))


async def gone(world: World) -> None:
    """Delete the service, and wait for KEDA to let go of what it made: it has a finalizer on it."""
    await world.delete(kinds.INFERENCE_SERVICE, "demo")
    await world.vanishes(kinds.SCALED_OBJECT, "demo")


async def test_replicas_follow_and_stay_while_nobody_can_see(
    world: World, control_plane: Cluster, keda: Keda, site: Site, leader: Operator
) -> None:
    leader.start_leading()
    # 200 requests a second, of which one replica holds about 90 at this target.
    site.rate, site.pod.queued = 200, 40
    await world.make("demo", scaling={**SCALING, "concurrency": {"target": 500}, "behavior": BEHAVIOR})
    await has(world, 3)
    await says(world, "True", "Learning")
    made = await world.appears(kinds.HORIZONTAL_POD_AUTOSCALER, AUTOSCALER)
    rules = made["spec"]["behavior"]
    assert (rules["scaleUp"]["tolerance"], rules["scaleDown"]["tolerance"]) == ("0", "0"), "KEDA has left them out"
    targets = [each["external"]["target"] for each in made["spec"]["metrics"]]
    assert targets == [{"type": "AverageValue", "averageValue": value} for value in ("1", "50", "500")]
    measured = [each["external"]["current"]["averageValue"] for each in made["status"]["currentMetrics"]]
    assert len(measured) == 3
    service = await world.appears(kinds.INFERENCE_SERVICE, "demo")
    assert service["status"]["autoscaling"].items() >= {"backend": "keda", "heldBy": RULE}.items()
    assert metric(service, QUEUE)["value"] == "40"

    # The queue is the operator's own number: a second replica that nobody scrapes would be none of it.
    site.pod.queued = 400
    await has(world, 8)
    site.pod.queued = 40
    await has(world, 3)

    # The operator dies, and nobody says anything any more. Whatever comes, replicas stay.
    leader.kill()
    assert "s0-prometheus encountered error" in await sees(world, False)
    site.rate = site.pod.queued = 0
    assert steadily(control_plane, world.namespace, 8) == {3}
    leader.start_leading()
    await has(world, 1)

    # The replica is scraped no more: the operator says nothing of it, and does not say 0.
    site.rate = 200
    await has(world, 3)
    site.pod.alive = False
    await says(world, "Unknown", "NoSeries")  # no pod is ready by the cluster: none really runs here
    await sees(world, False)
    assert steadily(control_plane, world.namespace, 8) == {3}
    site.pod.alive = True
    await says(world, "True", "Learning")
    await has(world, 3)

    # Prometheus is away, and then KEDA is.
    site.prometheus.stop()
    await sees(world, False)
    site.rate = 0
    assert steadily(control_plane, world.namespace, 5) == {3}
    site.rate = 200
    site.prometheus.start()
    await sees(world, True)
    await has(world, 3)
    with keda.paused():
        await says(world, "False", "AdapterDown")
        assert steadily(control_plane, world.namespace, 5) == {3}
    await says(world, "True", "Learning")
    site.rate = 20
    await has(world, 1)
    await gone(world)


async def test_a_prometheus_that_wants_a_token_is_shown_one_that_keda_has(
    world: World, control_plane: Cluster, keda: Keda, site: Site, leader: Operator, tmp_path: Path
) -> None:
    authority, token = certificates.authority(tmp_path), tmp_path / "token"
    token.write_text("the-first")
    with gate(site.prometheus.url, token, certificates.signed(authority, tmp_path, "prometheus")) as url:
        leader.settings |= {
            "prometheus_url": url,
            "prometheus_token_file": str(token),
            "prometheus_ca_file": str(authority.certificate),
        }
        leader.start_leading()
        site.rate = 200
        await world.make("demo", scaling={**SCALING, "behavior": BEHAVIOR})
        assert "prometheus.keda.authentication.name" in await says(world, "False", "KedaUnauthorized")
        await sees(world, False)

        # It may be named before it is there.
        leader.kill()
        leader.settings["keda_authentication"] = "prometheus"
        leader.start_leading()
        await world.becomes(kinds.SCALED_OBJECT, "demo", _named, "names it")
        keda.show("prometheus", "the-first", authority.certificate)
        await has(world, 3)
        await says(world, "True", "Learning")

        # Prometheus wants another one, which the operator has at once, and KEDA is given late.
        token.write_text("the-second")
        await sees(world, False)
        site.rate = 20
        assert steadily(control_plane, world.namespace, 5) == {3}
        keda.show("prometheus", "the-second", authority.certificate)
        await has(world, 1)
        await gone(world)


def _named(scaled_object: Manifest) -> bool:
    return all("authenticationRef" in each for each in scaled_object["spec"]["triggers"])
