"""TorchServe's predictions and SageMaker's invocations: a body of any kind."""

import json
from typing import Any

import numpy as np
import orjson
import pytest

from mooring_runtime.frontends.http.messages import JSON, OCTETS, Reply
from mooring_runtime.frontends.http.services import Options
from mooring_runtime.messages import ModelMetadata, TensorSpec
from tests.support.serving import Served, echo_metadata

TEXT = echo_metadata(("BYTES",), (-1,))
IMAGE = echo_metadata(("UINT8",), (-1, -1))
TWO = echo_metadata(("FP32", "BYTES"), (-1,))
TRITON = b"application/vnd.sagemaker-triton.binary+json;json-header-size="
V2 = {"inputs": [{"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}


def ask(
    content: object,
    content_type: str = "application/json",
    metadata: ModelMetadata | None = None,
    target: str = "/invocations",
    **headers: str,
) -> Reply:
    told = {b"Content-Type": content_type.encode()} if content_type else {}
    told |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Served(metadata).ask("POST", target, content if isinstance(content, bytes) else orjson.dumps(content), told)


def body(reply: Reply, status: int = 200) -> Any:
    assert (reply.status, reply.content_type) == (status, JSON), reply
    return json.loads(b"".join(reply.body))


def error(reply: Reply, status: int = 400) -> str:
    document: dict[str, str] = body(reply, status)
    assert list(document) == ["error"]
    return document["error"]


# --- bodies


@pytest.mark.parametrize("target", ["/invocations", "/predictions/echo", "/predictions/echo/1"])
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", ""])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"instances": [[1, 2]]}, {"predictions": [[1.0, 2.0]]}),
        ({"inputs": [[1, 2]]}, {"outputs": [[1.0, 2.0]]}),
        ([[1, 2], [3, 4]], [[1.0, 2.0], [3.0, 4.0]]),
        ({"in_FP32": [1, 2]}, [1.0, 2.0]),
    ],
)
def test_json_by_its_shape(target: str, content_type: str, content: object, found: object) -> None:
    assert body(ask(content, content_type, target=target)) == found


def test_one_object_of_several_inputs_is_one_sample() -> None:
    assert body(ask({"in_FP32": 1, "in_BYTES": "a"}, metadata=TWO)) == {"out_FP32": 1.0, "out_BYTES": "a"}


def test_v2_in_json() -> None:
    document = body(ask({**V2, "id": "7"}))
    assert (document["id"], document["outputs"][0]["data"]) == ("7", [1.0, 2.0])


def test_v2_in_the_binary_form_of_sagemaker() -> None:
    tensor = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    raw = np.array([1, 2], np.float32).tobytes()
    reply = ask(head + raw, (TRITON + b"%d" % len(head)).decode())
    assert reply.status == 200
    assert reply.headers == ()
    assert reply.content_type.startswith(TRITON)
    size = int(reply.content_type.removeprefix(TRITON))
    answer = b"".join(reply.body)
    assert json.loads(answer[:size])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert answer[size:] == raw
    assert body(ask(orjson.dumps(V2), (TRITON + b"%d" % len(orjson.dumps(V2))).decode()))["outputs"][0]["data"] == [
        1,
        2,
    ]


def test_raw_bytes_are_the_only_input() -> None:
    for content_type in ("application/octet-stream", "text/plain", ""):
        reply = ask(b"[hello]", content_type, TEXT)
        assert (reply.content_type, b"".join(reply.body)) == (OCTETS, b"[hello]")
    assert body(ask(b"\1\2\3", "image/png", IMAGE)) == [1, 2, 3]
    assert body(ask(np.array([1, 2, 3, 4], np.float32).tobytes(), "application/octet-stream")) == [
        [1.0, 2.0],
        [3.0, 4.0],
    ]


def test_a_form_holds_the_body_in_data_or_body() -> None:
    def form(name: str, head: str, content: bytes) -> bytes:
        field = f'Content-Disposition: form-data; name="{name}"; filename="kitten.jpg"{head}\r\n\r\n'.encode()
        other = b'--xx\r\nContent-Disposition: form-data; name="other"\r\n\r\n1\r\n'
        return other + b"--xx\r\n" + field + content + b"\r\n--xx--\r\n"

    for name in ("data", "body"):
        reply = ask(form(name, "", b"\r\n--x\0"), 'multipart/form-data; boundary="xx"', TEXT)
        assert b"".join(reply.body) == b"\r\n--x\0"
    typed = form("data", "\r\nContent-Type: application/json", b'{"instances": [[1, 2]]}')
    assert body(ask(typed, "multipart/form-data; boundary=xx")) == {"predictions": [[1.0, 2.0]]}
    wrong = {
        b"": "no complete multipart/form-data",
        form("x", "", b"1")[:-6]: "no complete multipart/form-data",
        form("file", "", b"1"): "the form has no field data or body, only 'other', 'file'",
        b"--xx\r\n\r\n\r\n1\r\n--xx--": "has no name in its Content-Disposition",
        b"--xx\r\nbare\r\n--xx--": "has no empty line between its headers and its content",
    }
    for content, words in wrong.items():
        assert words in error(ask(content, "multipart/form-data; boundary=xx", TEXT))
    assert "no complete multipart/form-data" in error(ask(form("data", "", b"1"), "multipart/form-data", TEXT))


def test_csv_is_answered_in_csv() -> None:
    reply = ask(b"1,2.5\r\n3,4\n", "text/csv")
    assert (reply.status, reply.content_type, b"".join(reply.body)) == (200, b"text/csv", b"1.0,2.5\n3.0,4.0\n")
    assert b"".join(ask(b"1\n2\n", "text/csv", echo_metadata(("INT32",), (-1,))).body) == b"1\n2\n"
    assert body(ask(b"1,2", "text/csv", Accept="application/json")) == {"predictions": [[1.0, 2.0]]}
    assert "line 2 of the CSV holds 'x', which is no number" in error(ask(b"1,2\n3,x", "text/csv"))
    table = ask(b" +1 ,.5\n-2.,1e-1\ninf,NaN\n", "text/csv")
    assert b"".join(table.body) == b"1.0,0.5\n-2.0,0.1\nInfinity,NaN\n"
    assert "csv[1] has 1 elements, but csv[0] has 2" in error(ask(b"1,2\n3", "text/csv"))
    deep = ModelMetadata(
        "m", "1", "echo", (TensorSpec("in_y", "FP32", (-1, 4)),), (TensorSpec("out_y", "FP32", (-1, 2, 2)),)
    )
    served = Served(deep)
    served.backend.infer = lambda inputs, outputs: [inputs["in_y"].reshape(-1, 2, 2)]  # type: ignore[method-assign]
    reply = served.ask("POST", "/invocations", b"1,2,3,4", {b"Content-Type": b"text/csv"})
    assert "the answer is no table of numbers, which CSV could carry" in error(reply)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("1_0", "holds '1_0', which is no number"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "which is no number"),
        ("\N{FULLWIDTH DIGIT ONE}.5", "which is no number"),
        ("0x1", "holds '0x1', which is no number"),
        ("", "holds '', which is no number"),
        ("1" * 5000, "which is too large for any datatype"),
        ("1" * 300, "a number that is too large for it"),
        ("1e999", "holds '1e999', which is too large for any datatype"),
        ("1" * 1_000_000 + "x", "which is no number"),
    ],
)
def test_csv_takes_numbers_as_every_program_writes_them(cell: str, words: str) -> None:
    said = error(ask(f"1,{cell}".encode(), "text/csv"))
    assert words in said
    assert len(said) < 250


