"""KServe's V1 and TF Serving's REST API: one path, two dialects."""

import json
from typing import Any

import numpy as np
import orjson
import pytest

from mooring_runtime.frontends.http.messages import JSON, Reply
from mooring_runtime.frontends.http.services import Options
from mooring_runtime.messages import ModelMetadata, TensorSpec, Traits
from mooring_runtime.metrics import Aims
from tests.support.serving import Served, echo_metadata

TWO = echo_metadata(("FP32", "BYTES"), (-1,))
NAMED = ModelMetadata(
    "named",
    "1",
    "echo",
    (TensorSpec("in_image_bytes", "BYTES", (-1,)),),
    (TensorSpec("out_image_bytes", "BYTES", (-1,)),),
)


def body(reply: Reply, status: int = 200) -> Any:
    assert (reply.status, reply.content_type) == (status, JSON), reply
    return json.loads(b"".join(reply.body))


def predict(document: object, metadata: ModelMetadata | None = None, options: Options = Options()) -> Reply:  # noqa: B008
    served = Served(metadata, options=options)
    text = document if isinstance(document, bytes) else orjson.dumps(document)
    return served.ask("POST", f"/v1/models/{served.model.name}:predict", text)


def error(reply: Reply, status: int = 400) -> str:
    document: dict[str, str] = body(reply, status)
    assert list(document) == ["error"]
    return document["error"]


# --- rows and columns


def test_rows_of_a_model_of_one_input_are_bare() -> None:
    assert body(predict({"instances": [[1, 2], [3.5, 4]]})) == {"predictions": [[1.0, 2.0], [3.5, 4.0]]}


def test_rows_of_a_model_of_one_input_may_be_named() -> None:
    assert body(predict({"instances": [{"in_FP32": [1, 2]}]})) == {"predictions": [[1.0, 2.0]]}


def test_rows_of_several_inputs_are_named_and_so_are_predictions() -> None:
    rows = [{"in_FP32": 1, "in_BYTES": "a"}, {"in_BYTES": {"b64": "/w=="}, "in_FP32": 2.5}]
    assert body(predict({"instances": rows}, TWO)) == {
        "predictions": [{"out_FP32": 1.0, "out_BYTES": "a"}, {"out_FP32": 2.5, "out_BYTES": {"b64": "/w=="}}]
    }


def test_columns_of_one_input_and_of_several() -> None:
    assert body(predict({"inputs": [[1, 2]]})) == {"outputs": [[1.0, 2.0]]}
    assert body(predict({"inputs": {"in_FP32": [[1, 2]]}})) == {"outputs": [[1.0, 2.0]]}
    columns = {"in_FP32": [1, 2], "in_BYTES": ["a", "b"]}
    assert body(predict({"inputs": columns}, TWO)) == {"outputs": {"out_FP32": [1.0, 2.0], "out_BYTES": ["a", "b"]}}


def test_kserve_alone_answers_columns_as_predictions() -> None:
    assert body(predict({"inputs": [[1, 2]]}, options=Options(dialect="kserve"))) == {"predictions": [[1.0, 2.0]]}


def test_outputs_whose_name_ends_in_bytes_are_base64() -> None:
    assert body(predict({"instances": [{"b64": "YQ=="}, "b"]}, NAMED)) == {
        "predictions": [{"b64": "YQ=="}, {"b64": "Yg=="}]
    }


def test_what_is_no_number_passes_both_ways() -> None:
    reply = predict(b'{"instances": [[NaN, Infinity]], "signature_name": "serving_default"}')
    assert b"".join(reply.body) == b'{"predictions":[[NaN,Infinity]]}'


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_are_numbers(datatype: str) -> None:
    assert body(predict({"instances": [[1, -2.5]]}, echo_metadata((datatype,)))) == {"predictions": [[1.0, -2.5]]}


def test_no_rows_are_no_predictions() -> None:
    assert body(predict({"instances": []})) == {"predictions": []}
    assert body(predict({"inputs": []})) == {"outputs": []}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"{", "the body is not JSON"),
        (b"", "the body is not JSON"),
        ([], "the body must be a JSON object"),
        ({}, "the body needs either `instances` (rows) or `inputs` (columns); it has neither"),
        ({"instances": [], "inputs": []}, "it has both"),
        ({"instances": {}}, "instances must be a list, one element a sample"),
        ({"instances": [[1, 2]], "signature_name": "other"}, "signature_name is 'other'; model 'echo' has only"),
        ({"instances": [[1, 2], [3]]}, "instances[1] has 1 elements, but instances[0] has 2"),
        ({"instances": [[1, "a"]]}, 'instances[0][1] is "a", it must be'),
        ({"instances": [[1]]}, "input 'in_FP32' has shape [1, 1], it must be [-1, 2]"),
        ({"instances": [{"x": 1}]}, "model 'echo' has no input 'x'; its inputs are 'in_FP32'"),
        ({"instances": [{"in_FP32": [1, 2]}, [1, 2]]}, "instances[1] does not name the same inputs as instances[0]"),
        ({"instances": [{"in_FP32": [1, 2]}, {"in_FP32": [1]}]}, "instances[1]['in_FP32'] has 1 elements, but"),
        ({"inputs": {"x": 1}}, "model 'echo' has no input 'x'"),
        ({"inputs": 1}, "input 'in_FP32' has shape []"),
    ],
)
def test_what_is_wrong_is_told(document: object, words: str) -> None:
    assert words in error(predict(document))


