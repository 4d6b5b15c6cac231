import json
from typing import Any

import numpy as np
import orjson
import pytest

from mooring_runtime.frontends.http.infer import InferCall
from mooring_runtime.frontends.http.messages import JSON, OCTETS, Head, Reply, Request
from mooring_runtime.messages import DATATYPES, InferRequest, InferResponse, ModelMetadata, Tensor, TensorSpec, Traits
from tests.support.serving import ALL, Served, echo_metadata

X = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}
BINARY_X = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
RAW_X = np.array([1, 2], np.float32).tobytes()


def error(reply: Reply, status: int = 400) -> str:
    assert reply.status == status
    assert reply.content_type == JSON
    [body] = reply.body
    document: dict[str, str] = orjson.loads(body)
    assert list(document) == ["error"]
    return document["error"]


def answer(reply: Reply) -> tuple[dict[str, Any], bytes]:
    """The JSON of a reply and the bytes behind it."""
    assert reply.status == 200, reply
    body = b"".join(reply.body)
    length = dict(reply.headers).get(b"Inference-Header-Content-Length")
    assert reply.content_type == (JSON if length is None else OCTETS)
    cut = len(body) if length is None else int(length)
    return json.loads(body[:cut]), body[cut:]


def test_json_in_json_out() -> None:
    document, rest = answer(Served().infer({"id": "a-1", "inputs": [X]}))
    assert document == {
        "model_name": "echo",
        "model_version": "1",
        "id": "a-1",
        "outputs": [{"name": "out_FP32", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}],
    }
    assert rest == b""


def test_what_clients_send_beside_the_protocol_is_ignored() -> None:
    document, _ = answer(Served().infer({"model_name": "other", "extra": 1, "inputs": [X], "parameters": {"my": 1}}))
    assert document["model_name"] == "echo"
    assert "id" not in document


