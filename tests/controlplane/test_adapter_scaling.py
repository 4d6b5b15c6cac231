"""The real autoscaler reads our adapter, which reads a real Prometheus: replicas follow, and stay while it is blind."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mooring_operator.api import names
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import prometheus_pages, prometheus_process
from tests.support.adapters import API, API_SERVICE, Adapters, autoscaler, steadily
from tests.support.prometheus_pages import Replica
from tests.support.prometheus_process import Server
from tests.support.world import World

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("operator_env")]

SETTINGS = {"adapter_refresh_seconds": "1", "adapter_answer_seconds": "5", "scrape_seconds": "1"}
NO_PROMETHEUS = "http://127.0.0.1:1"


@contextmanager
def site(cluster: Cluster, folder: Path, *pods: Replica) -> Iterator[tuple[Server, Adapters]]:
    """A Prometheus that scrapes these pods, and the place of adapters that ask it."""
    with (
        prometheus_pages.served(*pods) as targets,
        prometheus_process.prometheus(folder / "prometheus", targets=targets) as server,
        Adapters(cluster, folder, server.url, SETTINGS) as adapters,
    ):
        yield server, adapters


@contextmanager
def arrivals(pod: Replica, per_second: int) -> Iterator[None]:
    """Requests that come to a pod, and are answered after 0.1 s, while the block runs."""
    over = threading.Event()

    def come() -> None:
        while not over.wait(0.1):
            pod.answer(per_second // 10, 0.1)

    thread = threading.Thread(target=come)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def scaled(cluster: Cluster, namespace: str, metric: str, target: str) -> None:
    """A Deployment of one replica, and an autoscaler of it."""
    cluster.kubectl("create", "deployment", "demo", "--image=localhost/none:1", "-n", namespace)
    cluster.apply(autoscaler(namespace, metric, target))


def replicas(cluster: Cluster, namespace: str) -> int:
    return int(cluster.get("deployment", "demo", "-n", namespace)["spec"]["replicas"])


def condition(cluster: Cluster, namespace: str) -> tuple[str, str]:
    """Whether the autoscaler can compute a count, and why not."""
    found = cluster.get("hpa", "demo", "-n", namespace).get("status", {}).get("conditions", [])
    told = {each["type"]: (each["status"], each.get("message", "")) for each in found}
    return told.get("ScalingActive", ("", ""))


async def test_replicas_follow_the_load_and_stay_while_prometheus_is_away(
    world: World, control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    pod, other = Replica("demo", namespace), Replica("demo", "elsewhere")
    pod.running, pod.queued, other.running = 9, 3, 90
    targets = {"concurrency": {"target": 4}, "latency": {"target": "400ms"}}
    await world.make("demo", scaling={"maxReplicas": 10, **targets})
    with site(control_plane, tmp_path, pod, other) as (prometheus, adapters), arrivals(pod, 240):
        first, second = adapters.start_two()
        adapters.wait_available()
        listed = control_plane.kubectl("get", "--raw", API)
        assert all(f'"{metric}"' in listed for metric in names.EXTERNAL_METRICS)

        scaled(control_plane, namespace, names.METRIC_LOAD, "4")
        wait_until(lambda: replicas(control_plane, namespace) == 3, 30, "12 requests at 4 a replica to be 3 replicas")

        def told(metric: str) -> float:
            return adapters.ask(namespace, metric, "demo") or 0.0

        # A pod with this curve holds 91 requests a second at this target; few answers make no percentile.
        rule, ratio = names.METRIC_DESIRED_REPLICAS, names.METRIC_LATENCY_RATIO
        wait_until(lambda: told(rule) == 3, 30, "240 requests a second to be 3 replicas")
        wait_until(lambda: 0.1 < told(ratio) < 0.5, 30, "answers after 0.1 s to be a quarter of the target")

        # One replica of the adapter dies. The other goes on.
        first.kill()
        pod.queued = 11
        wait_until(lambda: replicas(control_plane, namespace) == 5, 30, "20 requests to be 5 replicas")

        # Without Prometheus there is no value: the count stays, and the autoscaler says why.
        prometheus.stop()
        wait_until(lambda: condition(control_plane, namespace)[0] == "False", 60, "the autoscaler to be blind")
        assert "PrometheusUnreachable" in condition(control_plane, namespace)[1]
        pod.running = pod.queued = 0
        assert steadily(control_plane, namespace, 5) == {5}
        assert adapters.available()
        assert second.process.readyz() == "serves"

        prometheus.start()
        wait_until(lambda: replicas(control_plane, namespace) == 1, 60, "no requests to be 1 replica")
        assert condition(control_plane, namespace)[0] == "True"


async def test_replicas_stay_while_no_adapter_runs(
    world: World, control_plane: Cluster, namespace: str, tmp_path: Path, long: bool
) -> None:
    if not long:
        pytest.skip("a long one: --long; test_autoscaling_status.py has the shorter one")
    pod = Replica("demo", namespace)
    pod.running = 12
    await world.make("demo", scaling={"maxReplicas": 10, "concurrency": {"target": 4}})
    with site(control_plane, tmp_path, pod) as (_, adapters):
        only = adapters.start()
        adapters.wait_available()
        scaled(control_plane, namespace, names.METRIC_LOAD, "4")
        wait_until(lambda: replicas(control_plane, namespace) == 3, 30, "12 requests to be 3 replicas")

        # Killed, and its endpoint still there, as for the first seconds after a node has died.
        only.process.kill()
        pod.running = 40
        wait_until(lambda: condition(control_plane, namespace)[0] == "False", 60, "the autoscaler to be blind")
        assert steadily(control_plane, namespace, 5) == {3}

        # It comes back with nothing but what Prometheus knows, and under the certificate that it had.
        before = control_plane.get("apiservice", API_SERVICE)["spec"]["caBundle"]
        only.process.start()
        only.wait_ready()
        wait_until(lambda: replicas(control_plane, namespace) == 10, 60, "40 requests to be 10 replicas")
        assert control_plane.get("apiservice", API_SERVICE)["spec"]["caBundle"] == before


def test_a_replica_that_is_told_to_stop_loses_no_request(control_plane: Cluster, tmp_path: Path) -> None:
    with Adapters(control_plane, tmp_path, NO_PROMETHEUS) as adapters:
        first, _ = adapters.start_two()
        adapters.wait_available()
        over, failed = threading.Event(), []

        def ask() -> None:
            while not over.is_set():
                result = control_plane.run("kubectl", "get", "--raw", API, check=False)
                if result.returncode:
                    failed.append(result.stderr)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            assert first.stop() == 0
            for _ in range(5):
                control_plane.kubectl("get", "--raw", API)
        finally:
            over.set()
            thread.join()
        assert failed == []
