"""What a real Prometheus keeps of a pod's page by the jobs that we document and make."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.cluster.prometheus import Prometheus
from mooring_operator.cluster.prometheus_http import Access
from mooring_operator.facts import Key, Step
from mooring_operator.scaling.answers import answers
from mooring_operator.scaling.findings import Findings
from mooring_operator.scaling.scraping import Scraping
from tests.cluster.processes import wait_until
from tests.support import builders, documented_scraping
from tests.support.documented_scraping import DOCUMENT
from tests.support.prometheus_pages import Replica, served
from tests.support.prometheus_process import Server, prometheus

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

POD = {
    "__meta_kubernetes_namespace": "evil",
    "__meta_kubernetes_pod_label_app_kubernetes_io_managed_by": "mooring",
    "__meta_kubernetes_pod_label_app_kubernetes_io_component": "server",
    "__meta_kubernetes_pod_container_port_name": "metrics",
}
"""What discovery says of a pod of namespace evil that looks like a server of ours."""
DESIRED = names.METRIC_DESIRED_REPLICAS
LIMITS = ("sample_limit", "label_limit", "label_value_length_limit")


class Flood(Replica):
    """A pod that claims to be thousands of services."""

    def text(self) -> str:
        return "".join(f'mooring_in_flight{{mooring_service="fake-{number}"}} 1\n' for number in range(3000))


def documented() -> dict[str, Any]:
    """The job for servers of docs/autoscaling.md."""
    [job] = [job for job in documented_scraping.told(DOCUMENT.read_text()) if job["job_name"] == "mooring"]
    return job


def made() -> dict[str, Any]:
    """What the Prometheus operator makes of our ServiceMonitor, as far as labels go."""
    children = desired.children(builders.service(), builders.cluster(service_monitors=True), Step())
    [monitor] = [child for child in children if child["kind"] == "ServiceMonitor"]
    [endpoint] = monitor["spec"]["endpoints"]
    spec, theirs = monitor["spec"], ("sampleLimit", "labelLimit", "labelValueLengthLimit")
    written = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return {
        ours: [{written.get(field, field): value for field, value in each.items()} for each in endpoint[theirs]]
        for ours, theirs in (("relabel_configs", "relabelings"), ("metric_relabel_configs", "metricRelabelings"))
    } | {ours: spec[theirs] for ours, theirs in zip(LIMITS, theirs, strict=True)}


def look(server: Server, key: Key, holds: Callable[[Findings], bool]) -> Findings:
    """What is found of a service, as soon as it is so."""
    service = builders.service(key.name, namespace=key.namespace, scaling={"maxReplicas": 9, "queue": {"target": 1}})

    async def once() -> Findings:
        async with Prometheus(Access(server.url, Scraping(interval=1.0))) as asked:
            return (await asked.find([service]))[key]

    end = time.monotonic() + 30
    while time.monotonic() < end:
        if holds(found := asyncio.run(once())):
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within 30 s: {found}")


@pytest.fixture(params=[documented, made])
def labels(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a job says of labels."""
    job = request.param()
    yield {field: job[field] for field in ("relabel_configs", "metric_relabel_configs", *LIMITS)}


def test_a_pod_cannot_claim_to_be_of_another_namespace(labels: dict[str, Any], tmp_path: Path) -> None:
    liar = Replica("demo", "good")
    liar.queued = 90
    with served(liar, Flood("demo", "evil")) as addresses:
        job = {**labels, "static_configs": [{"targets": addresses, "labels": POD}]}
        with prometheus(tmp_path / "own", job=job) as server:
            first = look(server, Key("evil", "demo"), lambda found: found.pods == 1)
            assert first.queued == 90
            # Of a pod that was ready long before Prometheus came, too, the first scrapes tell no whole rate.
            assert first.proven == int(first.scrapes >= 3)
            assert look(server, Key("good", "demo"), lambda found: True).pods == 0
            [series] = server.query("mooring_queue_depth")
            # A page of too many samples counts for nothing, and the others go on.
            wait_until(lambda: len(server.query("up")) == 2, 30, "both to be scraped")
            up = {each["metric"]["instance"]: each["value"][1] for each in server.query("up")}
            assert up == dict(zip(addresses, "10", strict=True))
            assert server.query('{mooring_service=~"fake.*"}') == []
    assert not [label for label in series["metric"] if label.startswith("exported_")]


def test_a_pod_proves_its_arrivals_when_it_was_ready_for_as_long_as_a_rate_takes(tmp_path: Path) -> None:
    pod, key = Replica("demo", "models"), Key("models", "demo")
    wanted = builders.service("demo", namespace="models", scaling={"maxReplicas": 9, "latency": {"target": "400ms"}})
    pod.stats.ready = False
    with served(pod) as addresses, prometheus(tmp_path / "own", targets=addresses) as server:
        waiting = look(server, key, lambda found: found.scrapes > 5)
        assert waiting.rate == 0.0
        assert {(each.value, each.reason) for each in answers(wanted, waiting, 1.0).values()} == {(None, "NotReady")}
        pod.stats.ready = True
        since = time.monotonic()
        assert look(server, key, lambda found: found.ready == 1).proven == 0
        look(server, key, lambda found: found.proven == 1)
        assert time.monotonic() - since > 2.0
        assert answers(wanted, look(server, key, lambda found: True), 1.0)[DESIRED].value == 1.0