def test_binary_in_binary_out() -> None:
    request = {"inputs": [BINARY_X], "parameters": {"binary_data_output": True}}
    document, rest = answer(Served().infer(request, binary=RAW_X))
    [output] = document["outputs"]
    assert output == {"name": "out_FP32", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    assert rest == RAW_X


@pytest.mark.parametrize(
    ("default", "own", "binary"),
    [(None, None, False), (True, None, True), (True, False, False), (False, True, True), (None, True, True)],
)
def test_each_output_is_as_it_is_asked_for(default: bool | None, own: bool | None, binary: bool) -> None:
    request: dict[str, Any] = {"inputs": [X], "outputs": [{"name": "out_FP32"}]}
    if default is not None:
        request["parameters"] = {"binary_data_output": default}
    if own is not None:
        request["outputs"][0]["parameters"] = {"binary_data": own}
    document, rest = answer(Served().infer(request))
    assert ("data" in document["outputs"][0]) != binary
    assert rest == (RAW_X if binary else b"")


def test_json_and_binary_may_be_mixed_and_bytes_follow_in_order() -> None:
    served = Served(echo_metadata(("INT8", "FP32", "INT16")))
    inputs = [
        {"name": "in_INT16", "shape": [1, 2], "datatype": "INT16", "parameters": {"binary_data_size": 4}},
        {"name": "in_INT8", "shape": [1, 2], "datatype": "INT8", "data": [[5, 6]]},
        {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
    ]
    outputs = [
        {"name": "out_FP32", "parameters": {"binary_data": True}},
        {"name": "out_INT8"},
        {"name": "out_INT16", "parameters": {"binary_data": True}},
    ]
    document, rest = answer(served.infer({"inputs": inputs, "outputs": outputs}, binary=b"\1\0\2\0" + RAW_X))
    assert [output["name"] for output in document["outputs"]] == ["out_FP32", "out_INT8", "out_INT16"]
    assert document["outputs"][1]["data"] == [5, 6]
    assert rest == RAW_X + b"\1\0\2\0"


def test_the_header_may_cover_the_whole_body() -> None:
    text = orjson.dumps({"inputs": [X]})
    reply = Served().ask(
        "POST", "/v2/models/echo/infer", text, {b"inference-header-content-length": str(len(text)).encode()}
    )
    assert answer(reply)[0]["outputs"][0]["data"] == [1.0, 2.0]


@pytest.mark.parametrize("name", [name for name in ALL if name != "BYTES"])
def test_every_datatype_in_binary(name: str) -> None:
    served = Served(echo_metadata((name,)))
    raw = bytes([1, 0] * DATATYPES[name].itemsize)
    request = {
        "inputs": [
            {"name": f"in_{name}", "shape": [1, 2], "datatype": name, "parameters": {"binary_data_size": len(raw)}}
        ],
        "parameters": {"binary_data_output": True},
    }
    assert answer(served.infer(request, binary=raw))[1] == raw


def test_bytes_in_json_and_binary() -> None:
    served = Served(echo_metadata(("BYTES",)))
    by_json = {"name": "in_BYTES", "shape": [1, 2], "datatype": "BYTES", "data": ["ä", ""]}
    wire = b"\2\0\0\0\xc3\xa4" + b"\0\0\0\0"
    by_bytes = {**by_json, "parameters": {"binary_data_size": len(wire)}}
    del by_bytes["data"]
    for document, rest in (({"inputs": [by_json]}, b""), ({"inputs": [by_bytes]}, wire)):
        assert answer(served.infer(document, binary=rest))[0]["outputs"][0]["data"] == ["ä", ""]
        out = {**document, "parameters": {"binary_data_output": True}}
        assert answer(served.infer(out, binary=rest))[1] == wire


def test_an_empty_tensor() -> None:
    empty = {"name": "in_FP32", "shape": [0, 2], "datatype": "FP32"}
    assert answer(Served().infer({"inputs": [{**empty, "data": []}]}))[0]["outputs"][0]["data"] == []
    request = {"inputs": [{**empty, "parameters": {"binary_data_size": 0}}], "parameters": {"binary_data_output": True}}
    text = orjson.dumps(request)
    reply = Served().ask(
        "POST", "/v2/models/echo/infer", text, {b"Inference-Header-Content-Length": str(len(text)).encode()}
    )
    document, rest = answer(reply)
    assert document["outputs"][0]["parameters"] == {"binary_data_size": 0}
    assert rest == b""


def raw(served: Served, body: bytes) -> Reply:
    target = f"/v2/models/{served.backend.metadata.name}/infer"
    return served.ask("POST", target, body, {b"Inference-Header-Content-Length": b"0"})


@pytest.mark.parametrize(
    ("shape", "found"),
    [((-1, 2), [2, 2]), ((2, 2), [2, 2]), ((-1,), [4]), ((-1, -1), [1, 4]), ((-1, 2, -1), [1, 2, 2])],
)
def test_a_body_of_nothing_but_the_only_input(shape: tuple[int, ...], found: list[int]) -> None:
    body = np.arange(4, dtype=np.float32).tobytes()
    document, rest = answer(raw(Served(echo_metadata(shape=shape)), body))
    assert document["outputs"][0]["shape"] == found
    assert rest == body


def test_a_raw_body_of_bytes_is_one_element() -> None:
    document, rest = answer(raw(Served(echo_metadata(("BYTES",), (-1,))), b"abc"))
    assert document["outputs"][0]["shape"] == [1]
    assert rest == b"\3\0\0\0abc"


@pytest.mark.parametrize(
    ("metadata", "body", "words"),
    [
        (echo_metadata(("FP32", "INT8")), b"", "a request without JSON is for models of one input; model 'echo' has 2"),
        (echo_metadata(shape=(2, -1, -1)), b"", "input 'in_FP32' has 2 open sizes, so a request needs JSON"),
        (echo_metadata(shape=(-1, 2)), b"x" * 12, "input 'in_FP32' has 12 bytes of binary data"),
        (echo_metadata(("BYTES",), (2,)), b"abc", "too few for 2 elements"),
    ],
)
def test_a_raw_body_that_does_not_fit(metadata: ModelMetadata, body: bytes, words: str) -> None:
    assert words in error(raw(Served(metadata), body))


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != key}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "the body must be a JSON object"),
        ({}, "inputs must be a list"),
        ({"inputs": {}}, "inputs must be a list"),
        ({"inputs": ["x"]}, "each of inputs must be a JSON object with a name"),
        ({"inputs": [without(X, "name")]}, "each of inputs must be a JSON object with a name"),
        ({"inputs": [without(X, "shape")]}, "input 'in_FP32' has shape None; it must be a list of whole numbers"),
        ({"inputs": [without(X, "datatype")]}, "input 'in_FP32' has datatype None; the datatypes are BOOL, UINT8,"),
        ({"inputs": [{**X, "datatype": "FP8"}]}, "input 'in_FP32' has datatype 'FP8'; the datatypes are BOOL,"),
        ({"inputs": [{**X, "datatype": []}]}, "input 'in_FP32' has datatype []; the datatypes are BOOL,"),
        ({"inputs": [without(X, "data")]}, "either data or the parameter binary_data_size; it has neither"),
        ({"inputs": [{**BINARY_X, "data": []}]}, "either data or the parameter binary_data_size; it has both"),
        ({"inputs": [BINARY_X]}, "has binary_data_size, but there is no header Inference-Header-Content-Length"),
        ({"inputs": [{**X, "parameters": 1}]}, "input 'in_FP32': parameters must be a JSON object"),
        ({"inputs": [X], "id": 7}, "id is 7, it must be a string"),
        ({"inputs": [X], "parameters": []}, "parameters must be a JSON object"),
        (
            {"inputs": [X], "parameters": {"binary_data_output": 1}},
            "parameter binary_data_output is 1, it must be true",
        ),
        ({"inputs": [X], "parameters": {"triton_x": 1}}, "names that begin with triton_ are reserved"),
        ({"inputs": [X], "outputs": {}}, "outputs must be a list"),
        ({"inputs": [X], "outputs": [{}]}, "each of outputs must be a JSON object with a name"),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, "model 'echo' has no output 'z'; its outputs are 'out_FP32'"),
        (
            {"inputs": [X], "outputs": [{"name": "out_FP32", "parameters": {"binary_data": "yes"}}]},
            "output 'out_FP32': parameter binary_data is 'yes', it must be true or false",
        ),
        (
            {"inputs": [X], "outputs": [{"name": "out_FP32", "parameters": {"classification": "3"}}]},
            "output 'out_FP32': parameter classification is '3', it must be a whole number",
        ),
    ],
)
def test_what_is_wrong_is_told(document: object, words: str) -> None:
    served = Served()
    assert words in error(served.infer(document))
    assert served.stats.rejected["invalid"] == 1
    assert served.backend.runs == 0


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({"inputs": [{**without(X, "data"), "parameters": {"shared_memory_region": "r"}}]}, "input 'in_FP32'"),
        ({"inputs": [X], "outputs": [{"name": "o", "parameters": {"shared_memory_region": "r"}}]}, "output 'o'"),
    ],
)
def test_tensors_in_shared_memory_are_not_there(document: object, what: str) -> None:
    served = Served()
    words = f"{what}: this server has no shared memory; send tensors in the request"
    assert error(served.infer(document), 501) == words
    assert served.stats.rejected["unsupported"] == 1


