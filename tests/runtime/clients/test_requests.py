"""Plain `requests`, with the bodies that users of TF Serving, SageMaker and TorchServe send, against a real server."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.support import models
from tests.support.runtime_process import Runtime, Server, connect, one, post

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as found:
        yield found


@pytest.fixture
def url(house: Server) -> str:
    return f"http://127.0.0.1:{house.port}"


def error(response: requests.Response, status: int) -> str:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
    document: dict[str, str] = response.json()
    assert list(document) == ["error"]
    return document["error"]


# --- TF Serving


def test_tf_serving_rows_and_columns(session: requests.Session, url: str) -> None:
    rows: Any = {"signature_name": "serving_default", "instances": [[1.0, 2.0], [3.0, 4.5]]}
    answer = session.post(f"{url}/v1/models/scores:predict", json=rows)
    assert answer.json() == {"predictions": [[1.0, 2.0], [3.0, 4.5]]}
    answer = session.post(f"{url}/v1/models/scores/versions/1:predict", json={"inputs": {"in_FP32": [[1.0, 2.0]]}})
    assert answer.json() == {"outputs": [[1.0, 2.0]]}
    answer = session.post(f"{url}/v1/models/scores/labels/stable:predict", data='{"instances": [[NaN, -Infinity]]}')
    assert answer.text == '{"predictions":[[NaN,-Infinity]]}'
    images: Any = [{"b64": base64.b64encode(b"\xff\0").decode()}, "plain"]
    assert session.post(f"{url}/v1/models/text:predict", json={"instances": images}).json() == {
        "predictions": [{"b64": "/wA="}, "plain"]
    }


def test_tf_serving_takes_every_datatype(session: requests.Session, url: str) -> None:
    row: dict[str, Any] = {f"in_{name}": [1, 0] for name in models.ALL_BUT_BF16}
    row |= {"in_BOOL": [True, False], "in_BYTES": ["a", "ä"]}
    [prediction] = session.post(f"{url}/v1/models/echo:predict", json={"instances": [row]}).json()["predictions"]
    assert prediction == {f"out_{key.removeprefix('in_')}": value for key, value in row.items()}


def test_tf_serving_tells_of_its_models(session: requests.Session, url: str) -> None:
    status = session.get(f"{url}/v1/models/scores").json()["model_version_status"]
    assert status == [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    metadata = session.get(f"{url}/v1/models/scores/versions/1/metadata").json()["metadata"]
    assert metadata["signature_def"]["signature_def"]["serving_default"]["inputs"]["in_FP32"]["dtype"] == "DT_FLOAT"
    result = session.post(f"{url}/v1/models/scores:classify", json={"examples": [{"in_FP32": [0.5, 0.25]}]})
    assert result.json() == {"result": [[["cat", 0.5], ["dog", 0.25]]]}


def test_tf_serving_codes(session: requests.Session, url: str) -> None:
    predict = f"{url}/v1/models/scores:predict"
    assert "instances[1] has 1 elements" in error(session.post(predict, json={"instances": [[1, 2], [3]]}), 400)
    assert "unknown model" in error(session.post(f"{url}/v1/models/other:predict", json={"instances": [1]}), 404)
    assert "label 'new'" in error(session.get(f"{url}/v1/models/scores/labels/new"), 404)
    assert "no explainer" in error(session.post(f"{url}/v1/models/scores:explain", json={}), 501)
    wrong = session.get(predict)
    assert wrong.status_code in (404, 405)


# --- SageMaker and TorchServe


def test_sagemaker_bodies(session: requests.Session, url: str) -> None:
    invocations = f"{url}/invocations"
    assert session.get(f"{url}/ping").status_code == 200
    assert session.post(invocations, json={"instances": [[1, 2]]}).json() == {"predictions": [[1.0, 2.0]]}
    v2: Any = {"inputs": [{"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    assert session.post(invocations, json=v2).json()["outputs"][0]["data"] == [1.0, 2.0]
    csv = session.post(invocations, data="1,2\n3,4", headers={"Content-Type": "text/csv"})
    assert (csv.headers["content-type"], csv.text) == ("text/csv", "1.0,2.0\n3.0,4.0\n")
    target = {"X-Amzn-SageMaker-Target-Model": "text", "Content-Type": "application/octet-stream"}
    assert session.post(invocations, data=b"\xff\0", headers=target).content == b"\xff\0"
    stateful = session.post(invocations, json=v2, headers={"X-Amzn-SageMaker-Session-Id": "NEW_SESSION"})
    assert (stateful.status_code, stateful.json()["cause"]) == (400, "bad-session")


def test_sagemaker_in_tritons_binary_form(session: requests.Session, url: str) -> None:
    raw = np.array([[1, 2]], np.float32).tobytes()
    tensor: Any = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    kind = "application/vnd.sagemaker-triton.binary+json;json-header-size="
    answer = session.post(f"{url}/invocations", data=head + raw, headers={"Content-Type": kind + str(len(head))})
    size = int(answer.headers["content-type"].removeprefix(kind))
    assert json.loads(answer.content[:size])["outputs"][0]["name"] == "out_FP32"
    assert answer.content[size:] == raw


def test_sagemaker_says_the_port(tmp_path: Path) -> None:
    model = models.perceptron(tmp_path / "model.onnx")
    variables = {"MOORING_MODEL_PATH": str(model.parent), "MOORING_HTTP_PORT": "1", "SAGEMAKER_BIND_TO_PORT": "0"}
    others = dict.fromkeys(("MOORING_GRPC_PORT", "MOORING_METRICS_PORT", "MOORING_DRAIN_SECONDS"), "0")
    container = Runtime("serve", {**variables, **others, "MOORING_MODEL_NAME": "model"})
    try:
        port = container.line("listening")["http_port"]
        container.line("ready")
        assert requests.get(f"http://127.0.0.1:{port}/ping", timeout=5).json() == {"status": "Healthy"}
        answer = requests.post(f"http://127.0.0.1:{port}/invocations", json=[[0.5] * 16], timeout=5)
        assert np.shape(answer.json()) == (1, 4)
        container.stop()
        assert container.code() == 0
    finally:
        container.end()


def test_torchserve_bodies(session: requests.Session, url: str) -> None:
    predictions = f"{url}/predictions/text"
    assert session.post(predictions, data=b"kitten").content == b"kitten"
    assert session.put(f"{predictions}/1", data=b"kitten").content == b"kitten"
    assert session.post(predictions, files={"data": ("kitten.jpg", b"\xff\xd8\r\n--\0")}).content == b"\xff\xd8\r\n--\0"
    assert session.post(f"{url}/predictions/image", files={"body": b"\1\2"}).json() == [1, 2]
    assert session.post(f"{url}/predictions/scores", json=[[1, 2]]).json() == [[1.0, 2.0]]
    stateful = session.post(predictions, headers={"ts_request_sequence_id": "7"})
    assert (stateful.status_code, stateful.json()["cause"]) == (400, "bad-session")
    assert session.options(f"{url}/").json()["openapi"] == "3.0.1"


# --- streams


def test_events_arrive_one_by_one(session: requests.Session, url: str) -> None:
    asked: Any = {"text_input": "hi", "times": 3, "parameters": {"end": "!"}}
    with session.post(f"{url}/v2/models/speaker/generate_stream", json=asked, stream=True) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["transfer-encoding"] == "chunked"
        events = [json.loads(line.removeprefix(b"data: ")) for line in answer.iter_lines() if line]
    assert [event["text_output"] for event in events] == ["hi 0!", "hi 1!", "hi 2!"]
    assert session.post(f"{url}/v2/models/speaker/generate", json={**asked, "times": 1}).json() == {
        "model_name": "speaker",
        "model_version": "1",
        "text_output": "hi 0!",
    }
    assert "gave several" in error(session.post(f"{url}/v2/models/speaker/generate", json=asked), 400)


def test_a_client_that_hangs_up_ends_the_stream(session: requests.Session, url: str) -> None:
    asked: Any = {"text_input": "hi", "times": 2_000_000_000}
    with session.post(f"{url}/v2/models/speaker/generate_stream", json=asked, stream=True) as answer:
        assert next(answer.iter_lines()).startswith(b"data: ")
    # The model answers one request at a time: had it gone on, nobody else would be answered.
    once: Any = {"text_input": "next", "times": 1}
    assert requests.post(f"{url}/v2/models/speaker/generate", json=once, timeout=20).json()["text_output"] == "next 0"


def test_a_client_that_does_not_read_its_stream_holds_up_nobody(house: Server, url: str) -> None:
    asked = json.dumps({"text_input": "x" * 10_000, "times": 2_000_000_000}).encode()
    with connect(house.port) as deaf:
        deaf.sendall(post("/v2/models/speaker/generate_stream", asked))
        once: Any = {"text_input": "next", "times": 1}
        answer = requests.post(f"{url}/v2/models/speaker/generate", json=once, timeout=20)
        assert answer.json()["text_output"] == "next 0"
    assert house.line("cut off a client that reads more slowly than its answer grows")


# --- the rest of the error rows


def test_a_reserved_parameter(session: requests.Session, url: str) -> None:
    tensor: Any = {"name": "in_FP32", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    body: Any = {"inputs": [tensor], "parameters": {"triton_x": 1}}
    assert "triton_" in error(session.post(f"{url}/v2/models/scores/infer", json=body), 400)


def test_paths_and_methods(session: requests.Session, url: str) -> None:
    assert "no such path" in error(session.get(f"{url}/v3"), 404)
    wrong = session.delete(f"{url}/v2/models/scores/infer")
    assert "does not take DELETE" in error(wrong, 405)
    assert wrong.headers["allow"] == "POST"
    assert "no repository 'mine'" in error(session.post(f"{url}/v2/repository/mine/index"), 501)


def test_who_waits_too_long_or_finds_the_queue_full_is_told_to_come_again(tmp_path: Path) -> None:
    server = Server(models.slow(tmp_path / "slow.onnx", 3000), queue="2")
    try:
        infer = f"http://127.0.0.1:{server.ready().port}/v2/models/m/infer"
        impatient = json.dumps({**json.loads(one(1.0)), "parameters": {"timeout": 1000}})
        found: list[requests.Response] = []
        threads = [
            threading.Thread(target=lambda body=body: found.append(requests.post(infer, data=body, timeout=20)))
            for body in [one(1.0), impatient, one(1.0), one(1.0), one(1.0)]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 200 in {each.status_code for each in found}
        refused = [each for each in found if each.status_code != 200]
        assert refused
        for each in refused:
            error(each, 503)
            assert each.headers["retry-after"] == "1"
        assert any("MOORING_QUEUE" in each.text for each in refused)
    finally:
        server.end()
