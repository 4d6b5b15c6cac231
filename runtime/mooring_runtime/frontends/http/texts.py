"""JSON that is the same in every request or answer of a client, read or written once. Pure, but for a cache.

A client that sends tensors as bytes repeats the JSON before them, and the answers of a model differ in nothing but
their numbers.
"""

from functools import lru_cache
from typing import Any

import orjson

from mooring_runtime.frontends.http import tensors
from mooring_runtime.messages import InferResponse

_KEPT = 1024
_KEPT_BYTES = 1024
"""Of the largest text of a request that is kept: clients must not fill the memory."""


def parse_repeated(text: bytes) -> Any:
    """A JSON document that a client may repeat; nobody changes it. Raises InvalidRequest."""
    return _parse(text) if len(text) <= _KEPT_BYTES else tensors.parse_json(text)


_parse = lru_cache(_KEPT)(tensors.parse_json)


@lru_cache(_KEPT)
def start(model: str, version: str, name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """The JSON of an answer without an id up to the elements of its only output; two braces and a bracket are open."""
    return b'%b,"outputs":[%b,"data":' % (_start(model, version), output(name, datatype, shape))


def answer(response: InferResponse, entries: list[bytes]) -> bytes:
    """The JSON of an answer, whose outputs are `entries`."""
    start = _start(response.model_name, response.model_version)
    if response.id is not None:
        start += b',"id":' + orjson.dumps(response.id)
    if response.parameters:
        start += b',"parameters":' + orjson.dumps(dict(response.parameters))
    return b'%b,"outputs":[%b]}' % (start, b",".join(entries))


@lru_cache(_KEPT)
def output(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """The JSON of an output as far as it does not depend on its elements; its brace is open."""
    return orjson.dumps({"name": name, "datatype": datatype, "shape": shape})[:-1]


@lru_cache(_KEPT)
def _start(name: str, version: str) -> bytes:
    return orjson.dumps({"model_name": name, "model_version": version})[:-1]
