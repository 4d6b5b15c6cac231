"""tritonclient over HTTP, as it comes, against a real server."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from mooring_runtime.messages import DATATYPES, Array
from tests.support import models
from tests.support.runtime_process import Server
from tests.support.tensors import sample

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def client(house: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{house.port}", concurrency=4) as found:
        yield found


def inputs_of(shape: tuple[int, ...], *, binary: bool = True) -> list[triton.InferInput]:
    found = []
    for name in models.ALL_BUT_BF16:
        each = triton.InferInput(f"in_{name}", list(shape), name)
        each.set_data_from_numpy(sample(name, shape), binary_data=binary or not DATATYPES[name].json)
        found.append(each)
    return found


def one(name: str, array: Array, datatype: str = "FP32") -> list[triton.InferInput]:
    found = triton.InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array)
    return [found]


SCORES = np.array([[0.25, 0.5, 0.125]], np.float32)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (0, 4), (31, 700)])
@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype(client: triton.InferenceServerClient, shape: tuple[int, ...], binary: bool) -> None:
    outputs = [
        triton.InferRequestedOutput(f"out_{name}", binary_data=binary or not DATATYPES[name].json)
        for name in models.ALL_BUT_BF16
    ]
    result = client.infer("echo", inputs_of(shape, binary=binary), outputs=outputs, request_id="42")
    assert result.get_response()["id"] == "42"
    for name in models.ALL_BUT_BF16:
        array = result.as_numpy(f"out_{name}")
        expected = sample(name, shape)
        if name == "BYTES" and not binary:
            expected = np.array([text.decode() for text in expected.ravel()], dtype=object).reshape(shape)
        assert array.shape == shape
        assert array.tolist() == expected.tolist()


def test_a_hundred_megabytes(client: triton.InferenceServerClient) -> None:
    array = np.arange(25_000_000, dtype=np.float32).reshape(1, -1)
    result = client.infer("scores", one("in_FP32", array))
    assert np.array_equal(result.as_numpy("out_FP32"), array)


@pytest.mark.parametrize("request_coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_coding", [None, "gzip", "deflate"])
def test_compression(
    client: triton.InferenceServerClient, request_coding: str | None, response_coding: str | None
) -> None:
    result = client.infer(
        "echo",
        inputs_of((31, 100)),
        request_compression_algorithm=request_coding,
        response_compression_algorithm=response_coding,
    )
    assert result.as_numpy("out_FP64").tolist() == sample("FP64", (31, 100)).tolist()


def test_many_at_once(client: triton.InferenceServerClient) -> None:
    asked = [client.async_infer("scores", one("in_FP32", SCORES + number)) for number in range(40)]
    for number, each in enumerate(asked):
        assert np.array_equal(each.get_result().as_numpy("out_FP32"), SCORES + number)


def test_classification(client: triton.InferenceServerClient) -> None:
    outputs = [triton.InferRequestedOutput("out_FP32", class_count=2)]
    found = client.infer("scores", one("in_FP32", SCORES), outputs=outputs).as_numpy("out_FP32")
    assert found.tolist() == [[b"0.500000:1:dog", b"0.250000:0:cat"]]


def test_priorities_time_limits_and_parameters_of_the_client(client: triton.InferenceServerClient) -> None:
    result = client.infer(
        "scores", one("in_FP32", SCORES), priority=2, timeout=5_000_000, parameters={"temperature": 1}
    )
    assert np.array_equal(result.as_numpy("out_FP32"), SCORES)


# --- what there is


def test_the_server_and_its_models(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "1")
    assert not client.is_model_ready("other")
    extensions = client.get_server_metadata()["extensions"]
    assert {"binary_tensor_data", "classification", "schedule_policy", "statistics", "trace", "logging"} <= {
        *extensions
    }
    metadata = client.get_model_metadata("echo")
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"][0] == {"name": "in_BOOL", "datatype": "BOOL", "shape": [-1, -1]}
    assert client.get_model_metadata("echo", "1") == metadata


def test_what_perf_analyzer_needs(client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("scores")
    assert config["max_batch_size"] > 0
    assert "dynamic_batching" in config
    assert config["model_transaction_policy"] == {"decoupled": False}
    assert config["response_cache"] == {"enable": False}
    assert config["input"][0]["dims"] == [-1]
    assert client.get_model_config("speaker", "1")["model_transaction_policy"] == {"decoupled": True}
    before = client.get_inference_statistics("scores", "1")["model_stats"][0]
    client.infer("scores", one("in_FP32", np.repeat(SCORES, 4, 0)))
    after = client.get_inference_statistics("scores")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 4
    assert after["execution_count"] == before["execution_count"] + 1
    for name in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        now, then = after["inference_stats"][name], before["inference_stats"][name]
        assert (now["count"] - then["count"], now["ns"] >= then["ns"]) == (1, True)
    names = {row["name"] for row in client.get_inference_statistics()["model_stats"]}
    assert {"scores", "echo", "slow"} <= names


def test_loading_and_unloading(client: triton.InferenceServerClient, house: Server) -> None:
    index = {entry["name"]: entry for entry in client.get_model_repository_index()}
    assert index["spare"] == {"name": "spare", "version": "1", "state": "READY"}
    client.unload_model("spare")
    assert not client.is_model_ready("spare")
    with pytest.raises(InferenceServerException, match="spare"):
        client.infer("spare", one("x", np.array([1], np.float32)))
    client.load_model("spare")
    assert factor(client) == 2.0
    client.load_model("spare", config='{"max_batch_size": 8}')
    assert client.get_model_config("spare")["max_batch_size"] in (0, 8)
    assert factor(client) == 2.0


def factor(client: triton.InferenceServerClient) -> float:
    return float(client.infer("spare", one("x", np.array([1], np.float32))).as_numpy("y")[0])


def test_logging_and_traces(client: triton.InferenceServerClient) -> None:
    before = client.get_log_settings()
    assert client.update_log_settings({"log_verbose_level": 1})["log_verbose_level"] == 1
    assert client.update_log_settings({"log_verbose_level": 0}) == before
    start = client.get_trace_settings()
    assert (
        client.update_trace_settings("scores", {"trace_level": ["TIMESTAMPS"], "trace_rate": "1"})["trace_rate"] == "1"
    )
    client.infer("scores", one("in_FP32", SCORES))
    assert client.update_trace_settings("scores", {"trace_level": None, "trace_rate": None})["trace_level"] == ["OFF"]
    assert client.get_trace_settings() == start


# --- errors: each row of the protocol's table that HTTP can show


def fail_to_load(client: triton.InferenceServerClient) -> None:
    client.load_model("spare", config="{", files={"file:1/model.onnx": b"no model"})


ERRORS: dict[str, tuple[str, str, Callable[[triton.InferenceServerClient], Any]]] = {
    "an input is missing": ("400", r"input .* is missing", lambda c: c.infer("echo", inputs_of((1, 1))[:1])),
    "an output is unknown": (
        "400",
        "has no output 'z'",
        lambda c: c.infer("scores", one("in_FP32", SCORES), outputs=[triton.InferRequestedOutput("z")]),
    ),
    "a wrong datatype": (
        "400",
        "has datatype FP64",
        lambda c: c.infer("scores", one("in_FP32", np.ones((1, 1)), "FP64")),
    ),
    "a wrong rank": (
        "400",
        r"has shape \[1, 1, 1\]",
        lambda c: c.infer("scores", one("in_FP32", np.ones((1, 1, 1), np.float32))),
    ),
    "a sequence": (
        "400",
        "keeps no state",
        lambda c: c.infer("scores", one("in_FP32", SCORES), sequence_id=7, sequence_start=True),
    ),
    "the model refuses": ("400", "the model refused", lambda c: c.infer("table", one("index", np.array([9]), "INT64"))),
    "many answers": (
        "400",
        "any number of answers|decoupled|streams",
        lambda c: c.infer(
            "speaker",
            one("text_input", np.array([b"a"], object), "BYTES") + one("times", np.array([1], np.int32), "INT32"),
        ),
    ),
    "an unknown model": ("404", "unknown model 'other'", lambda c: c.infer("other", inputs_of((1, 1)))),
    "an unknown version": ("404", "no version 9", lambda c: c.get_model_metadata("echo", "9")),
    "a model that is not in the repository": ("500", "failed to load 'other'", lambda c: c.load_model("other")),
    "a load that fails": ("400", "spare", fail_to_load),
    "shared memory": ("501", "no shared memory", lambda c: c.register_system_shared_memory("r", "/k", 8)),
    "CUDA memory": ("501", "no shared memory", lambda c: c.register_cuda_shared_memory("r", b"", 0, 8)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_read(client: triton.InferenceServerClient, name: str) -> None:
    status, words, call = ERRORS[name]
    with pytest.raises(InferenceServerException, match=words) as caught:
        call(client)
    assert caught.value.status() == status


def test_status_lists_of_memory_are_empty(client: triton.InferenceServerClient) -> None:
    assert client.get_system_shared_memory_status() == []
    assert client.get_cuda_shared_memory_status() == []
