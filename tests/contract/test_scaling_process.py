"""From requests to a real server to what autoscaling makes of them, over a real Prometheus."""

import asyncio
import json
import math
import time
from pathlib import Path

import pytest

from mooring_operator.api import names
from mooring_operator.cluster.prometheus import Prometheus
from mooring_operator.cluster.prometheus_http import Access
from mooring_operator.facts import Key
from mooring_operator.scaling import slo
from mooring_operator.scaling.answers import Answer, answers, capability_of
from mooring_operator.scaling.findings import Findings
from mooring_operator.scaling.scraping import Scraping
from tests.cluster.processes import wait_until
from tests.support import builders, models
from tests.support.prometheus_process import prometheus
from tests.support.runtime_load import Load
from tests.support.runtime_process import Server, exchange, perceptron_request, post, serving

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

BUSY, IDLE, WIDE = Key("models", "busy"), Key("models", "idle"), Key("models", "wide")
INPUTS = 8192
"""Numbers of a request whose text takes longer to read than the model to run."""
TARGET = {"maxReplicas": 50, "latency": {"target": "50ms"}}


async def look(url: str, requests: int) -> dict[Key, Findings]:
    """What is found once the busy service has a latency, and so enough requests, and the idle one a rate."""
    wanted = [builders.service(key.name, namespace=key.namespace, scaling=TARGET) for key in (BUSY, IDLE, WIDE)]
    end = time.monotonic() + 45
    while time.monotonic() < end:
        async with Prometheus(Access(url, Scraping(interval=1.0))) as asked:
            found = await asked.find(wanted)
        seen = found[BUSY].latency and found[BUSY].answered > 0.9 * requests and found[IDLE].rate is not None
        if seen and found[WIDE].loop_seconds is not None:
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"nothing found: {found}")


def test_requests_to_a_real_server_become_a_count_of_replicas(tmp_path: Path) -> None:
    model = models.perceptron(tmp_path / "model.onnx")
    wide_model = models.perceptron(tmp_path / "wide.onnx", (INPUTS, 4))
    request = post("/v2/models/m/infer", perceptron_request(), "Connection: close")
    keys = (BUSY, IDLE, WIDE)
    labels = [{"service": key.name, "namespace": key.namespace, "latency_target": "50ms"} for key in keys]
    with (
        serving(model, **labels[0], batch_max_size="8") as busy,
        serving(model, **labels[1], batch_max_size="8") as idle,
        serving(wide_model, **labels[2], batch_max_size="8") as wide,
        prometheus(
            tmp_path / "own", targets=[f"127.0.0.1:{each.metrics_port}" for each in (busy, idle, wide)]
        ) as server,
    ):
        asks = [Load(wide.port, _wide_request()) for _ in range(2)]
        # A counter that is seen for the first time has risen by nothing, however high it is.
        first = f'mooring_workers{{mooring_service="{BUSY.name}"}}'
        wait_until(lambda: bool(server.query(first)), 30, "the first scrape")
        for _ in range(200):
            assert exchange(busy.port, request)[0] == 200
        before = _loop(wide)
        for each in asks:
            each.start()
        found = asyncio.run(look(server.url, 200))
        for each in asks:
            each.leave()
            each.join()
        seconds, requests = (after - then for after, then in zip(_loop(wide), before, strict=True))
    said = {key: _said(found[key], key) for key in found}
    # Prometheus carries on what it saw to the ends of its window: of a series of three scrapes that may be the double.
    assert 180 < found[BUSY].answered < 450
    assert (found[BUSY].pods, found[BUSY].ready, found[BUSY].workers, found[BUSY].batch_limit) == (1, 1, 1.0, 8.0)
    assert found[BUSY].samples_per_request == pytest.approx(1.0)
    curve = found[BUSY].curve
    assert curve is not None and 0.0 < curve.at(1) < 0.05
    assert 0.0 < found[BUSY].latency[95] < 1.0
    assert said[BUSY][names.METRIC_LATENCY_RATIO].value == pytest.approx(found[BUSY].latency[95] / 0.05)
    assert found[IDLE].rate == 0.0 and found[IDLE].answered == 0.0
    # What a request costs the loop is what the server itself has counted, and bounds what a pod is planned to hold.
    cost, wide_said = found[WIDE].loop_seconds, said.pop(WIDE)[names.METRIC_DESIRED_REPLICAS].decision
    assert cost is not None and cost == pytest.approx(seconds / requests, rel=0.3)
    assert wide_said is not None and 0.5 / cost < wide_said.capacity < 1.0 / cost
    runs = capability_of(found[WIDE])
    assert runs is not None and wide_said.capacity < 0.8 * slo.capacity(runs, slo.Target(95, 0.05))
    assert found[IDLE].loop_seconds is None
    for answered in said.values():
        desired = answered[names.METRIC_DESIRED_REPLICAS]
        assert desired.value == 1.0 and desired.reason == "Learning" and desired.decision is not None
        assert 20.0 < desired.decision.capacity < math.inf


def _wide_request() -> bytes:
    tensor = {"name": "x", "shape": [1, INPUTS], "datatype": "FP32", "data": [0.123456] * INPUTS}
    return json.dumps({"inputs": [tensor]}).encode()


def _loop(server: Server) -> tuple[float, float]:
    """CPU seconds of a server's loop, and the requests that came."""
    loop = {"model": None, "version": None, "mooring_service": WIDE.name, "mooring_namespace": WIDE.namespace}
    whose = {"mooring_service": WIDE.name, "mooring_namespace": WIDE.namespace}
    return (
        server.metric("mooring_loop_seconds_total", **loop),
        server.metric("mooring_requests_received_total", **whose),
    )


def _said(findings: Findings, key: Key) -> dict[str, Answer]:
    service = builders.service(key.name, namespace=key.namespace, scaling=TARGET)
    return answers(service, findings, interval=1.0)
