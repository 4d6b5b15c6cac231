"""What autoscaling needs of a real server: connections that move, arrivals that are counted, a queue with a target."""

import json
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2 as pb

from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from tests.support import models, state_models
from tests.support.grpc_served import request_of
from tests.support.peer_fleet import fleet
from tests.support.runtime_load import INFER, Load
from tests.support.runtime_process import (
    Server,
    connect,
    exchange,
    one,
    perceptron_request,
    post,
    read_reply,
    serving,
)

pytestmark = pytest.mark.timeout(60)

ROW = np.full((1, 16), 0.5, np.float32)
AGE = 0.6
METRICS = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_http_clients_that_are_moved_lose_no_request(folder: Path) -> None:
    with serving(models.perceptron(folder / "moved.onnx"), connection_max_age=f"{AGE}s") as running:
        clients = [Load(running.port, perceptron_request()) for _ in range(4)]
        for client in clients:
            client.start()
        time.sleep(5 * AGE)
        for client in clients:
            client.leave()
            client.join()
        assert [failure for client in clients for failure in client.failures] == []
        answers = [status for client in clients for status in client.statuses]
        assert set(answers) == {200}
        assert min(client.connections for client in clients) >= 2
        assert max(client.connections for client in clients) <= 6
        assert running.metric("mooring_requests_received_total") == len(answers)
        assert running.metric("nv_inference_request_success") == len(answers)


def test_who_sends_requests_ahead_gets_an_answer_to_each_that_ran(folder: Path) -> None:
    # Those behind the last one are not run. Their bytes, which nobody reads, must not reset the connection under it.
    with serving(models.perceptron(folder / "ahead.onnx"), connection_max_age=f"{AGE}s") as running:
        request = post(INFER, perceptron_request())
        answers = connections = 0
        end = time.monotonic() + 6 * AGE
        while time.monotonic() < end:
            connections += 1
            with connect(running.port) as connection:
                connection.sendall(request * 8)
                kept = True
                while kept:
                    connection.sendall(request)
                    status, headers, _ = read_reply(connection)
                    assert status == 200
                    answers += 1
                    kept = headers.get("connection") != "close"
        assert 3 <= connections <= 8
        assert running.metric("mooring_requests_received_total") == answers
        assert running.metric("nv_inference_request_success") == answers


def test_tritons_client_is_moved_without_noticing(folder: Path) -> None:
    with (
        serving(models.perceptron(folder / "triton.onnx"), connection_max_age=f"{AGE}s") as running,
        triton_http.InferenceServerClient(f"127.0.0.1:{running.port}") as client,
    ):
        tensor = triton_http.InferInput("x", [1, 16], "FP32").set_data_from_numpy(ROW)
        end, count = time.monotonic() + 3 * AGE, 0
        while time.monotonic() < end:
            client.infer("m", [tensor])
            count += 1
        assert running.metric("nv_inference_request_success") == count


def test_grpc_clients_that_are_moved_lose_no_call(folder: Path) -> None:
    with serving(models.perceptron(folder / "calls.onnx"), connection_max_age=f"{AGE}s") as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
            ask = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
            states: list[grpc.ChannelConnectivity] = []
            channel.subscribe(states.append)
            request = request_of("m", x=("FP32", ROW))
            end, count = time.monotonic() + 6 * AGE, 0
            while time.monotonic() < end:
                futures = [ask.future(request) for _ in range(8)]
                assert len([future.result() for future in futures]) == 8
                count += 8
        assert states.count(grpc.ChannelConnectivity.READY) >= 2, "it has connected anew"
        assert running.metric("mooring_requests_received_total") == count
        assert running.metric("nv_inference_request_success") == count


