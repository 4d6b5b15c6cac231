"""A model in Python behind a real server: its answers, its streams, and that no fault of it takes the server down."""

import json
import queue
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from tests.support.runtime_process import Runtime, Server, exchange, get, post, serving

pytestmark = pytest.mark.timeout(30)

EXAMPLE = Path(__file__).parents[3] / "examples" / "python-model"
FAULTS = """
import sys

class Model:
    inputs = {"x": ("INT64", [-1])}
    outputs = {"y": ("INT64", [-1])}
    batch = True

    def predict(self, inputs):
        if 7 in inputs["x"]:
            sys.exit("seven")
        return {"y": inputs["x"] * 2}
"""
COUNTS = """
class Model:
    inputs = {"n": ("INT64", [1])}
    outputs = {"i": ("INT64", [1])}

    def predict(self, inputs):
        for number in range(inputs["n"][0]):
            yield {"i": inputs["n"] * 0 + number}
"""


def ask(server: Server, model: str, name: str, datatype: str, data: list[Any]) -> tuple[int, Any]:
    tensor = {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}
    status, _, body = exchange(
        server.port, post(f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}).encode())
    )
    return status, json.loads(body)


def test_the_example_is_served(tmp_path: Path) -> None:
    with serving(EXAMPLE, "hashing", allow_unsafe_formats="true") as server:
        assert get(server.port, "/v2/models/hashing")[1]["platform"] == "python"
        status, answer = ask(server, "hashing", "text", "BYTES", ["a red car", "The car is RED"])
        assert status == 200
        one, other = np.array(answer["outputs"][0]["data"]).reshape(2, -1)
        assert one @ other == pytest.approx(1)


def test_a_fault_fails_its_request_only(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(FAULTS)
    with serving(tmp_path, allow_unsafe_formats="true") as server:
        for _ in range(3):
            status, answer = ask(server, "m", "x", "INT64", [1, 7])
            assert (status, answer["error"]) == (500, "model 'm' failed: SystemExit: seven")
            status, answer = ask(server, "m", "x", "INT64", [1, 2])
            assert (status, answer["outputs"][0]["data"]) == (200, [2, 4])
        assert 'sys.exit(\\"seven\\")' in server.log()


def test_a_decoupled_model_streams(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(COUNTS)
    replies: queue.Queue[tuple[Any, Any]] = queue.Queue()
    tensor = triton_grpc.InferInput("n", [1], "INT64")
    tensor.set_data_from_numpy(np.array([3]))
    with (
        serving(tmp_path, allow_unsafe_formats="true") as server,
        triton_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client,
    ):
        client.start_stream(lambda result, error: replies.put((result, error)))
        client.async_stream_infer("m", [tensor])
        found = [replies.get(timeout=10) for _ in range(3)]
        client.stop_stream()
    assert [error for _, error in found] == [None] * 3
    assert [result.as_numpy("i").tolist() for result, _ in found] == [[0], [1], [2]]


def test_it_is_refused_unless_it_is_allowed() -> None:
    runtime = Runtime(
        "serve", {"MOORING_MODEL_NAME": "m", "MOORING_MODEL_PATH": str(EXAMPLE), "MOORING_HTTP_PORT": "0"}
    )
    try:
        assert runtime.code() == 1
        assert "MOORING_ALLOW_UNSAFE_FORMATS" in runtime.log()
    finally:
        runtime.end()