LONG = "x" * 10**6


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": [{**X, "name": LONG}]},
        {"inputs": [{**X, "name": LONG, "datatype": "FP8"}]},
        {"inputs": [{**X, "datatype": LONG}]},
        {"inputs": [{**X, "shape": LONG}]},
        {"inputs": [X], "id": [LONG]},
        {"inputs": [X], "outputs": [{"name": LONG}]},
        {"inputs": [X], "outputs": [{"name": LONG, "parameters": {"binary_data": LONG}}]},
        {"inputs": [X], "outputs": [{"name": LONG, "parameters": {"classification": LONG}}]},
        {"inputs": [X], "parameters": {LONG: LONG, "triton_": LONG}},
        {"inputs": [X], "parameters": {LONG: [LONG]}},
        {"inputs": [X], "parameters": {"priority": LONG}},
    ],
)
def test_what_is_wrong_is_told_in_few_words(document: object) -> None:
    assert len(error(Served().infer(document))) <= 4096


@pytest.mark.parametrize(
    "parameters",
    [
        {"headers": {}},
        {"triton_own": 1},
    ],
)
def test_what_is_not_there_is_not_ignored(parameters: dict[str, Any]) -> None:
    assert "cannot be used: " in error(Served().infer({"inputs": [X], "parameters": parameters}))


def test_defaults_of_what_is_not_there_are_harmless() -> None:
    parameters = {"sequence_id": 0, "sequence_start": False, "sequence_end": False, "priority": 0, "timeout": 0}
    answer(Served().infer({"inputs": [X], "parameters": parameters}))


@pytest.mark.parametrize("size", [7, 9, -1, 8.0, "8", True])
def test_a_wrong_size_of_the_binary_data(size: object) -> None:
    wrong = {**BINARY_X, "parameters": {"binary_data_size": size}}
    assert "in_FP32" in error(Served().infer({"inputs": [wrong]}, binary=RAW_X))


def test_binary_data_that_nobody_wants() -> None:
    reply = Served().infer({"inputs": [BINARY_X]}, binary=RAW_X + b"xx")
    assert error(reply) == "2 bytes of binary data are left over after the last input"