def test_a_stream_that_runs_goes_on_over_an_old_connection(folder: Path) -> None:
    answers: list[object] = []
    with (
        serving(models.perceptron(folder / "stream.onnx"), connection_max_age=f"{AGE}s") as running,
        triton_grpc.InferenceServerClient(f"127.0.0.1:{running.grpc_port}") as client,
    ):
        client.start_stream(lambda result, error: answers.append(error or result))
        tensor = triton_grpc.InferInput("x", [1, 16], "FP32").set_data_from_numpy(ROW)
        for _ in range(8):
            client.async_stream_infer("m", [tensor])
            time.sleep(AGE / 2)
        client.stop_stream()
        assert [type(each) for each in answers] == [triton_grpc.InferResult] * 8
        assert running.metric("nv_inference_request_success") == 8


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_sample_of_the_whole_server_tells_whose_it_is(folder: Path, workers: str) -> None:
    told = {"service": "shop", "namespace": "models", "latency_target": "80ms", "workers": workers}
    with serving(models.perceptron(folder / f"labels{workers}.onnx"), **told) as running:
        for _ in range(8):
            assert exchange(running.port, post(INFER, perceptron_request()))[0] == 200
        for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
            _, _, page = exchange(
                running.metrics_port, f"GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n".encode()
            )
            text = page.decode().removesuffix("# EOF\n")
            found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
            whose = {(each.labels.get("mooring_service"), each.labels.get("mooring_namespace")) for each in found}
            assert whose == {("shop", "models")}
        values = {(each.name, each.labels.get("le", each.labels.get("term"))): each.value for each in found}
        assert values["mooring_requests_received_total", None] == 8
        assert values["mooring_request_seconds_bucket", "0.08"] == 8
        assert values["mooring_latency_target_seconds", None] == 0.08
        assert values["mooring_workers", None] == int(workers)
        assert values["mooring_batch_limit", None] == 32
        assert values["mooring_batch_curve_seconds", "a"] > 0
        assert values["mooring_loop_seconds_total", None] > 0


def test_arrivals_are_counted_from_before_the_model_is_there(folder: Path) -> None:
    running = Server(models.slow(folder / "loads.onnx", 20_000), threads="1")
    try:
        assert running.metric("mooring_requests_received_total") == 0
        assert exchange(running.port, post(INFER, one(1)))[0] == 503
        assert running.metric("mooring_requests_received_total") == 1
        assert running.metric("mooring_requests_rejected_total", cause="not_ready") == 1
    finally:
        running.end()


def test_a_queue_bounded_by_the_target_refuses_what_would_be_late(folder: Path) -> None:
    with serving(models.slow(folder / "late.onnx", 300), threads="1", latency_target="100ms") as running:
        seconds = running.metric("mooring_run_mean_seconds")
        limit = running.metric("mooring_queue_limit")
        assert limit == pytest.approx(max(8, 0.05 / seconds), rel=0.5)
        clients = [Load(running.port, one(index)) for index in range(int(limit) + 20)]
        for client in clients:
            client.start()
        time.sleep(1)
        for client in clients:
            client.leave()
            client.join()
        answers = [status for client in clients for status in client.statuses]
        assert set(answers) == {200, 503}
        assert running.metric("mooring_requests_received_total") == len(answers)
        assert running.metric("mooring_requests_rejected_total", cause="queue_full") == answers.count(503)


def test_a_step_that_goes_over_two_replicas_is_one_arrival(tmp_path: Path) -> None:
    model = state_models.accumulator(tmp_path / "model.onnx")
    sessions = [f"s{number}" for number in range(8)]
    assert {place(Key("m", session), 2) for session in sessions} == {0, 1}
    counts: dict[str, list[float]] = {"mooring_requests_received_total": [], "nv_inference_request_success": []}
    with fleet(tmp_path, model, 2, Record(1, 2)) as replicas:
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}
        for session in sessions:
            said = {"sequence_id": session, "sequence_start": True}
            step = post(INFER, json.dumps({"inputs": [tensor], "parameters": said}).encode())
            status, _, told = exchange(replicas.servers[0].port, step, replicas.hosts[0])
            assert status == 200, told
        for ordinal, server in replicas.servers.items():
            _, _, page = exchange(server.metrics_port, METRICS, replicas.hosts[ordinal])
            for family in text_string_to_metric_families(page.decode()):
                for sample in family.samples:
                    if sample.name in counts:
                        counts[sample.name].append(sample.value)
    assert counts["mooring_requests_received_total"] == [8, 0]
    assert sum(counts["nv_inference_request_success"]) == 8
    assert min(counts["nv_inference_request_success"]) > 0
