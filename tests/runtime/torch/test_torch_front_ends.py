"""A torch model and its export to ONNX, served by one process, give the same answers through every protocol."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from mooring_runtime.messages import Array
from tests.support import torch_models
from tests.support.runtime_process import Server, exchange, post

pytestmark = pytest.mark.timeout(180)

MODELS = ("exported", "scripted", "onnx")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("repository")
    for name in MODELS:
        (repository / name).mkdir()
    torch_models.export_perceptron(repository / "exported" / "model.pt2")
    torch_models.script(torch_models.Perceptron(), repository / "scripted" / "model.pt")
    torch_models.to_onnx(repository / "exported" / "model.pt2", repository / "onnx" / "model.onnx")
    declared = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "total", "datatype": "FP32", "shape": [-1]},
        ],
    }
    (repository / "scripted" / "mooring.json").write_text(json.dumps(declared))
    server = Server(repository, model_path="", name="", model_repository=str(repository), allow_unsafe_formats="true")
    try:
        server.line("ready", 60)
        yield server
    finally:
        server.end()


def rows(count: int) -> Array:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


Answers = dict[str, Array]
Ask = Callable[[Server, str, Array], Answers]


def send(server: Server, path: str, document: Any, *headers: str) -> Any:
    status, _, body = exchange(
        server.port, post(path, json.dumps(document).encode(), "Content-Type: application/json", *headers)
    )
    assert status == 200, body
    return json.loads(body)


def of_v2(document: Any) -> Answers:
    return {each["name"]: np.array(each["data"], np.float32).reshape(each["shape"]) for each in document["outputs"]}


def of_rows(rows: list[Any]) -> Answers:
    return {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}


def v2_json(server: Server, model: str, x: Array) -> Answers:
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
    return of_v2(send(server, f"/v2/models/{model}/infer", {"inputs": [tensor]}))


def v2_binary(server: Server, model: str, x: Array) -> Answers:
    tensor = triton_http.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        result = client.infer(model, [tensor])
    return {name: result.as_numpy(name) for name in ("scores", "total")}


def v2_grpc(server: Server, model: str, x: Array) -> Answers:
    tensor = triton_grpc.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        result = client.infer(model, [tensor])
    return {name: result.as_numpy(name) for name in ("scores", "total")}


def v1(server: Server, model: str, x: Array) -> Answers:
    return of_rows(send(server, f"/v1/models/{model}:predict", {"instances": x.tolist()})["predictions"])


def tf_serving_columns(server: Server, model: str, x: Array) -> Answers:
    outputs = send(server, f"/v1/models/{model}/versions/1:predict", {"inputs": {"x": x.tolist()}})["outputs"]
    return {name: np.array(values, np.float32) for name, values in outputs.items()}


def torch_serve(server: Server, model: str, x: Array) -> Answers:
    return of_rows(send(server, f"/predictions/{model}", {"instances": x.tolist()})["predictions"])


def sage_maker(server: Server, model: str, x: Array) -> Answers:
    header = f"X-Amzn-SageMaker-Target-Model: {model}.tar.gz"
    return of_rows(send(server, "/invocations", {"instances": x.tolist()}, header)["predictions"])


@pytest.mark.parametrize("ask", [v2_json, v2_binary, v2_grpc, v1, tf_serving_columns, torch_serve, sage_maker])
def test_answers_are_the_same(server: Server, ask: Ask) -> None:
    for count in (1, 5):
        x = rows(count)
        expected = v2_json(server, "exported", x)
        assert expected["scores"].shape == (count, 3)
        for model in MODELS:
            found = ask(server, model, x)
            assert set(found) == {"scores", "total"}
            for name, array in found.items():
                np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5, err_msg=f"{model} {name}")
