"""Latency and queue grow, replicas follow; what nobody can see changes nothing. With a real Prometheus and adapter."""

import math
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mooring_operator.api import names
from tests.cluster.processes import wait_until
from tests.support import e2e_autoscaling, e2e_site, foreign
from tests.support.e2e_autoscaling import Prometheus
from tests.support.e2e_autoscaling_timeline import Row, Timeline, recorded
from tests.support.e2e_service import Served
from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful, spec, wait_for_doors
from tests.support.e2e_watch import Manifest, condition, is_true

pytestmark = pytest.mark.timeout(300, func_only=True)
NAME = "loop"
MOST = 3
DOWN_SECONDS = 4
FELT_SECONDS = DOWN_SECONDS + 5
"""Until a nought would take replicas away: the adapter looks each second, the autoscaler every other."""
PATIENCE = 60.0
OPERATOR_PORT = 8081
RESOURCES = {"cpu": "300m", "memory": "256Mi"}


@dataclass(frozen=True)
class Pair:
    """Two services of one name in two namespaces, and one with sessions beside the first.

    Attributes:
        run: seconds that a run takes on this machine.
        target: seconds that the first one's requests may take.
    """

    service: Served
    namesake: Served
    stateful: Stateful
    run: float

    @property
    def target(self) -> float:
        return math.ceil(3000 * self.run) / 1000

    @property
    def scaling(self) -> Manifest:
        """`spec.scaling` of the first one, and of the one with sessions."""
        return {
            "maxReplicas": MOST,
            "latency": {"target": f"{self.target * 1000:.0f}ms"},
            "queue": {"target": 20},
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": DOWN_SECONDS}},
        }

    @property
    def calm(self) -> float:
        """Requests a second that are easy for one replica, also where the machine has got slower."""
        return 0.12 / self.run

    @property
    def surge(self) -> float:
        """Requests a second that one replica cannot do, and `MOST` can."""
        return 1.1 / self.run

    @property
    def flood(self) -> float:
        """So many that fewer than `MOST` are never enough, however they happen to come."""
        return 1.6 / self.run