@pytest.mark.parametrize("header", [b"-1", b"x", b"1000", b"1 2", b"9" * 30, b""])
def test_a_wrong_header_length(header: bytes) -> None:
    reply = Served().ask("POST", "/v2/models/echo/infer", b"{}", {b"Inference-Header-Content-Length": header})
    assert "it must be from 0 to the body's 2 bytes" in error(reply)


def test_what_json_cannot_carry_is_refused_before_it_runs() -> None:
    served = Served(echo_metadata(("FP16",)))
    request = {
        "inputs": [{"name": "in_FP16", "shape": [1, 2], "datatype": "FP16", "parameters": {"binary_data_size": 4}}]
    }
    assert "output 'out_FP16' is FP16, which JSON cannot carry" in error(served.infer(request, binary=b"\0" * 4))
    assert served.backend.runs == 0


def test_an_answer_that_cannot_be_written_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    served = Served()
    served.backend.infer = lambda inputs, outputs: [np.zeros(2, np.complex64)]  # type: ignore[method-assign]
    assert "cannot write the answer: " in error(served.infer({"inputs": [X]}), 500)
    assert "cannot write the answer of model 'echo'" in caplog.text


def test_output_bytes_that_are_no_text_are_refused_in_json() -> None:
    served = Served(ModelMetadata("echo", "1", "p", (), (TensorSpec("out_BYTES", "BYTES", (1,)),)))
    served.backend.infer = lambda inputs, outputs: [np.array([b"\xff"], object)]  # type: ignore[method-assign]
    assert "output 'out_BYTES' holds bytes that are not UTF-8" in error(served.infer({"inputs": []}))
    request = {"inputs": [], "parameters": {"binary_data_output": True}}
    assert answer(served.infer(request))[1] == b"\1\0\0\0\xff"


def test_messages_are_immutable() -> None:
    response = InferResponse("m", "1", (Tensor("x", "FP32", np.zeros(1, np.float32)),))
    with pytest.raises(AttributeError):
        response.id = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    "item",
    [
        {"data": [True, 1.0]},
        {"data": [[False, True]]},
        {"shape": [True, 2]},
        {"data": ["1", 2.0]},
        {"shape": [1.0, 2]},
        {"data": [1e39, 2.0]},
        {"data": []},
        {"data": {}},
    ],
)
def test_numbers_are_read_as_carefully_as_they_are_quickly(item: dict[str, Any]) -> None:
    served = Served()
    assert error(served.infer({"inputs": [{**X, **item}]}))
    assert served.backend.runs == 0


def asked(parameters: dict[str, Any]) -> InferRequest:
    """What an infer request with these parameters asks of the data plane."""
    body = orjson.dumps({"inputs": [X], "parameters": parameters})
    call = InferCall(Request(Head(b"POST", b"/", {}), body), lambda reply: None)
    request = call.decode(echo_metadata())
    assert isinstance(request, InferRequest)
    return request


def test_priority_and_timeout_reach_the_data_plane() -> None:
    request = asked({"priority": 2, "timeout": 2500, "mine": "x", "count": 3, "binary_data_output": True})
    assert (request.priority, request.timeout) == (2, 0.0025)
    assert request.parameters == {"mine": "x", "count": 3}


def test_without_parameters_a_request_asks_for_nothing() -> None:
    request = asked({})
    assert (request.priority, request.timeout, dict(request.parameters)) == (0, None, {})


def test_an_output_as_its_largest_elements() -> None:
    outputs = [{"name": "out_FP32", "parameters": {"classification": 1}}]
    document, _ = answer(Served().infer({"inputs": [X], "outputs": outputs}))
    assert document["outputs"] == [{"name": "out_FP32", "datatype": "BYTES", "shape": [1, 1], "data": ["2.000000:1"]}]


def test_a_model_with_any_number_of_answers_is_refused_before_it_runs() -> None:
    served = Served(echo_metadata().with_traits(Traits(decoupled=True)))
    assert "generate_stream" in error(served.infer({"inputs": [X]}))
    assert served.backend.runs == 0


def test_the_parameters_of_an_answer_are_written() -> None:
    replies: list[Reply] = []
    call = InferCall(Request(Head(b"POST", b"/", {}), orjson.dumps({"inputs": [X]})), replies.append)
    call.decode(echo_metadata())
    output = Tensor("out_FP32", "FP32", np.array([1.0], np.float32))
    call.reply(InferResponse("echo", "1", (output,), None, {"took": 3}))
    assert answer(replies[0])[0]["parameters"] == {"took": 3}
