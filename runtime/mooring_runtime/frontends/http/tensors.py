"""Tensors as V2 writes them over HTTP: JSON arrays and raw bytes, both ways. Pure."""

import json
import struct
from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import orjson

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.http.messages import Part
from mooring_runtime.frontends.shown import shown
from mooring_runtime.messages import DATATYPES, Array, Datatype

_MAX_SIZE = 2**31 - 1
_MAX_ELEMENTS = 2**48
"""Of one dimension, and of all that are not 0 together: more than any body holds, less than numpy's own bounds."""
_MAX_RANK = 32
_N = ord("n")
"""As a number, which bytes are searched for ten times as fast as for a letter."""
_COPY_BELOW = 4096
"""Bytes of an output below which a copy is cheaper than keeping a view."""


def parse_json(text: bytes | memoryview) -> Any:
    """A JSON document; NaN, Infinity and -Infinity are taken too, as Triton and its client do.

    Raises InvalidRequest with the place of the first fault.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raw = bytes(text)
        if b"NaN" in raw or b"Infinity" in raw:
            try:
                document = json.loads(raw)
                json.dumps(document, ensure_ascii=False).encode()  # Raises for half a surrogate pair, as orjson does.
                return document
            except (ValueError, RecursionError):
                pass  # What orjson says of it is as good.
        raise InvalidRequest(f"the body is not JSON: {error}") from None


def datatype_of(what: str, name: object) -> Datatype:
    """The datatype that a request names. Raises InvalidRequest with those that there are."""
    found = DATATYPES.get(name) if isinstance(name, str) else None
    if found is None:
        raise InvalidRequest(f"{what} has datatype {shown(name)}; the datatypes are {', '.join(DATATYPES)}")
    return found


def shape_of(what: str, shape: object) -> tuple[int, ...]:
    """The shape that a request names. Raises InvalidRequest unless it is a list of sizes from 0 up."""
    if type(shape) is not list:
        raise InvalidRequest(f"{what} has shape {shown(shape)}; it must be a list of whole numbers")
    if len(shape) > _MAX_RANK:  # First: the product of thousands of sizes takes seconds.
        raise InvalidRequest(f"{what} has shape [...] of {len(shape)} sizes; an array has {_MAX_RANK} at most")
    count = 1
    for size in shape:
        if type(size) is not int or not 0 <= size <= _MAX_SIZE:
            raise InvalidRequest(
                f"{what} has shape {shown(shape)}; each size must be a whole number from 0 to {_MAX_SIZE}"
            )
        count *= size or 1
    if count > _MAX_ELEMENTS:  # numpy refuses these, even where a size is 0.
        raise InvalidRequest(f"{what} has shape {shown(shape)}, which no array can have")
    return tuple(shape)


def from_json(what: str, data: object, datatype: Datatype, shape: tuple[int, ...]) -> Array:
    """An array out of `data`, nested or flat, row-major. Raises InvalidRequest when it is not what it should be."""
    if not datatype.json:
        raise InvalidRequest(f"{what} is {datatype.name}, which JSON cannot carry; send it as binary data")
    flat = flatten(what, data)
    count = prod(shape)
    if len(flat) != count:
        raise InvalidRequest(f"{what} has {len(flat)} elements in data, but its shape {list(shape)} has {count}")
    if not datatype.json.issuperset(map(type, flat)):
        wrong = set(map(type, flat)) - datatype.json
        raise InvalidRequest(f"{what} is {datatype.name}, but data holds {_json_names(wrong)}")
    if datatype.name == "BYTES":
        array: Array = np.empty(count, dtype=object)
        array[:] = [text.encode() for text in flat]
        return array.reshape(shape)
    try:
        if datatype.name == "FP32":  # numpy would make infinities of large numbers, and be slower.
            return np.ndarray(shape, datatype.dtype, struct.pack(f"<{count}f", *flat))
        return np.array(flat, dtype=datatype.dtype).reshape(shape)
    except (OverflowError, struct.error):  # The latter of a whole number that no float can hold.
        raise InvalidRequest(f"{what} is {datatype.name}, but data holds a number that is too large for it") from None


def flatten(what: str, data: object) -> list[Any]:
    """The elements of nested lists, row-major.

    Every level must be regular: `[[1, 2, 3], [4]]` is no array, though it has four elements. Raises InvalidRequest.
    """
    if type(data) is not list:
        raise InvalidRequest(f"{what} has data that is no list")
    while data and type(data[0]) is list:
        if set(map(type, data)) != {list} or len(set(map(len, data))) != 1:
            raise InvalidRequest(f"{what} has data whose lists differ in length or depth")
        data = list(chain.from_iterable(data))
    return data


_JSON_NAMES = {int: "whole numbers", float: "fractions", bool: "true or false", str: "strings", list: "lists"}


def _json_names(types: set[type]) -> str:
    return " and ".join(sorted(_JSON_NAMES.get(each, "null or objects") for each in types))


def from_bytes(what: str, raw: memoryview, datatype: Datatype, shape: tuple[int, ...]) -> Array:
    """An array over `raw`, without a copy where the bytes lie as numpy wants them.

    Raises InvalidRequest when `raw` has another size than shape and datatype say.
    """
    count = prod(shape)
    if datatype.name == "BYTES":
        return _texts(what, raw, count).reshape(shape)
    size = count * datatype.itemsize
    if len(raw) != size:
        raise InvalidRequest(
            f"{what} has {len(raw)} bytes of binary data, but its shape {list(shape)} and datatype {datatype.name} "
            f"take {size}"
        )
    array: Array = np.frombuffer(raw, dtype=datatype.dtype) if size else np.empty(0, dtype=datatype.dtype)
    if datatype.name == "BOOL" and np.frombuffer(raw, dtype=np.uint8).max(initial=0) > 1:
        # A bool that is neither is undefined to every library behind us.
        raise InvalidRequest(f"{what} is BOOL, but its binary data holds bytes other than 0 and 1")
    if not array.flags.aligned:  # The JSON before it has any length; frameworks read aligned memory only.
        array = array.copy()
    return array.reshape(shape)


def _texts(what: str, raw: memoryview, count: int) -> Array:
    """BYTES: each element is its length as four little-endian bytes, and itself."""
    if len(raw) < 4 * count:
        raise InvalidRequest(f"{what} has {len(raw)} bytes of binary data, too few for {count} elements of BYTES")
    array: Array = np.empty(count, dtype=object)
    offset = 0
    for index in range(count):
        end = offset + 4
        length = int.from_bytes(raw[offset:end], "little")
        if end + length > len(raw):
            raise InvalidRequest(f"{what}: the binary data ends within element {index}")
        array[index] = bytes(raw[end : end + length])
        offset = end + length
    if offset != len(raw):
        raise InvalidRequest(f"{what}: {len(raw) - offset} bytes of binary data are left over after {count} elements")
    return array


def to_bytes(datatype: str, array: Array) -> Part:
    """The binary form of an output; a large one is a view of the array."""
    if datatype == "BYTES":
        return b"".join([struct.pack("<I", len(element)) + element for element in array.ravel()])
    if array.nbytes < _COPY_BELOW:
        return array.tobytes()
    return np.ascontiguousarray(array).data.cast("B")


def to_json(name: str, datatype: str, array: Array) -> bytes:
    """The elements of an output in row-major order, as a JSON array. NaN and infinities are written so, as Triton does.

    Raises InvalidRequest for an element that JSON cannot carry.
    """
    if datatype != "BYTES":
        text = orjson.dumps(array.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
        # orjson makes null of what is no number in JSON; nothing else here has an n.
        return text if _N not in text else json.dumps(array.ravel().tolist(), separators=(",", ":")).encode()
    try:
        return orjson.dumps([element.decode() for element in array.ravel()])
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"output '{name}' holds bytes that are not UTF-8, which JSON cannot carry; ask for it as binary data"
        ) from None


def dump_json(document: dict[str, Any]) -> bytes:
    """A document with arrays in it. NaN and infinities are written so, as Triton does; orjson makes null of them."""
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" not in text:
        return text
    return json.dumps(document, default=_plain, separators=(",", ":"), ensure_ascii=False).encode()


def _plain(array: Array) -> Sequence[Any]:
    plain: list[Any] = array.tolist()
    return plain
