"""Several workers behind one port, as real processes: killed, drained, and asked for what concerns them all."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import tritonclient.grpc as triton_grpc

from tests.support import models
from tests.support.repositories import scaled
from tests.support.runtime_load import INFER, Load
from tests.support.runtime_process import Runtime, Server, connect, exchange, get, one, post, serving
from tests.support.runtime_workers import answers_of_all, blocking, until_ready_again, worker_pids

pytestmark = pytest.mark.timeout(60)

COUNTERS = ("mooring_requests_received_total", "nv_inference_count", "mooring_request_seconds_count")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


class Counts(threading.Thread):
    """Reads counters again and again; `wrong` has those that went down."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self.leave = threading.Event()
        self.wrong: list[str] = []
        self.reads = 0

    def run(self) -> None:
        last = dict.fromkeys(COUNTERS, 0.0)
        while not self.leave.is_set():
            for name in COUNTERS:
                now = self._server.metric(name)
                if now < last[name]:
                    self.wrong.append(f"{name} went from {last[name]} to {now}")
                last[name] = now
            self.reads += 1


def test_a_killed_worker_comes_back_and_the_others_go_on(folder: Path) -> None:
    with serving(models.slow(folder / "killed.onnx", 20), workers="2", threads="1") as running:
        clients = [Load(running.port, one(index)) for index in range(12)]
        counts = Counts(running)
        for thread in (*clients, counts):
            thread.start()
        while running.metric("nv_inference_request_success") < 50:
            time.sleep(0.02)
        os.kill(worker_pids(running)[0], signal.SIGKILL)
        until_ready_again(running)
        answered = sum(len(client.statuses) for client in clients)
        before = running.metric("nv_inference_request_success")
        while running.metric("nv_inference_request_success") < before + 50:
            time.sleep(0.02)
        for client in clients:
            client.leave()
        counts.leave.set()
        for thread in (*clients, counts):
            thread.join()
        # A connection breaks with the worker that has it, once; the next one goes to whoever listens.
        assert max(len(client.failures) for client in clients) <= 2
        assert sum(not client.failures for client in clients) > 0
        assert {status for client in clients for status in client.statuses} == {200}
        assert answered > 50
        assert counts.reads > 3
        assert counts.wrong == []
        assert running.metric("mooring_worker_restarts_total", model=None, version=None) == 1
        assert running.metric("mooring_workers_ready", model=None, version=None) == 2
        assert len(worker_pids(running)) == 2
        assert get(running.metrics_port, "/v2/health/ready") == (200, {"ready": True})
        running.stop()
        assert running.code() == 0


def test_sigterm_fails_no_request(folder: Path) -> None:
    with serving(models.slow(folder / "drained.onnx", 20), workers="2", drain_seconds="1", threads="1") as running:
        port = running.port
        clients = [Load(port, one(index)) for index in range(8)]
        for client in clients:
            client.start()
        while running.metric("nv_inference_request_success") < 50:
            time.sleep(0.02)
        running.stop()
        while get(port, "/v2/health/ready")[0] == 200:
            time.sleep(0.01)
        time.sleep(0.3)
        for client in clients:
            client.leave()
        for client in clients:
            client.join()
        assert running.code() == 0
        assert [client.failures for client in clients] == [[]] * 8
        assert {status for client in clients for status in client.statuses} == {200}


