"""Bodies that are almost right, in every protocol over HTTP: each is answered, and none by a fault of the server."""

import json
import logging
from random import Random

import pytest

from mooring_runtime.frontends.http.messages import Reply
from tests.support import mutations
from tests.support.serving import Served, echo_metadata

pytestmark = pytest.mark.timeout(300)

FP32 = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "data": [[1, 2]]}
BYTES = {"name": "in_BYTES", "shape": [1, 2], "datatype": "BYTES", "data": ["a", "b"]}
BINARY = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
ROW = {"in_FP32": [1, 2], "in_BYTES": ["a", {"b64": "YQ=="}]}
WHOLE = {"id": "1", "parameters": {"a": 1, "priority": 1}, "inputs": [FP32, BYTES]}
CLASSES = {"inputs": [FP32], "outputs": [{"name": "out_FP32", "parameters": {"classification": 1}}]}
HALVES = {"in_FP16": [1, 2], "in_BF16": [1, 2], "in_INT8": [1, 2], "in_BOOL": [True, False]}

BODIES: tuple[tuple[str, object], ...] = (
    ("/v2/models/echo/infer", WHOLE),
    ("/v2/models/echo/infer", CLASSES),
    ("/v2/models/echo/infer", {"inputs": [BINARY], "parameters": {"binary_data_output": True}}),
    ("/v2/models/echo/generate", {**ROW, "id": "1", "parameters": {"x": 1}}),
    ("/v2/models/echo/generate_stream", {"in_FP32": [1, 2]}),
    ("/v1/models/echo:predict", {"instances": [[1, 2], [3, 4]]}),
    ("/v1/models/echo:predict", {"instances": [ROW, ROW], "signature_name": "serving_default"}),
    ("/v1/models/echo:predict", {"inputs": {"in_FP32": [[1, 2]], "in_BYTES": [["a", "b"]]}}),
    ("/v1/models/echo:predict", {"instances": [HALVES]}),
    ("/v1/models/echo:classify", {"examples": [{"in_FP32": [1, 2]}], "context": {}}),
    ("/v1/models/echo:regress", {"examples": [{"in_FP32": [1]}]}),
    ("/invocations", WHOLE),
    ("/invocations", [[1, 2]]),
    ("/predictions/echo", ROW),
    ("/v2/repository/index", {"ready": True}),
    ("/v2/logging", {"log_info": True, "log_verbose_level": 0, "log_format": "default"}),
    ("/v2/trace/setting", {"trace_level": ["OFF"], "trace_rate": "1", "trace_count": "1", "log_frequency": "0"}),
)
TYPES = (
    b"application/json",
    b"text/csv",
    b"multipart/form-data; boundary=a",
    b"application/cloudevents+json",
    b"application/vnd.sagemaker-triton.binary+json;json-header-size=9",
)


@pytest.fixture(scope="module")
def models() -> list[Served]:
    kinds = [("FP32",), ("FP32", "BYTES"), ("FP16", "BF16", "INT8", "BOOL"), ("BYTES",)]
    return [*(Served(echo_metadata(each)) for each in kinds), Served(echo_metadata(("INT64",), ()))]


def test_every_body_is_answered(models: list[Served], long: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    random = Random(1)
    for number in range(1_000_000 if long else 40_000):
        served = random.choice(models)
        target, original = random.choice(BODIES)
        body = json.dumps(mutations.document(random, original)).encode() + random.randbytes(random.choice((0, 0, 8)))
        if random.random() < 0.2:
            body = mutations.stream(random, body)
        headers = {}
        if random.random() < 0.3:
            headers[b"Inference-Header-Content-Length"] = b"%d" % random.choice((0, len(body), len(body) - 8))
        if random.random() < 0.2:
            headers[b"Content-Type"] = random.choice(TYPES)
        if b"timeout" in body:
            continue  # Waits for the clock, which stands still here.
        check(served.ask("POST", target, body, headers), f"body {number}: {target} {headers} {body!r}")


def check(reply: Reply, told: str) -> None:
    assert reply.status < 500 or reply.status in {501, 503}, f"{told} gave {reply}"
    if reply.status >= 400:
        assert list(json.loads(b"".join(reply.body))) == ["error"], told
