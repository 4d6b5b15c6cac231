"""Requests of every route of HTTP that infers, for tests of how they speak of sessions; and how to read the replies."""

import json
from typing import Any

import numpy as np
import orjson

from mooring_runtime.frontends.http.messages import Reply

X = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}
BINARY_X = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
RAW_X = np.array([1, 2], np.float32).tobytes()
INFER = "/v2/models/echo/infer"

BODIES: dict[str, bytes] = {
    INFER: orjson.dumps({"inputs": [X]}),
    "/v2/models/echo/versions/1/infer": orjson.dumps({"inputs": [X], "id": "7"}),
    "/v2/models/echo/generate": b'{"in_FP32": [1, 2]}',
    "/v2/models/echo/generate_stream": b'{"in_FP32": [1, 2]}',
    "/v1/models/echo:predict": b'{"instances": [[1, 2]]}',
    "/v1/models/echo:classify": b'{"examples": [{"in_FP32": [1, 2]}]}',
    "/predictions/echo": b"[[1, 2]]",
    "/invocations": b'{"inputs": [[1, 2]]}',
}
"""A request by every route that infers."""


def infer(parameters: dict[str, Any] | None = None, **more: Any) -> bytes:
    return orjson.dumps({"inputs": [X], **({} if parameters is None else {"parameters": parameters}), **more})


def binary(parameters: dict[str, Any]) -> tuple[bytes, dict[str, str | bytes]]:
    text = orjson.dumps({"inputs": [BINARY_X], "parameters": {"binary_data_output": True, **parameters}})
    return text + RAW_X, {"Inference-Header-Content-Length": str(len(text))}


def headers(reply: Reply) -> dict[str, str]:
    lines = [line.partition(b": ") for line in reply.lines.split(b"\r\n")[:-1]]
    told = [*reply.headers, *((name, value) for name, _, value in lines)]
    assert len(dict(told)) == len(told), "a header is told twice"
    return {name.decode(): value.decode() for name, value in told}


def error(reply: Reply, status: int = 400) -> dict[str, Any]:
    assert reply.status == status, reply
    document: dict[str, Any] = json.loads(b"".join(reply.body))
    return document
