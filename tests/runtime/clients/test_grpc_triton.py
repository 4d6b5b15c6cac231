"""tritonclient over gRPC, unmodified, against the real process."""

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.support import models
from tests.support.runtime_process import Server
from tests.support.tensors import sample

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def client(house: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{house.grpc_port}") as client:
        yield client


def inputs_of(shape: tuple[int, ...], made: Any = triton) -> list[Any]:
    found = []
    for name in models.ALL_BUT_BF16:
        each = made.InferInput(f"in_{name}", list(shape), name)
        each.set_data_from_numpy(sample(name, shape))
        found.append(each)
    return found


def check(result: Any, shape: tuple[int, ...]) -> None:
    for name in models.ALL_BUT_BF16:
        array = result.as_numpy(f"out_{name}")
        assert array.shape == shape
        assert array.tolist() == sample(name, shape).tolist()


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (0, 4), (700, 100)])
def test_every_datatype(client: triton.InferenceServerClient, shape: tuple[int, ...]) -> None:
    for request_id in ("", "42"):
        result = client.infer("echo", inputs_of(shape), request_id=request_id)
        assert result.get_response().id == request_id
        check(result, shape)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests(client: triton.InferenceServerClient, coding: str) -> None:
    for shape in ((2, 2), (700, 100)):
        check(client.infer("echo", inputs_of(shape), compression_algorithm=coding), shape)


def test_questions_about_the_server(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "1")
    with pytest.raises(InferenceServerException, match="unknown model"):
        client.is_model_ready("other")
    assert client.get_server_metadata().name == "mooring"
    assert "classification" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata("echo", as_json=True)
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"][0] == {"name": "in_BOOL", "datatype": "BOOL", "shape": ["-1", "-1"]}
    config = client.get_model_config("echo").config
    assert (config.name, config.input[0].data_type) == ("echo", 1)
    index = {each.name: each for each in client.get_model_repository_index().models}
    assert (index["scores"].version, index["scores"].state) == ("1", "READY")


def test_statistics_count(client: triton.InferenceServerClient) -> None:
    def count() -> int:
        [row] = client.get_inference_statistics("echo").model_stats
        assert row.inference_stats.success.ns > 0 or not row.inference_count
        return int(row.inference_count)

    before = count()
    client.infer("echo", inputs_of((1, 1)))
    assert count() == before + 1


def test_settings_of_traces_and_logs(client: triton.InferenceServerClient) -> None:
    assert client.get_trace_settings(as_json=True)["settings"]["trace_level"] == {"value": ["OFF"]}
    assert client.update_trace_settings(settings={"trace_rate": "7"}).settings["trace_rate"].value == ["7"]
    assert client.update_trace_settings(settings={"trace_rate": None}).settings["trace_rate"].value == ["1000"]
    with pytest.raises(InferenceServerException, match="no trace setting colour"):
        client.update_trace_settings(settings={"colour": "red"})
    assert client.get_log_settings().settings["log_info"].bool_param
    assert client.update_log_settings({"log_verbose_level": 1}).settings["log_verbose_level"].uint32_param == 1
    client.update_log_settings({"log_verbose_level": 0})


def test_what_is_not_here_says_so(client: triton.InferenceServerClient) -> None:
    assert not client.get_system_shared_memory_status().regions
    assert not client.get_cuda_shared_memory_status().regions
    calls: list[tuple[Any, ...]] = [
        (client.register_system_shared_memory, "r", "/k", 1),
        (client.unregister_system_shared_memory,),
        (client.register_cuda_shared_memory, "r", b"", 0, 1),
        (client.unregister_cuda_shared_memory,),
    ]
    for call, *arguments in calls:
        with pytest.raises(InferenceServerException, match="no shared memory") as caught:
            call(*arguments)
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_errors(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="unknown model 'other'") as caught:
        client.infer("other", inputs_of((1, 1)))
    assert caught.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException, match=r"input .* is missing") as caught:
        client.infer("echo", inputs_of((1, 1))[:1])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException, match="session '7' cannot be used: model 'echo' keeps no state"):
        client.infer("echo", inputs_of((1, 1)), sequence_id=7, sequence_start=True)