@pytest.fixture(scope="module")
def prometheus(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with e2e_autoscaling.running(site.cluster, tmp_path_factory.mktemp("prometheus")) as running:
        site.look_closely()
        yield running


@pytest.fixture(scope="module")
def pair(site: Site, prometheus: Prometheus) -> Iterator[Pair]:
    """The namesake is made first, and asked for a moment: what the others' target is depends on the machine."""
    service, namesake = (Served(site.cluster, f"test-{secrets.token_hex(4)}", NAME) for _ in range(2))
    stateful = Stateful(site.cluster, service.namespace, f"{NAME}-counting")
    for each in (service, namesake):
        e2e_site.make_namespace(site.cluster, each.namespace)
    namesake.apply(**site.spec(NAME, resources=RESOURCES, scaling={"maxReplicas": MOST, "queue": {"target": 20}}))
    namesake.ready()
    namesake.reach()
    with recorded(namesake, prometheus) as timeline:
        timeline.send(2)
        timeline.until(lambda row: row.at > 5, PATIENCE, "some runs")
        run = prometheus.query(f'mooring_run_mean_seconds{{mooring_namespace="{namesake.namespace}"}}')
    assert run is not None, "the server has not told how long its runs take"
    made = Pair(service, namesake, stateful, run)
    service.apply(**site.spec(NAME, resources=RESOURCES, scaling=made.scaling))
    stateful.apply(**spec(site, stateful.name, resources=RESOURCES, scaling={**made.scaling, "maxReplicas": 2}))
    service.ready()
    service.reach()
    stateful.settled(1)
    wait_for_doors(stateful)
    yield made
    for each in (service, namesake):
        site.cluster.kubectl("delete", "namespace", each.namespace, "--wait=false")


def sees(service: Served) -> Manifest:
    """Waits until the autoscaler sees all that it needs; returns the service."""
    with service.watch() as watch:
        return watch.until(is_true("AutoscalingReady"), PATIENCE, "to see what its autoscaler needs")


def blind(timeline: Timeline, what: str, reason: str, felt: float = FELT_SECONDS) -> None:
    """Waits until the status says why nothing is seen, and as long as it would take to lose replicas by it."""
    timeline.note(what)
    since = time.monotonic()

    def told(live: Manifest) -> bool:
        now = condition(live, "AutoscalingReady")
        return (now["status"], now["reason"]) == ("False", reason)

    with timeline.service.watch() as watch:
        live = watch.until(told, PATIENCE, f"to say {reason}")
    message = condition(live, "AutoscalingReady")["message"]
    assert "Replicas stay as they are" in message or "replicas stay as they are" in message
    timeline.note(f"AutoscalingReady=False {reason}")
    time.sleep(max(0.0, since + felt - time.monotonic()))


def grown(row: Row) -> bool:
    return row.replicas == row.ready == MOST


def test_prometheus_finds_each_server_and_each_operator_by_the_documented_jobs(
    site: Site, pair: Pair, prometheus: Prometheus
) -> None:
    ours = {each.namespace for each in (pair.service, pair.namesake)}
    jobs = {
        "mooring": (f"{names.LABEL_COMPONENT}={names.COMPONENT_SERVER}", names.METRICS_PORT),
        "mooring-operator": (f"{names.LABEL_NAME}=mooring-operator", OPERATOR_PORT),
    }

    def pods() -> list[tuple[str, str, str]]:
        listed = {job: site.cluster.get("pods", "-A", "-l", labels)["items"] for job, (labels, _) in jobs.items()}
        return sorted(
            (job, f"{pod['status'].get('podIP')}:{jobs[job][1]}", "1")
            for job, found in listed.items()
            for pod in found
            if pod["metadata"]["namespace"] in {*ours, e2e_site.OPERATOR_NAMESPACE}
        )

    def scraped() -> list[tuple[str, str, str]]:
        found = [(each["metric"], each["value"][1]) for each in prometheus.series('up{job!="stranger"}')]
        return sorted(
            (labels["job"], labels["instance"], up)
            for labels, up in found
            if labels["job"] != "mooring" or labels.get(names.METRIC_LABEL_NAMESPACE) in ours
        )

    wait_until(lambda: scraped() == pods(), PATIENCE, "Prometheus to scrape each pod once")
    assert {job for job, _, _ in scraped()} == set(jobs)


def test_replicas_follow_what_clients_feel(
    pair: Pair, prometheus: Prometheus, timelines: list[tuple[str, list[Row]]]
) -> None:
    service = pair.service
    with recorded(service, prometheus) as timeline, pair.namesake.watch() as other:
        title = f"replicas follow what clients feel: a p95 of {pair.target * 1000:.0f} ms is the target"
        timelines.append((title, timeline.rows))
        timeline.send(pair.calm)
        timeline.until(lambda row: row.p95 > 0 and row.wanted == row.ready == 1, PATIENCE, "one replica to do")
        timeline.send(pair.surge)
        slow = timeline.until(lambda row: row.p95 > pair.target, PATIENCE, "latency to grow")
        timeline.until(grown, PATIENCE, "replicas to come")
        worst = max(row.p95 for row in timeline.since(slow))
        quick = timeline.until(lambda row: row.p95 < worst / 2 and not row.queue, PATIENCE, "latency and queue to fall")
        timeline.send(0)
        timeline.until(lambda row: row.replicas == row.ready == 1, PATIENCE, "replicas to go")
    before = [row for row in timeline.rows if slow.at <= row.at < quick.at]
    assert max(row.queue or 0 for row in before) > 0, "no request has waited"
    assert max(row.ready for row in timeline.rows if row.at < slow.at) < MOST, "replicas came before they were needed"
    assert not sum(row.seen.failed for row in timeline.rows), "a request had no answer, or a wrong one"
    assert {live["status"]["replicas"] for live in other.states if live} == {1}, "the namesake was scaled as well"
    described = service.kubectl("describe", "hpa", NAME)
    assert "mooring_desired_replicas" in described
    assert "mooring_queue_depth" in described
    print(f"\n{described}")


def test_whatever_is_blind_replicas_stay(
    site: Site, pair: Pair, prometheus: Prometheus, timelines: list[tuple[str, list[Row]]]
) -> None:
    service = pair.service
    adapter = ["--namespace", e2e_site.OPERATOR_NAMESPACE, "deployment/mooring-adapter"]
    with recorded(service, prometheus) as timeline:
        timelines.append(("whatever is blind, replicas stay", timeline.rows))
        timeline.send(pair.flood)
        full = timeline.until(grown, PATIENCE, "replicas to come")

        prometheus.stop()
        felt = FELT_SECONDS + e2e_site.ANSWER_SECONDS
        blind(timeline, "Prometheus is stopped", "PrometheusUnreachable", felt)
        prometheus.forget()
        prometheus.start(scrape=False)
        blind(timeline, "Prometheus comes back with nothing, and scrapes nothing", "NoSeries")
        prometheus.stop()
        prometheus.start()
        with e2e_autoscaling.without_numbers(site.cluster, prometheus.folder, service.namespace, NAME):
            blind(timeline, "a replica says NaN", "NotANumber")
        sees(service)

        site.cluster.kubectl("scale", *adapter, "--replicas=0")
        blind(timeline, "the adapter has no pod", "AdapterDown")
        timeline.send(0)  # Nobody hears of it.

        foreign.serve_no_metrics(site.cluster)  # Ours: Mooring never makes way by itself.
        foreign.serve_metrics(site.cluster, foreign.SOMEBODY)
        site.cluster.kubectl("scale", *adapter, "--replicas=2")
        try:
            blind(timeline, "external metrics are somebody else's", "MetricsAPIConflict")
            # Ours comes back, and leaves them to whoever has them.
            site.cluster.kubectl("rollout", "status", *adapter, "--timeout=60s", timeout=90)
            assert foreign.serves_metrics(site.cluster) == foreign.SOMEBODY
            stayed = {row.replicas for row in timeline.since(full)}
        finally:
            foreign.serve_no_metrics(site.cluster)
        timeline.note("external metrics are nobody's")
        timeline.until(lambda row: row.replicas == row.ready == 1, PATIENCE, "replicas to go")
    assert stayed == {MOST}


def test_a_service_with_sessions_is_scaled_by_its_own_scale(
    site: Site, pair: Pair, prometheus: Prometheus, timelines: list[tuple[str, list[Row]]]
) -> None:
    service = pair.stateful
    with recorded(service, prometheus) as timeline:
        timelines.append(("a service with sessions is scaled", timeline.rows))
        timeline.send(pair.surge)
        timeline.until(lambda row: row.replicas == row.ready == 2, PATIENCE, "the second member")
        service.settled(2)
        timeline.send(0)
        timeline.until(lambda row: row.replicas == row.ready == 1, PATIENCE, "the second member to go")
    assert not sum(row.seen.failed for row in timeline.rows), "a request had no answer, or a wrong one"
    begun = sum(row.seen.came - row.seen.refused for row in timeline.rows)
    held = service.holders()
    assert set(held.values()) == {0}
    assert len(held) >= begun > 0, "a session is not held any more"
    target = site.cluster.get("hpa", service.name, "--namespace", service.namespace)["spec"]["scaleTargetRef"]
    assert target["kind"] == "InferenceService"
