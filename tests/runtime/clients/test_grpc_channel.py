"""grpcio by itself: deadlines, cancellation, many calls on one channel, health, and the end of the server."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs

from tests.support import models
from tests.support.grpc_served import request_of
from tests.support.runtime_process import Server, serving

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def slow(folder: Path) -> Iterator[Server]:
    """A run takes some tenths of a second, one at a time."""
    with serving(models.slow(folder / "slow.onnx", 2000), threads="1") as running:
        yield running


@pytest.fixture
def stub(slow: Server) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{slow.grpc_port}") as channel:
        yield stubs.GRPCInferenceServiceStub(channel)


def one(value: float) -> Any:
    return request_of("m", x=("FP32", np.array([value], np.float32)))


def test_a_deadline(stub: Any, slow: Server) -> None:
    stub.ModelInfer(one(0))  # Else the deadline might pass while the channel connects.
    waiting = [stub.ModelInfer.future(one(number)) for number in range(3)]
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(one(9), timeout=0.1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert [call.result(timeout=20).raw_output_contents[0] for call in waiting] == [
        np.float32(number).tobytes() for number in range(3)
    ]
    [row] = stub.ModelStatistics(pb.ModelStatisticsRequest(name="m")).model_stats
    assert row.inference_stats.fail.count >= 1, "it did not run"


def test_who_cancels_is_not_computed_for(stub: Any, slow: Server) -> None:
    before = slow.metric("nv_inference_exec_count")
    first = stub.ModelInfer.future(one(1))
    waiting = [stub.ModelInfer.future(one(2)) for _ in range(5)]
    received = slow.metric("mooring_requests_received_total")
    while slow.metric("mooring_requests_received_total") < received:
        time.sleep(0.01)
    while slow.metric("mooring_in_flight") < 1:
        time.sleep(0.01)
    for call in waiting:
        call.cancel()
    first.result(timeout=20)
    stub.ModelInfer(one(3), timeout=20)
    assert slow.metric("nv_inference_exec_count") - before <= 4


def test_the_queue_is_bounded(folder: Path) -> None:
    with (
        serving(models.slow(folder / "full.onnx", 2000), threads="1", queue="2") as running,
        grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel,
    ):
        stub = stubs.GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer.future(one(number), timeout=30) for number in range(6)]
        codes = sorted(call.code().name for call in calls)
        assert codes == ["OK", "OK", "UNAVAILABLE", "UNAVAILABLE", "UNAVAILABLE", "UNAVAILABLE"]
        refused = next(call for call in calls if call.code() == grpc.StatusCode.UNAVAILABLE)
        assert ("mooring-cause", "queue_full") in [tuple(pair) for pair in refused.trailing_metadata()]


def test_many_calls_on_one_channel(folder: Path) -> None:
    with (
        serving(models.perceptron(folder / "many.onnx")) as running,
        grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel,
        ThreadPoolExecutor(16) as pool,
    ):
        stub = stubs.GRPCInferenceServiceStub(channel)
        random = np.random.default_rng(0)
        inputs = [random.random((1 + number % 4, 16), np.float32) for number in range(800)]
        alone = [
            np.concatenate(
                [
                    np.frombuffer(
                        stub.ModelInfer(request_of("m", x=("FP32", row[None]))).raw_output_contents[0], np.float32
                    )
                    for row in array
                ]
            )
            for array in inputs[:8]
        ]
        metadata = (("x-own", "value"), ("x-own-bin", b"\0\1"))
        together = list(
            pool.map(lambda array: stub.ModelInfer(request_of("m", x=("FP32", array)), metadata=metadata), inputs)
        )
        for array, response in zip(inputs, together, strict=True):
            assert list(response.outputs[0].shape) == [len(array), 4]
        for expected, response in zip(alone, together, strict=False):
            found = np.frombuffer(response.raw_output_contents[0], np.float32)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_kserves_load_messages(tmp_path: Path) -> None:
    """KServe's definition has the model in field 1; here Triton's stub writes its repository_name there."""
    made = tmp_path / "one" / "1"
    made.mkdir(parents=True)
    models.perceptron(made / "model.onnx")
    server = Server(tmp_path, "", model_path="", model_repository=str(tmp_path), model_control="explicit")
    try:
        server.ready()
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            load = channel.unary_unary(
                "/inference.GRPCInferenceService/RepositoryModelUnload",
                request_serializer=bytes,
                response_deserializer=bytes,
            )
            assert load(b"\x0a\x03one") == b"\x0a\x03one\x10\x01"
    finally:
        server.end()


def test_who_sends_and_does_not_read_is_stopped_and_loses_nothing(folder: Path) -> None:
    """A stream of 150 MiB of answers, of which none is read at first."""
    count, sent = 600, 0
    row = np.ones((1, 2**16), np.float32)

    def requests() -> Iterator[Any]:
        nonlocal sent
        for sent in range(count):
            row[0, 0] = sent
            yield request_of("m", in_FP32=("FP32", row))

    model = models.echo(folder / "echo.onnx", ("FP32",))
    fixed = [("grpc.http2.bdp_probe", 0)]  # Its window stays at 64 KiB.
    with serving(model) as running, grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}", fixed) as channel:
        before = running.memory()
        stub = stubs.GRPCInferenceServiceStub(channel)
        call = stub.ModelStreamInfer(requests())
        last = -1
        while last < sent:
            last = sent
            time.sleep(0.5)
        assert last < 100, "all was taken of a client that reads nothing"
        assert running.metric("nv_inference_request_success") < 100
        assert running.memory() - before < 48 * 2**20
        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=10).live, "other calls of its channel go on"
        found = [np.frombuffer(each.infer_response.raw_output_contents[0], np.float32)[0] for each in call]
        assert found == list(range(count))


def health(channel: grpc.Channel, method: str = "Check") -> Any:
    kind = channel.unary_unary if method == "Check" else channel.unary_stream
    return kind(f"/grpc.health.v1.Health/{method}", request_serializer=bytes, response_deserializer=bytes)


def test_health(slow: Server) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{slow.grpc_port}") as channel:
        check = health(channel)
        service = b"inference.GRPCInferenceService"
        assert check(b"") == b"\x08\x01"
        assert check(b"\x0a" + bytes([len(service)]) + service) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\x0a\x01x")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        watch = health(channel, "Watch")(b"")
        assert next(watch) == b"\x08\x01"
        watch.cancel()
        unknown = health(channel, "Watch")(b"\x0a\x01x")
        assert next(unknown) == b"\x08\x03"
        unknown.cancel()


def test_the_end_of_the_server_fails_no_call(folder: Path) -> None:
    """Clients ask on during the drain, on channels that reconnect; a watcher learns of it."""
    with serving(models.slow(folder / "drained.onnx", 50), threads="1", drain_seconds="1.5") as running:
        target = f"127.0.0.1:{running.grpc_port}"
        leave = threading.Event()
        failures: list[str] = []
        answers: list[int] = []

        def ask() -> None:
            with grpc.insecure_channel(target) as channel:
                stub = stubs.GRPCInferenceServiceStub(channel)
                while not leave.is_set():
                    try:
                        stub.ModelInfer(one(1), timeout=10)
                        answers.append(1)
                    except grpc.RpcError as error:
                        failures.append(f"{error.code()} {error.details()}")

        clients = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            with grpc.insecure_channel(target) as channel:
                watch = health(channel, "Watch")(b"")
                assert next(watch) == b"\x08\x01"
                running.stop()
                assert next(watch) == b"\x08\x02"
                time.sleep(0.3)
                leave.set()
                for client in clients:
                    client.join()
                with pytest.raises(grpc.RpcError) as caught:
                    next(watch)
                assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        finally:
            leave.set()
        assert running.code() == 0
        assert not failures
        assert len(answers) > 20


def test_a_call_under_way_is_answered_after_the_drain(folder: Path) -> None:
    with serving(models.slow(folder / "long.onnx", 3000), threads="1") as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
            call = stubs.GRPCInferenceServiceStub(channel).ModelInfer.future(one(5))
            while running.metric("mooring_in_flight") < 1:
                time.sleep(0.01)
            running.stop()
            assert call.result(timeout=30).raw_output_contents[0] == np.float32(5).tobytes()
        assert running.code() == 0


def test_without_grpc(folder: Path) -> None:
    with serving(models.perceptron(folder / "plain.onnx"), grpc="false") as running:
        assert "grpc_port" not in running.line("listening")
