"""The APIService and the certificates: made when free, never taken, renewed without a gap, gone with the release."""

import base64
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mooring_operator.adapter.certificates import hosts
from mooring_operator.adapter.generations import make
from mooring_operator.api import names
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import chart
from tests.support.adapters import API, API_SERVICE, SECRET, Adapters

pytestmark = pytest.mark.timeout(240)

FOREIGN = {
    "apiVersion": "apiregistration.k8s.io/v1",
    "kind": "APIService",
    "metadata": {"name": API_SERVICE},
    "spec": {
        "group": names.EXTERNAL_METRICS_GROUP,
        "version": names.EXTERNAL_METRICS_VERSION,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"name": "keda-operator-metrics-apiserver", "namespace": "keda", "port": 443},
    },
}
LIFETIME = 16


@pytest.fixture
def adapters(control_plane: Cluster, tmp_path: Path) -> Iterator[Adapters]:
    settings = {"adapter_certificate_seconds": str(LIFETIME)}
    with Adapters(control_plane, tmp_path, "http://127.0.0.1:1", settings) as made:
        yield made


def leads_to(cluster: Cluster) -> str:
    name: str = cluster.get("apiservice", API_SERVICE)["spec"]["service"]["name"]
    return name


def test_somebody_elses_registration_is_left_alone_until_it_goes(control_plane: Cluster, adapters: Adapters) -> None:
    control_plane.apply(FOREIGN)
    before = control_plane.get("apiservice", API_SERVICE)["metadata"]["uid"]
    replica = adapters.start()
    time.sleep(1.5)  # several looks
    found = control_plane.get("apiservice", API_SERVICE)
    assert (found["metadata"]["uid"], found["spec"]) == (before, FOREIGN["spec"])
    assert replica.process.metric("mooring_adapter_api_service_ours") == 0
    assert "served by Service keda/keda-operator-metrics-apiserver" in replica.process.log.read_text()

    control_plane.kubectl("delete", "apiservice", API_SERVICE)
    adapters.wait_available()
    assert leads_to(control_plane) == names.ADAPTER
    assert replica.process.metric("mooring_adapter_api_service_ours") == 1


def test_replicas_share_one_certificate_and_renew_it_without_a_gap(
    control_plane: Cluster, adapters: Adapters, long: bool
) -> None:
    first, second = adapters.start_two()
    renewals, questions = (5, 80) if long else (2, 40)
    adapters.wait_available()
    stop, failed, asked = threading.Event(), [], [0]

    def ask() -> None:
        """As an API server would that keeps no connection: by the bundle that it is told, and by the Service's name."""
        while not stop.wait(0.1):
            asked[0] += 1
            told = base64.b64decode(control_plane.get("apiservice", API_SERVICE)["spec"]["caBundle"]).decode()
            for replica in (first, second):
                try:
                    replica.handshake(told)
                except OSError as error:
                    failed.append(str(error))
            if (result := control_plane.run("kubectl", "get", "--raw", API, check=False)).returncode:
                failed.append(result.stderr)

    thread = threading.Thread(target=ask)
    thread.start()
    shown: set[str] = set()
    apart, renewed = 0, time.monotonic()
    try:
        end = time.monotonic() + 7 * LIFETIME

        def go_on() -> bool:
            return len(shown) <= renewals or asked[0] < questions or time.monotonic() < renewed + LIFETIME / 2

        # So long after the last renewal that the one before it is not believed any more.
        while go_on() and time.monotonic() < end:
            certificates = first.certificate(), second.certificate()
            if not shown.issuperset(certificates):
                shown.update(certificates)
                renewed = time.monotonic()
            # They change over within two looks of each other.
            apart = apart + 1 if certificates[0] != certificates[1] else 0
            assert apart < 10
            time.sleep(0.5)
    finally:
        stop.set()
        thread.join()
    assert failed == []
    assert len(shown) > renewals
    assert asked[0] >= questions
    keys = control_plane.get("secret", SECRET, "-n", chart.NAMESPACE)["data"]
    assert len(keys) <= 6


def test_what_it_has_made_is_made_good_while_it_runs_and_goes_with_the_release(
    control_plane: Cluster, adapters: Adapters
) -> None:
    replica = adapters.start()
    adapters.wait_available()
    control_plane.kubectl("delete", "secret", SECRET, "-n", chart.NAMESPACE)
    control_plane.kubectl(
        "patch", "apiservice", API_SERVICE, "--type=merge", "-p", '{"spec": {"caBundle": "aGVsbG8="}}'
    )

    def mended() -> bool:
        bundle = control_plane.get("apiservice", API_SERVICE)["spec"]["caBundle"]
        return bundle != "aGVsbG8=" and control_plane.run("kubectl", "get", "--raw", API, check=False).returncode == 0

    wait_until(mended, 30, "the certificate to be made anew and to be trusted")

    replica.process.stop()

    control_plane.kubectl("delete", "clusterrole", names.ADAPTER)

    def gone() -> bool:
        left = control_plane.kubectl("get", "apiservice", API_SERVICE, "--ignore-not-found", "-o", "name")
        left += control_plane.kubectl(
            "get", "secret", SECRET, "-n", chart.NAMESPACE, "--ignore-not-found", "-o", "name"
        )
        return left == ""

    wait_until(gone, 60, "the APIService and the Secret to be collected")


def test_a_certificate_of_somebody_else_is_shown_and_trusted(
    control_plane: Cluster, adapters: Adapters, tmp_path: Path
) -> None:
    folder = tmp_path / "serving"
    folder.mkdir()
    made = make(hosts(chart.NAMESPACE), datetime.now(UTC), timedelta(days=1))
    for name, text in (("tls.crt", made.certificate), ("tls.key", made.key), ("ca.crt", made.certificate)):
        (folder / name).write_text(text)

    replica = adapters.start(adapter_certificate_dir=str(folder))
    adapters.wait_available()
    assert replica.certificate().strip() == made.certificate.strip()
    secrets = control_plane.kubectl("get", "secret", SECRET, "-n", chart.NAMESPACE, "--ignore-not-found", "-o", "name")
    assert secrets == ""