def test_bare_values_for_several_inputs_are_refused() -> None:
    assert "model 'echo' has 2 inputs, so each value must stand under its name" in error(
        predict({"instances": [1]}, TWO)
    )
    assert "input 'in_BYTES' is missing" in error(predict({"instances": [{"in_FP32": 1}]}, TWO))


def test_outputs_that_are_no_rows_are_refused_to_rows_alone() -> None:
    metadata = ModelMetadata("m", "1", "echo", (TensorSpec("in_y", "FP32", ()),), (TensorSpec("out_y", "FP32", ()),))
    served = Served(metadata)
    served.backend.infer = lambda inputs, outputs: [np.array([[1, 2, 3]], np.float32)]  # type: ignore[method-assign]
    assert "output 'out_y' has shape [1, 3], which is no row for each of 2 instances; send `inputs`" in error(
        served.ask("POST", "/v1/models/m:predict", b'{"instances": [1, 2]}')
    )
    assert body(served.ask("POST", "/v1/models/m:predict", b'{"inputs": 5}')) == {"outputs": [[1.0, 2.0, 3.0]]}


def test_a_model_of_many_answers_is_refused() -> None:
    metadata = ModelMetadata(
        "m", "1", "echo", (TensorSpec("in_y", "FP32", (1,)),), (TensorSpec("out_y", "FP32", (1,)),), Traits(None, True)
    )
    assert "model 'm' gives any number of answers" in error(predict({"instances": [1]}, metadata))


# --- what there is


def test_kserve_asks_whether_it_lives_and_what_it_has() -> None:
    served = Served()
    assert body(served.ask("GET", "/")) == {"status": "alive"}
    assert body(served.ask("GET", "/v1/models")) == {"models": ["echo"]}


AVAILABLE = [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]


@pytest.mark.parametrize(
    ("dialect", "found"),
    [
        ("kserve", {"name": "echo", "ready": True}),
        ("tfserving", {"model_version_status": AVAILABLE}),
        ("both", {"name": "echo", "ready": True, "model_version_status": AVAILABLE}),
    ],
)
def test_the_status_of_a_model(dialect: str, found: object) -> None:
    served = Served(options=Options(dialect=dialect, version_labels={("echo", "stable"): "1"}))
    for target in ("/v1/models/echo", "/v1/models/echo/versions/1", "/v1/models/echo/labels/stable"):
        assert body(served.ask("GET", target)) == found


@pytest.mark.parametrize(("dialect", "status"), [("kserve", 503), ("both", 503), ("tfserving", 200)])
def test_the_status_of_a_model_that_loads(dialect: str, status: int) -> None:
    served = Served(options=Options(dialect=dialect))
    served.model.state = type(served.model.state).LOADING
    document = body(served.ask("GET", "/v1/models/echo"), status)
    if dialect != "tfserving":
        assert (document["ready"], document["error"]) == (False, "model 'echo' is loading")
    if dialect != "kserve":
        assert [row["state"] for row in document["model_version_status"]] == ["LOADING"]