def test_a_model_that_no_worker_can_load_ends_them_all(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    message = tmp_path / "message"
    running = Server(tmp_path, workers="3", termination_log=str(message))
    try:
        assert running.code() == 1
        told = json.loads(message.read_text())
        assert told["reason"] == "ModelInvalid"
        assert "model.onnx is no model that onnxruntime" in told["message"]
    finally:
        running.end()


def test_a_worker_that_cannot_load_again_ends_the_others_only_when_none_serves(tmp_path: Path) -> None:
    file = scaled(tmp_path / "model.onnx", 2)
    good, message = file.read_bytes(), tmp_path / "message"
    with serving(file, workers="2", threads="1", termination_log=str(message)) as running:

        def put(content: bytes) -> None:
            (tmp_path / "new").write_bytes(content)
            (tmp_path / "new").replace(file)

        put(b"half a copy")
        os.kill(worker_pids(running)[0], signal.SIGKILL)
        while not any("(model.onnx is no model that onnxruntime" in line["message"] for line in running.lines()):
            time.sleep(0.02)
        assert get(running.port, "/v2/health/ready") == (200, {"ready": True})
        assert running.metric("mooring_workers_ready", model=None, version=None) == 1
        put(good)
        until_ready_again(running)
        assert running.metric("mooring_worker_restarts_total", model=None, version=None) >= 2

        put(b"half a copy")
        for pid in worker_pids(running):
            os.kill(pid, signal.SIGKILL)
        assert running.code() == 1
        assert json.loads(message.read_text())["reason"] == "ModelInvalid"


def test_a_port_that_is_taken_ends_the_server(folder: Path) -> None:
    with serving(models.perceptron(folder / "first.onnx"), workers="2") as first:
        second = Runtime(
            "serve",
            {
                "MOORING_MODEL_NAME": "m",
                "MOORING_MODEL_PATH": str(folder / "first.onnx"),
                "MOORING_HTTP_PORT": str(first.port),
                "MOORING_WORKERS": "2",
                "MOORING_TERMINATION_LOG": str(folder / "message"),
            },
        )
        try:
            assert second.code() == 2
            assert "MOORING_HTTP_PORT" in (folder / "message").read_text()
        finally:
            second.end()


def test_what_one_worker_is_asked_reaches_all(tmp_path: Path) -> None:
    for name, factor in (("m", 2.0), ("n", 3.0)):
        scaled(tmp_path / name / "1" / "model.onnx", factor)
    with serving(
        tmp_path, name="", workers="2", model_path="", model_repository=str(tmp_path), model_control="explicit"
    ) as running:
        port = running.port
        assert exchange(port, post("/v2/repository/models/n/unload", b""))[0] == 200
        assert {status for status, _ in answers_of_all(running, "/v2/models/n/ready")} & {200} == set()
        scaled(tmp_path / "k" / "1" / "model.onnx", 5.0)
        assert exchange(port, post("/v2/repository/models/k/load", b""))[0] == 200
        status, _, body = exchange(port, post("/v2/repository/models/x/load", b""))
        assert status == 500
        assert b"failed to load 'x'" in body
        assert exchange(port, post("/v2/logging", b'{"log_verbose_level": 2}'))[0] == 200
        while [answer["log_verbose_level"] for _, answer in answers_of_all(running, "/v2/logging")] != [1]:
            time.sleep(0.01)  # The others hear of it in a moment.

        os.kill(worker_pids(running)[1], signal.SIGKILL)
        until_ready_again(running)
        assert answers_of_all(running, "/v2/models/k/ready") == [(200, {"name": "k", "ready": True})]
        assert {status for status, _ in answers_of_all(running, "/v2/models/n/ready")} & {200} == set()
        assert [answer["log_verbose_level"] for _, answer in answers_of_all(running, "/v2/logging")] == [1]


def test_statistics_are_of_the_whole_server(folder: Path) -> None:
    with serving(models.slow(folder / "counted.onnx", 1), workers="2", threads="1") as running:
        for _ in range(20):
            assert exchange(running.port, post(INFER, one(1)))[0] == 200
        counted = []
        for _ in range(8):
            _, body = get(running.port, "/v2/models/stats")
            counted.append(body["model_stats"][0]["inference_count"])
        assert counted == [20] * 8
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{running.grpc_port}") as client:
            assert client.get_inference_statistics("m").model_stats[0].inference_count == 20
        os.kill(worker_pids(running)[0], signal.SIGKILL)
        until_ready_again(running)
        _, body = get(running.port, "/v2/models/m/stats")
        assert body["model_stats"][0]["inference_count"] == 20


def test_workers_end_with_their_supervisor(folder: Path) -> None:
    with serving(models.perceptron(folder / "orphaned.onnx"), workers="2") as running:
        pids = worker_pids(running)
        running.stop(signal.SIGKILL)
        assert running.code() == -signal.SIGKILL
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            time.sleep(0.02)


def test_none_is_ready_before_all_are(folder: Path) -> None:
    running = Server(models.slow(folder / "late.onnx", 20_000), workers="2", threads="1")
    try:
        for port in (running.port, running.metrics_port):
            assert get(port, "/v2/health/live") == (200, {"live": True})
            status, body = get(port, "/v2/health/ready")
            assert status == 503
            assert body["error"] in ("not ready: model 'm' is loading", "not ready: other workers are loading")
        running.stop()
        assert running.code() == 0, "told to stop while they load"
    finally:
        running.end()


def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    model = blocking(tmp_path / "m" / "1" / "model.py", on_the_loop=False).parent
    more = {"workers": "2", "allow_unsafe_formats": "true", "run_timeout": "0.5"}
    with serving(model, **more) as running, connect(running.port) as connection:
        connection.sendall(post(INFER, one(100)))
        assert connection.recv(1) == b"", "ended with the worker that it has hung"
        until_ready_again(running)
        assert running.line("worker")["message"].endswith(
            "is killed: model 'm' has been in one run for longer than MOORING_RUN_TIMEOUT, 0.5 s"
        )
        assert answers_of_all(running, "/v2/health/live") == [(200, {"live": True})]
        assert exchange(running.port, post(INFER, one(0)))[0] == 200

        os.kill(worker_pids(running)[0], signal.SIGSTOP)  # As one whose interpreter a model holds: it tells nothing.
        until_ready_again(running, times=2)
        assert any(
            "has not answered for longer than MOORING_RUN_TIMEOUT" in line["message"] for line in running.lines()
        )
        assert running.metric("mooring_worker_restarts_total", model=None, version=None) == 2
