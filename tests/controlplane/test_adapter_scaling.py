"""The real autoscaler reads our adapter, which reads a real Prometheus: replicas follow, and stay while it is blind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mooring_operator.api import names
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import prometheus_pages, prometheus_process
from tests.support.adapters import API, Adapters, autoscaler, steadily
from tests.support.prometheus_pages import Replica
from tests.support.prometheus_process import Server
from tests.support.world import World

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Server]:
    with prometheus_process.prometheus(tmp_path / "prometheus") as server:
        yield server


@pytest.fixture
def adapters(control_plane: Cluster, prometheus: Server, tmp_path: Path) -> Iterator[Adapters]:
    with Adapters(
        control_plane, tmp_path, prometheus.url, {"adapter_refresh_seconds": "1", "scrape_seconds": "1"}
    ) as made:
        yield made


def replicas(cluster: Cluster, namespace: str) -> int:
    return int(cluster.get("deployment", "demo", "-n", namespace)["spec"]["replicas"])


def condition(cluster: Cluster, namespace: str) -> tuple[str, str]:
    """Whether the autoscaler can compute a count, and why not."""
    found = cluster.get("hpa", "demo", "-n", namespace).get("status", {}).get("conditions", [])
    return next(
        ((each["status"], each.get("message", "")) for each in found if each["type"] == "ScalingActive"), ("", "")
    )


async def test_replicas_follow_the_load_and_stay_while_prometheus_is_away(
    world: World, control_plane: Cluster, namespace: str, prometheus: Server, adapters: Adapters
) -> None:
    pod, other = Replica("demo", namespace), Replica("demo", "elsewhere")
    other.running = 90
    await world.make("demo", scaling={"maxReplicas": 10, "concurrency": {"target": 4}})
    with prometheus_pages.served(pod, other) as targets:
        prometheus.scrape(*targets)
        first, second = adapters.start("adapter-0"), adapters.start("adapter-1")
        adapters.wait_available()
        listed = control_plane.kubectl("get", "--raw", API)
        assert all(f'"{metric}"' in listed for metric in names.EXTERNAL_METRICS)

        control_plane.kubectl("create", "deployment", "demo", "--image=localhost/none:1", "-n", namespace)
        control_plane.apply(autoscaler(namespace, names.METRIC_LOAD, "4"))
        pod.running, pod.queued = 9, 3
        wait_until(lambda: replicas(control_plane, namespace) == 3, 30, "12 requests at 4 a replica to be 3 replicas")

        # One replica of the adapter dies. The other goes on.
        first.kill()
        pod.queued = 11
        wait_until(lambda: replicas(control_plane, namespace) == 5, 30, "20 requests to be 5 replicas")

        # Without Prometheus there is no value: the count stays, and the autoscaler says why.
        prometheus.stop()
        wait_until(lambda: condition(control_plane, namespace)[0] == "False", 60, "the autoscaler to be blind")
        assert "PrometheusUnreachable" in condition(control_plane, namespace)[1]
        pod.running = pod.queued = 0
        assert steadily(control_plane, namespace, 8) == {5}
        assert adapters.available()
        assert second.process.readyz() == "serves"

        prometheus.start()
        wait_until(lambda: replicas(control_plane, namespace) == 1, 60, "no requests to be 1 replica")
        assert condition(control_plane, namespace)[0] == "True"


async def test_replicas_stay_while_no_adapter_runs(
    world: World, control_plane: Cluster, namespace: str, prometheus: Server, adapters: Adapters
) -> None:
    pod = Replica("demo", namespace)
    pod.running = 12
    await world.make("demo", scaling={"maxReplicas": 10, "concurrency": {"target": 4}})
    with prometheus_pages.served(pod) as targets:
        prometheus.scrape(*targets)
        only = adapters.start()
        adapters.wait_available()
        control_plane.kubectl("create", "deployment", "demo", "--image=localhost/none:1", "-n", namespace)
        control_plane.apply(autoscaler(namespace, names.METRIC_LOAD, "4"))
        wait_until(lambda: replicas(control_plane, namespace) == 3, 30, "12 requests to be 3 replicas")

        # Killed, and its endpoint still there, as for the first seconds after a node has died.
        only.process.kill()
        pod.running = 40
        wait_until(lambda: condition(control_plane, namespace)[0] == "False", 60, "the autoscaler to be blind")
        assert steadily(control_plane, namespace, 5) == {3}

        # It comes back with nothing but what Prometheus knows, and under the certificate that it had.
        before = control_plane.get("apiservice", "v1beta1.external.metrics.k8s.io")["spec"]["caBundle"]
        only.process.start()
        only.wait_ready()
        wait_until(lambda: replicas(control_plane, namespace) == 10, 60, "40 requests to be 10 replicas")
        assert control_plane.get("apiservice", "v1beta1.external.metrics.k8s.io")["spec"]["caBundle"] == before