def test_reserved_and_own_parameters(client: triton.InferenceServerClient) -> None:
    check(
        client.infer("echo", inputs_of((1, 1)), priority=1, timeout=10_000_000, parameters={"temperature": 1}), (1, 1)
    )


def test_a_stream(client: triton.InferenceServerClient) -> None:
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: found.put((result, error)))
    for number in range(300):
        client.async_stream_infer("echo", inputs_of((1, 2)), request_id=str(number))
    client.async_stream_infer("other", inputs_of((1, 2)))
    replies = [found.get(timeout=20) for _ in range(301)]
    client.stop_stream()
    results = {result.get_response().id: result for result, error in replies if error is None}
    assert set(results) == {str(number) for number in range(300)}
    check(results["7"], (1, 2))
    [error] = [error for _, error in replies if error is not None]
    assert "unknown model 'other'" in str(error)


async def test_the_asynchronous_client(house: Server) -> None:
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{house.grpc_port}") as client:
        assert await client.is_server_ready()
        check(await client.infer("echo", inputs_of((3, 5)), request_id="a"), (3, 5))

        async def requests() -> Any:
            for number in range(20):
                yield {"model_name": "echo", "inputs": inputs_of((1, 1)), "request_id": str(number)}

        ids = []
        async for result, error in client.stream_infer(requests()):
            assert error is None
            ids.append(result.get_response().id)
        assert sorted(ids, key=int) == [str(number) for number in range(20)]


def test_a_hundred_megabytes(client: triton.InferenceServerClient) -> None:
    array = np.arange(25_000_000, dtype=np.float32).reshape(5, -1)
    shape = (5, 1)
    inputs = [each for each in inputs_of(shape) if each.name() != "in_FP32"]
    large = triton.InferInput("in_FP32", list(array.shape), "FP32")
    large.set_data_from_numpy(array)
    result = client.infer("echo", [*inputs, large], outputs=[triton.InferRequestedOutput("out_FP32")])
    assert np.array_equal(result.as_numpy("out_FP32"), array)


def test_loading_by_clients(client: triton.InferenceServerClient) -> None:
    assert client.is_model_ready("spare")
    client.unload_model("spare")
    with pytest.raises(InferenceServerException, match="spare") as caught:
        client.infer("spare", [])
    assert caught.value.status() == "StatusCode.UNAVAILABLE"
    assert not client.is_model_ready("spare")
    client.load_model("spare")
    assert client.is_model_ready("spare")
    with pytest.raises(InferenceServerException) as caught:
        client.load_model("three")
    assert caught.value.status() == "StatusCode.INTERNAL"


def test_classification(client: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("in_FP32", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.array([[0.25, 0.75]], np.float32))
    result = client.infer("scores", [tensor], outputs=[triton.InferRequestedOutput("out_FP32", class_count=1)])
    assert result.as_numpy("out_FP32").tolist() == [[b"0.750000:1:dog"]]


def test_a_decoupled_model(client: triton.InferenceServerClient) -> None:
    text, times = triton.InferInput("text_input", [1], "BYTES"), triton.InferInput("times", [1], "INT32")
    text.set_data_from_numpy(np.array([b"hi"], dtype=object))
    times.set_data_from_numpy(np.array([3], np.int32))
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: found.put((result, error)))
    client.async_stream_infer("speaker", [text, times], request_id="7", enable_empty_final_response=True)
    replies = [found.get(timeout=20) for _ in range(4)]
    client.stop_stream()
    assert [error for _, error in replies] == [None] * 4
    assert [result.as_numpy("text_output")[0] for result, _ in replies[:3]] == [b"hi 0", b"hi 1", b"hi 2"]
    assert [result.get_response().parameters["triton_final_response"].bool_param for result, _ in replies] == [
        False,
        False,
        False,
        True,
    ]
    with pytest.raises(InferenceServerException, match="ask it by ModelStreamInfer"):
        client.infer("speaker", [text, times])
