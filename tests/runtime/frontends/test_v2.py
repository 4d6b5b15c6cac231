"""Golden bodies: what each route answers, to the byte; clients and dashboards of other servers read these."""

from pathlib import Path

import orjson
import pytest

from mooring_runtime import __version__
from mooring_runtime.messages import ModelMetadata, TensorSpec
from tests.support.serving import Served

GOLDEN = Path(__file__).parent / "golden"

METADATA = ModelMetadata(
    "file type/ä",
    "1",
    "onnxruntime_onnx",
    (TensorSpec("in_a", "INT32", (-1, 2)), TensorSpec("in_b", "BYTES", ())),
    (TensorSpec("out_a", "INT32", (-1, 2)), TensorSpec("out_b", "BYTES", ())),
)
MODEL = "/v2/models/file%20type%2F%C3%A4"
INFER = {
    "id": "7",
    "inputs": [
        {"name": "in_a", "datatype": "INT32", "shape": [2, 2], "data": [[1, 2], [3, 4]]},
        {"name": "in_b", "datatype": "BYTES", "shape": [1], "data": ["ä"]},
    ],
}

CASES = {
    "server": ("GET", "/v2", None),
    "live": ("GET", "/v2/health/live", None),
    "ready": ("GET", "/v2/health/ready", None),
    "models": ("GET", "/v2/models", None),
    "model": ("GET", MODEL, None),
    "model-version": ("GET", f"{MODEL}/versions/1", None),
    "model-unknown": ("GET", "/v2/models/other", None),
    "model-unknown-version": ("GET", f"{MODEL}/versions/2", None),
    "model-ready": ("GET", f"{MODEL}/ready", None),
    "model-version-ready": ("GET", f"{MODEL}/versions/1/ready", None),
    "infer": ("POST", f"{MODEL}/infer", INFER),
    "infer-version": ("POST", f"{MODEL}/versions/1/infer", INFER),
    "infer-unknown": ("POST", "/v2/models/other/infer", INFER),
    "infer-wrong": ("POST", f"{MODEL}/infer", {"inputs": INFER["inputs"][:1]}),
    "infer-no-json": ("POST", f"{MODEL}/infer", "{"),
    "infer-method": ("GET", f"{MODEL}/infer", None),
    "path-unknown": ("GET", "/v2/elsewhere", None),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, update_golden: bool) -> None:
    method, target, document = CASES[name]
    body = b"" if document is None else document.encode() if isinstance(document, str) else orjson.dumps(document)
    reply = Served(METADATA).ask(method, target, body)
    extra = b"".join(b"%s: %s\n" % header for header in reply.headers)
    text = b"%d %s\n%s%s\n" % (reply.status, reply.content_type, extra, b"".join(reply.body))
    text = text.replace(f'"version":"{__version__}"'.encode(), b'"version":"VERSION"')
    file = GOLDEN / f"{name}.txt"
    if update_golden:
        file.write_bytes(text)
    assert text == file.read_bytes(), f"{file} differs: if that is meant, run pytest with --update-golden"


def test_no_golden_file_is_left_over() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(CASES)


def test_not_ready_is_503_with_the_reason() -> None:
    served = Served()
    served.plane.draining = True
    reply = served.ask("GET", "/v2/health/ready")
    assert reply.status == 503
    assert b"".join(reply.body) == b'{"ready":false,"error":"not ready: the server is stopping"}'
    assert served.ask("GET", "/v2/health/live").status == 200


def test_a_model_that_loads_is_503_and_retried() -> None:
    served = Served()
    served.model._batcher = served.model._metadata = None
    served.model.state = type(served.model.state).LOADING
    for target in ("/v2/models/echo", "/v2/models/echo/ready", "/v2/health/ready"):
        assert served.ask("GET", target).status == 503
    reply = served.infer({"inputs": []})
    assert (reply.status, reply.headers) == (503, ((b"Retry-After", b"1"),))
    assert b"".join(reply.body) == b'{"error":"model \'echo\' is loading"}'


def test_head_is_taken_where_get_is() -> None:
    assert Served().ask("HEAD", "/v2/health/ready").status == 200
