"""What a real server tells of single requests: its access log, its trace file, and spans at a collector."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support import models
from tests.support.runtime_load import INFER
from tests.support.runtime_process import Server, exchange, get, perceptron_request, post, serving

pytestmark = pytest.mark.timeout(60)

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.perceptron(tmp_path_factory.mktemp("models") / "observed.onnx")


def ask_grpc(server: Server, request_id: str = "", **headers: str) -> None:
    tensor = triton_grpc.InferInput("x", [1, 16], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 16), np.float32))
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        client.infer("m", [tensor], request_id=request_id, headers=headers)


def access_lines(server: Server, count: int) -> list[dict[str, Any]]:
    end = time.monotonic() + 10
    while len(found := [line for line in server.lines() if line["logger"].endswith(".access")]) < count:
        assert time.monotonic() < end, server.log()
        time.sleep(0.01)
    return found


def test_the_access_log_tells_each_request(model: Path) -> None:
    with serving(model, access_log="true") as running:
        body = json.loads(perceptron_request()) | {"id": "42"}
        sent = json.dumps(body).encode()
        status, _, answer = exchange(running.port, post(INFER, sent, PARENT))
        assert status == 200
        assert exchange(running.port, post("/v2/models/other/infer", b"{}", "X-Request-ID: mine"))[0] == 404
        assert get(running.port, "/v2/health/live")[0] == 200
        ask_grpc(running, "43", traceparent=PARENT.partition(": ")[2])
        first, second, third, fourth = access_lines(running, 4)
        seconds = first.pop("seconds")
        assert 0 < seconds < 5
        for key in ("time", "level", "logger", "message"):
            first.pop(key)
        assert first == {
            "protocol": "http",
            "method": "POST",
            "path": INFER,
            "status": 200,
            "bytes_in": len(sent),
            "bytes_out": len(answer),
            "client": "127.0.0.1",
            "model": "m",
            "request_id": "42",
            "trace_id": TRACE,
        }
        assert (second["status"], second["model"], second["request_id"], second["trace_id"]) == (
            404,
            "other",
            "mine",
            "",
        )
        assert (third["path"], third["model"]) == ("/v2/health/live", "")
        assert (fourth["protocol"], fourth["method"], fourth["status"]) == ("grpc", "ModelInfer", "OK")
        assert (fourth["model"], fourth["request_id"], fourth["trace_id"]) == ("m", "43", TRACE)
        assert fourth["bytes_in"] > 64
        assert fourth["bytes_out"] > 16
        assert fourth["client"] == "127.0.0.1"


def test_triton_traces_are_switched_on_and_off_by_its_client(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    with (
        serving(model, trace_file=str(file)) as running,
        triton_http.InferenceServerClient(f"127.0.0.1:{running.port}") as client,
    ):
        settings = client.update_trace_settings("m", {"trace_level": ["TIMESTAMPS"], "trace_rate": "2"})
        assert (settings["trace_level"], settings["trace_rate"]) == (["TIMESTAMPS"], "2")
        for _ in range(4):
            assert exchange(running.port, post(INFER, perceptron_request()))[0] == 200
        client.update_trace_settings("m", {"trace_level": None})
        assert exchange(running.port, post(INFER, perceptron_request()))[0] == 200
        running.stop()
        assert running.code() == 0
    traced = json.loads(file.read_text())
    assert [entry["id"] for entry in traced] == [1, 1, 2, 2]
    assert traced[0]["model_name"] == "m"
    moments = [stamp["ns"] for stamp in traced[1]["timestamps"]]
    assert moments == sorted(moments)


class _Collector(http.server.BaseHTTPRequestHandler):
    """Takes spans as OTLP over HTTP."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sent = ExportTraceServiceRequest.FromString(body)
        self.server.spans += [  # type: ignore[attr-defined]
            span for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans
        ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Collector) as server:
        server.spans = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_spans_reach_a_collector_before_the_server_ends(
    model: Path, collector: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_address[1]}")
    with serving(model, tracing="true") as running:
        assert exchange(running.port, post(INFER, perceptron_request(), PARENT))[0] == 200
        assert get(running.port, "/v2/health/live")[0] == 200
        ask_grpc(running, traceparent=PARENT.partition(": ")[2])
        running.stop()
        assert running.code() == 0
    spans = collector.spans  # type: ignore[attr-defined]
    assert sorted(span.name for span in spans) == ["ModelInfer m", "POST m", "compute", "compute", "queue", "queue"]
    assert {span.trace_id.hex() for span in spans} == {TRACE}


def test_tracing_that_is_not_installed_is_told(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = tmp_path / "opentelemetry"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('No module', name='opentelemetry')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    running = Server(model, tracing="true", termination_log=str(tmp_path / "message"))
    try:
        assert running.code() == 2
        assert "MOORING_TRACING is true, but this Python has no module opentelemetry: install" in running.log()
    finally:
        running.end()
