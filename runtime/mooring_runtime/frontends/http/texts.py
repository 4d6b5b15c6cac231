"""The JSON of answers. Those of a model differ in nothing but their numbers, so the rest is written once.

Pure, but for a cache.
"""

from collections.abc import Mapping
from functools import lru_cache

import orjson

from mooring_runtime.messages import Parameter

_KEPT = 1024
"""Texts of one kind that are kept: clients choose the shapes, and must not fill the memory with them."""


@lru_cache(_KEPT)
def start(model: str, version: str, name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """The JSON of an answer without an id up to the elements of its only output; two braces and a bracket are open."""
    return b'%b,"outputs":[%b,"data":' % (_start(model, version), output(name, datatype, shape))


def step(told: bytes, model: tuple[str, str], tensor: tuple[str, str, tuple[int, ...]], data: bytes) -> bytes:
    """The JSON of an answer without an id to a step of a session: `told` are its parameters, `data` the elements of its
    only output.
    """
    return b'%b,"parameters":%b,"outputs":[%b,"data":%b}]}' % (_start(*model), told, output(*tensor), data)


@lru_cache(_KEPT)
def binary(model: str, version: str, name: str, datatype: str, shape: tuple[int, ...], size: int) -> bytes:
    """The JSON of an answer without an id whose only output is `size` bytes behind it."""
    return b'%b,"outputs":[%b]}' % (_start(model, version), binary_output(name, datatype, shape, size))


@lru_cache(_KEPT)
def binary_output(name: str, datatype: str, shape: tuple[int, ...], size: int) -> bytes:
    """The JSON of an output that is `size` bytes behind it."""
    return b'%b,"parameters":{"binary_data_size":%d}}' % (output(name, datatype, shape), size)


def answer(
    model: tuple[str, str], request_id: str | None, parameters: Mapping[str, Parameter], entries: list[bytes]
) -> bytes:
    """The JSON of an answer of a model, told by name and version, whose outputs are `entries`."""
    start = _start(*model)
    if request_id is not None:
        start += b',"id":' + orjson.dumps(request_id)
    if parameters:
        start += b',"parameters":' + orjson.dumps(dict(parameters))
    return b'%b,"outputs":[%b]}' % (start, b",".join(entries))


@lru_cache(_KEPT)
def output(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """The JSON of an output as far as it does not depend on its elements; its brace is open."""
    return orjson.dumps({"name": name, "datatype": datatype, "shape": shape})[:-1]


@lru_cache(_KEPT)
def _start(name: str, version: str) -> bytes:
    return orjson.dumps({"model_name": name, "model_version": version})[:-1]