@pytest.mark.parametrize(
    ("content", "content_type", "words"),
    [
        (b"{", "application/json", "the body is not JSON"),
        (b"5", "application/json", "input 'in_FP32' has shape [1], it must be [-1, 2]"),
        (b"12345", "application/octet-stream", "in_FP32"),
        (b"{}", TRITON.decode() + "9", "Inference-Header-Content-Length is '9'"),
    ],
)
def test_what_is_wrong_is_told(content: bytes, content_type: str, words: str) -> None:
    assert words in error(ask(content, content_type))


# --- TorchServe


def test_torchserve_puts_files() -> None:
    reply = Served(TEXT).ask("PUT", "/predictions/echo", b"kitten")
    assert b"".join(reply.body) == b"kitten"


def test_torchserve_is_described_and_healthy() -> None:
    served = Served()
    described = body(served.ask("OPTIONS", "/"))
    assert described["openapi"] == "3.0.1"
    assert set(described["paths"]["/predictions/{name}"]) == {"post", "put"}
    assert described["paths"]["/predictions/{name}"]["post"]["parameters"][0]["name"] == "name"
    assert body(served.ask("GET", "/ping")) == {"status": "Healthy"}
    served.plane.draining = True
    assert body(served.ask("GET", "/ping"), 503)["status"] == "Unhealthy"


def test_torchserve_explains_nothing() -> None:
    assert "has no explainer" in error(Served().ask("POST", "/explanations/echo"), 501)
    assert "unknown model 'other'" in error(Served().ask("POST", "/explanations/other"), 404)
    assert "unknown model 'other'" in error(ask([[1, 2]], target="/predictions/other"), 404)


# --- SageMaker


def test_the_target_model_is_picked_by_its_header() -> None:
    for name in ("echo", "echo.tar.gz"):
        assert body(ask([[1, 2]], X_Amzn_SageMaker_Target_Model=name)) == [[1.0, 2.0]]
    assert "unknown model 'other'" in error(ask([[1, 2]], X_Amzn_SageMaker_Target_Model="other"), 404)


def test_a_call_that_names_no_model_goes_to_the_default_one() -> None:
    served = Served(options=Options(default_model="other"))
    assert "unknown model 'other'" in error(served.ask("POST", "/invocations", b"[[1, 2]]"), 404)
    served = Served()
    served.plane.models = lambda: ["a", "b"]  # type: ignore[method-assign]
    assert "this server has 2 models, so the request must name one" in error(
        served.ask("POST", "/invocations", b"[[1, 2]]")
    )


def test_a_base_path_may_stand_before_every_path() -> None:
    served = Served(options=Options(base_path="/ml/prod"))
    for target in ("/ml/prod/ping", "/ping", "/ml/prod/v2/health/ready", "/ml/prod/v1/models"):
        assert served.ask("GET", target).status == 200
    assert error(served.ask("GET", "/ml/ping"), 404) == "no such path: /ml/ping"
