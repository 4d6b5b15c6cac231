"""The life of the real process: start, ready, full, drained, stopped; and what its metrics say of it."""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.support import models
from tests.support.runtime_load import INFER, Load
from tests.support.runtime_process import (
    Server,
    connect,
    exchange,
    get,
    one,
    perceptron_request,
    post,
    read_reply,
    serving,
)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_the_queue_is_bounded_and_says_when_to_come_back(folder: Path) -> None:
    with serving(models.slow(folder / "bounded.onnx", 2000), queue="2", threads="1") as running:
        connections = [connect(running.port) for _ in range(6)]
        for connection in connections:
            connection.sendall(post(INFER, one(1)))
        replies = [read_reply(connection) for connection in connections]
        for connection in connections:
            connection.close()
        statuses = sorted(status for status, _, _ in replies)
        assert statuses == [200, 200, 503, 503, 503, 503]
        refused = next(reply for reply in replies if reply[0] == 503)
        assert refused[1]["retry-after"] == "1"
        assert running.metric("mooring_requests_received_total") == 6
        assert running.metric("mooring_requests_rejected_total", cause="queue_full") == 4
        assert running.metric("nv_inference_request_success") == 2


def test_who_hangs_up_is_not_computed_for(folder: Path) -> None:
    with serving(models.slow(folder / "hung.onnx", 2000), threads="1") as running:
        first = connect(running.port)
        first.sendall(post(INFER, one(1)))
        waiting = [connect(running.port) for _ in range(5)]
        for connection in waiting:
            connection.sendall(post(INFER, one(2)))
        while running.metric("mooring_requests_received_total") < 6:
            time.sleep(0.01)
        for connection in waiting:
            connection.close()
        assert read_reply(first)[0] == 200
        first.close()
        assert exchange(running.port, post(INFER, one(3)))[0] == 200
        cancelled = running.metric("nv_inference_request_failure", reason="CANCELED")
        executed = running.metric("nv_inference_exec_count")
        assert cancelled + executed == 7
        assert cancelled >= 3


# --- metrics


def test_metrics_count_from_zero(folder: Path) -> None:
    with serving(models.perceptron(folder / "counted.onnx")) as running:
        assert running.metric("mooring_requests_received_total") == 0
        assert exchange(running.port, post(INFER, perceptron_request()))[0] == 200
        assert exchange(running.port, post(INFER, b"{}"))[0] == 400
        assert running.metric("mooring_requests_received_total") == 2
        assert running.metric("mooring_requests_rejected_total", cause="invalid") == 1
        assert running.metric("mooring_request_seconds_count") == 1
        assert running.metric("mooring_model_ready") == 1
        assert running.metric("nv_inference_count") == 1
        assert exchange(running.metrics_port, b"GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n")[0] == 404


# --- life


def test_live_before_ready(folder: Path) -> None:
    running = Server(models.slow(folder / "late.onnx", 20_000), threads="1")
    try:
        assert get(running.port, "/v2/health/live") == (200, {"live": True})
        status, body = get(running.port, "/v2/health/ready")
        assert (status, body) == (503, {"ready": False, "error": "not ready: model 'm' is loading"})
        status, headers, body = exchange(running.port, post(INFER, one(1)))
        assert (status, headers["retry-after"]) == (503, "1")
        running.stop()
        assert running.code() == 0, "told to stop while it loads"
    finally:
        running.end()


def test_sigterm_under_load_fails_no_request(folder: Path) -> None:
    with serving(models.slow(folder / "drained.onnx", 20), drain_seconds="1", threads="1") as running:
        port = running.port
        clients = [Load(port, one(index)) for index in range(8)]
        for client in clients:
            client.start()
        while running.metric("nv_inference_request_success") < 50:
            time.sleep(0.02)
        running.stop()
        while get(port, "/v2/health/ready")[0] == 200:
            time.sleep(0.01)
        told = time.monotonic()
        assert get(port, "/v2/health/live")[0] == 200
        assert exchange(port, post(INFER, one(7)))[0] == 200, "serves on although it is not ready"
        time.sleep(0.3)
        for client in clients:
            client.leave()
        for client in clients:
            client.join()
        assert running.code() == 0
        assert 0.5 < time.monotonic() - told < 5
        assert [client.failures for client in clients] == [[]] * 8
        assert {status for client in clients for status in client.statuses} == {200}


def test_a_run_under_way_is_answered_after_the_drain(folder: Path) -> None:
    with serving(models.slow(folder / "long.onnx", 8000), threads="1") as running, connect(running.port) as connection:
        connection.sendall(post(INFER, one(5)))
        while running.metric("mooring_in_flight") < 1:
            time.sleep(0.01)
        running.stop()
        status, headers, body = read_reply(connection)
        assert (status, headers["connection"]) == (200, "close")
        assert json.loads(body)["outputs"][0]["data"] == [5.0]
        assert running.code() == 0


def test_a_second_signal_ends_the_drain(folder: Path) -> None:
    with serving(models.perceptron(folder / "twice.onnx"), drain_seconds="60") as running:
        running.stop()
        running.line("draining")
        running.stop(signal.SIGINT)
        assert running.code() == 0


def test_start_is_quick_and_memory_small(folder: Path) -> None:
    with serving(models.perceptron(folder / "small.onnx"), threads="1") as running:
        ready = running.line("ready")
        rss = running.memory()
        print(f"\nready in {time.monotonic() - running.started:.2f} s, {rss} bytes of memory")
        assert ready["level"] == "INFO"
        assert rss < 90_000 * 1024
