"""The runtime, started with what the operator renders: probes, metrics and end are what the pod counts on."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mooring_operator.api import names
from mooring_runtime.metrics import names as metrics
from tests.cluster.processes import wait_until
from tests.support.rendered import SPECS, children, containers, environment

MODEL = Path(str(distribution("magika").locate_file("magika/models/standard_v3_3/model.onnx")))


def rendered(command: str, kind: str = "oci") -> dict[str, Any]:
    return next(each for each in containers(children(kind, SPECS[kind])) if each["args"][0] == command)


def start(command: str, log: Path, **changed: str) -> subprocess.Popen[bytes]:
    """Starts the container's process. Changed is only what another place of the files and free ports ask for."""
    container = rendered(command)
    variables = {**environment(container), names.ENV_MODEL_PATH: str(MODEL), **changed}
    argv = [sys.executable, "-m", "mooring_runtime", *container["args"]]
    with log.open("wb") as output:
        return subprocess.Popen(argv, env={"PATH": os.environ["PATH"], **variables}, stdout=output, stderr=output)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, int]]]:
    """A server that is ready, and its ports by the names that the pod gives them."""
    log = tmp_path / "log"
    free = {
        names.ENV_HTTP_PORT: "0",
        "MOORING_GRPC_PORT": "0",
        names.ENV_METRICS_PORT: "0",
        names.ENV_DRAIN_SECONDS: "0.2",
    }
    process = start("serve", log, **free)

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]

    try:
        wait_until(lambda: any("http_port" in line for line in lines()), 30, f"ports in the log: {log.read_text()}")
        [told] = [line for line in lines() if "http_port" in line]
        ports = {names.PORT_NAME_HTTP: told["http_port"], names.PORT_NAME_METRICS: told["metrics_port"]}
        wait_until(lambda: get(ports["http"], names.PATH_READY)[0] == 200, 30, "the server to be ready")
        yield process, ports
    finally:
        process.kill()
        process.wait()


def test_probes_metrics_and_stop(server: tuple[subprocess.Popen[bytes], dict[str, int]]) -> None:
    process, ports = server
    container = rendered("serve")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        http = container[probe]["httpGet"]
        assert get(ports[http["port"]], http["path"])[0] == 200
    status, page = get(ports[names.PORT_NAME_METRICS], names.PATH_METRICS)
    assert status == 200
    for metric in (metrics.REQUESTS_RECEIVED, metrics.IN_FLIGHT, metrics.QUEUE_DEPTH, metrics.MODEL_READY):
        assert f'{metric.name}{{model="{environment(container)[names.ENV_MODEL_NAME]}"' in page
    found = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    assert {metrics.BATCH_CURVE.name, metrics.BATCH_LIMIT.name, metrics.RUN_MEAN.name} <= {each.name for each in found}
    for sample in found:
        assert sample.labels[metrics.SERVICE_LABEL] == environment(container)[names.ENV_SERVICE], sample
        assert sample.labels[metrics.NAMESPACE_LABEL] == environment(container)[names.ENV_NAMESPACE], sample
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_check_takes_the_servers_variables(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert start("check", log).wait(timeout=30) == 0, log.read_text()


def test_a_failure_leaves_its_reason_where_the_pod_says(tmp_path: Path) -> None:
    container = rendered("check")
    assert container["terminationMessagePath"] == names.TERMINATION_LOG
    assert container["terminationMessagePolicy"] == "File"
    message = tmp_path / "termination-log"
    process = start(
        "check",
        tmp_path / "log",
        MOORING_TERMINATION_LOG=str(message),
        **{names.ENV_MODEL_SHA256: "0" * 64},
    )
    assert process.wait(timeout=30) == 1
    left = json.loads(message.read_text())
    assert set(left) == {"reason", "message"}
    assert left["reason"] == "DigestMismatch"