def test_signatures() -> None:
    document = body(Served(TWO).ask("GET", "/v1/models/echo/metadata"))
    assert document["model_spec"] == {"name": "echo", "signature_name": "", "version": "1"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["in_BYTES"] == {
        "dtype": "DT_STRING",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
        "name": "in_BYTES:0",
    }
    assert signature["outputs"]["out_FP32"]["dtype"] == "DT_FLOAT"
    assert signature["method_name"] == "tensorflow/serving/predict"


def test_versions_and_labels_and_letter_case() -> None:
    served = Served(options=Options(version_labels={("echo", "stable"): "1"}))
    for target in (
        "/v1/models/echo/versions/1:predict",
        "/v1/models/echo/labels/stable:predict",
        "/V1/Models/echo:PREDICT",
    ):
        assert body(served.ask("POST", target, b'{"instances": [[1, 2]]}')) == {"predictions": [[1.0, 2.0]]}
    wrong = {
        "/v1/models/echo/versions/2:predict": "has no version 2",
        "/v1/models/echo/labels/new:predict": "no version of model 'echo' has the label 'new'",
        "/v1/models/other:predict": "unknown model 'other'",
        "/v1/models/other:explain": "unknown model 'other'",
    }
    for target, words in wrong.items():
        assert words in error(served.ask("POST", target, b'{"instances": [[1, 2]]}'), 404)
    for target in ("/v1/models/other", "/v1/models/echo/versions/2", "/v1/models/echo/labels/new/metadata"):
        error(served.ask("GET", target), 404)


def test_nobody_explains() -> None:
    assert "model 'echo' has no explainer" in error(Served().ask("POST", "/v1/models/echo:explain", b"{}"), 501)


def test_too_many_requests_are_503_and_told_when_to_come_again() -> None:
    served = Served(aims=Aims(queue=1))
    served.plane.pending = 1
    reply = served.ask("POST", "/v1/models/echo:predict", b'{"instances": [[1, 2]]}')
    error(reply, 503)
    assert reply.headers == ((b"Retry-After", b"1"),)


# --- CloudEvents

ATTRIBUTES = {"specversion": "1.0", "id": "36", "source": "here", "type": "test", "time": "2026-11-22T00:00:00Z"}
ANSWERED = {"specversion": "1.0", "source": "io.kserve.inference.echo", "type": "io.kserve.inference.response"}


def test_an_event_in_binary_mode_is_answered_so() -> None:
    headers = {f"Ce-{name}".encode(): value.encode() for name, value in ATTRIBUTES.items()}
    reply = Served().ask("POST", "/v1/models/echo:predict", b'{"instances": [[1, 2]]}', headers)
    assert body(reply) == {"predictions": [[1.0, 2.0]]}
    told = {name.decode().removeprefix("ce-"): value.decode() for name, value in reply.headers}
    assert told.keys() == ATTRIBUTES.keys()
    assert ANSWERED.items() <= told.items()


def test_an_event_in_structured_mode_is_answered_so() -> None:
    event = {**ATTRIBUTES, "data": {"instances": [[1, 2]]}}
    structured = {b"Content-Type": b"application/cloudevents+json; charset=utf-8"}
    served = Served()
    reply = served.ask("POST", "/v1/models/echo:predict", orjson.dumps(event), structured)
    assert (reply.status, reply.content_type) == (200, b"application/cloudevents+json")
    document = json.loads(b"".join(reply.body))
    assert document.pop("data") == {"predictions": [[1.0, 2.0]]}
    assert document.keys() == ATTRIBUTES.keys()
    faulty: list[object] = [[], {"data": 1}, ATTRIBUTES]
    for wrong in faulty:
        reply = served.ask("POST", "/v1/models/echo:predict", orjson.dumps(wrong), structured)
        assert "has no `specversion` or no `data`" in error(reply)


# --- classify and regress


def call(verb: str, document: object, metadata: ModelMetadata) -> Reply:
    return Served(metadata).ask("POST", f"/v1/models/{metadata.name}:{verb}", orjson.dumps(document))


def scores(labels: tuple[str, ...] = (), shape: tuple[int, ...] = (-1, 2)) -> ModelMetadata:
    inputs, outputs = (TensorSpec("in_s", "FP32", shape),), (TensorSpec("out_s", "FP32", shape),)
    return ModelMetadata("m", "1", "echo", inputs, outputs, Traits(labels={"out_s": labels}))


def test_classify_names_the_scores() -> None:
    examples = {"examples": [{"in_s": [0.25, 0.5]}, {"in_s": [1, 2]}]}
    assert body(call("classify", examples, scores(("cat",)))) == {
        "result": [[["cat", 0.25], ["1", 0.5]], [["cat", 1.0], ["1", 2.0]]]
    }


def test_classify_takes_labels_that_the_model_gives() -> None:
    inputs = (TensorSpec("in_s", "FP32", (-1, 2)), TensorSpec("in_l", "BYTES", (-1, 2)))
    outputs = (TensorSpec("out_s", "FP32", (-1, 2)), TensorSpec("out_l", "BYTES", (-1, 2)))
    document = {"context": {"in_l": ["a", "b"]}, "examples": [{"in_s": [0.25, 0.5]}]}
    found = body(call("classify", document, ModelMetadata("m", "1", "echo", inputs, outputs)))
    assert found == {"result": [[["a", 0.25], ["b", 0.5]]]}


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("feature", [0.5, [0.5]])
def test_regress_gives_a_number_an_example(shape: tuple[int, ...], feature: object) -> None:
    assert body(call("regress", {"examples": [{"in_s": feature}]}, scores(shape=shape))) == {"result": [0.5]}


@pytest.mark.parametrize(
    ("verb", "document", "shape", "words"),
    [
        ("classify", {}, (-1, 2), "with `examples`, a list of at least one object"),
        ("classify", {"examples": []}, (-1, 2), "with `examples`, a list of at least one object"),
        ("classify", {"examples": [1]}, (-1, 2), "examples[0] and context must be JSON objects of features"),
        ("classify", {"examples": [{"x": 1}]}, (-1, 2), "model 'm' has no input 'x'"),
        ("classify", {"examples": [{"in_s": 1}]}, (-1,), "model 'm' is no classifier"),
        ("regress", {"examples": [{"in_s": [1, 2]}]}, (-1, 2), "model 'm' is no regressor"),
    ],
)
def test_examples_that_do_not_fit(verb: str, document: object, shape: tuple[int, ...], words: str) -> None:
    assert words in error(call(verb, document, scores(shape=shape)))
