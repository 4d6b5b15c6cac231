"""Quicker ways to read what most requests are: numbers in JSON for a model of one input, and bytes behind JSON that is
always the same. Pure, but for what is kept in `ModelMetadata.memo`.

`tensors` reads with care and says what is wrong; here a few steps read what is right, and everything else, wrong or
merely unusual, is None. Whatever is read here, `tensors` reads the same.
"""

import struct
from collections.abc import Callable, Hashable
from math import prod
from typing import Any, NamedTuple

import numpy as np
import orjson

from mooring_runtime.dataplane.check import check
from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.http.tensors import flatten, shape_of
from mooring_runtime.messages import DATATYPES, Array, Fitted, InferRequest, ModelMetadata, Tensor

_PACKED = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP32": "f",
    "FP64": "d",
}
"""`struct`'s letter of a datatype."""
_ODD = (KeyError, IndexError, TypeError, ValueError, OverflowError, struct.error, InvalidRequest)


def may_hold_booleans(text: bytes) -> bool:
    """Whether there might be a boolean in a JSON text. A single letter is found ten times as fast as a word."""
    return (_R in text and b"true" in text) or (_L in text and b"false" in text)


_R, _L = b"rl"


class _Layout(NamedTuple):
    """How to read a tensor of one shape for one model."""

    elements: int
    dtype: np.dtype[Any]
    pack: Callable[..., bytes]
    size: int
    """The rest is of `Fitted`, for a model that has no other input."""
    rows: int
    like: Hashable


_MOST_KEPT = 1024
"""Of one model; when there is more all is forgotten, for clients that never repeat themselves must not fill the memory,
nor shut the others out."""


def _layout(metadata: ModelMetadata, name: str, shape: tuple[int, ...]) -> _Layout:
    """Raises InvalidRequest for a shape that the model does not take, KeyError for an input that it does not have."""
    # Checked first: the product of a text and a number is that text so many times, which fills the memory.
    count = prod(shape_of(name, list(shape)))
    datatype = DATATYPES[metadata.inputs[name].datatype]
    pack = struct.Struct(f"<{count}{_PACKED[datatype.name]}").pack
    size, rows, like = 0, 0, None
    if len(metadata.inputs) == 1:
        sample: Array = np.broadcast_to(np.zeros((), datatype.dtype), shape)
        _, _, size, rows, like, *_ = check(metadata, InferRequest((Tensor(name, datatype.name, sample),)))
    layout = _Layout(count, datatype.dtype, pack, size, rows, like)
    _keep(metadata, (name, shape), layout)
    return layout


def _keep(metadata: ModelMetadata, key: Hashable, value: object) -> None:
    if len(metadata.memo) >= _MOST_KEPT:
        metadata.memo.clear()
    metadata.memo[key] = value


def _quick_array(metadata: ModelMetadata, item: Any) -> tuple[Array, _Layout]:
    """Raises one of `_ODD` for what needs a closer look."""
    name, datatype, data, shape = item["name"], item["datatype"], item["data"], tuple(item["shape"])
    if len(item) != 4 or datatype != metadata.inputs[name].datatype:
        raise KeyError
    if type(data[0]) is list:
        data = flatten(name, data)
    layout = metadata.memo.get((name, shape)) or _layout(metadata, name, shape)
    if len(data) != layout[0]:
        raise ValueError
    # A shape of 1.0 finds the layout of 1, and is refused here.
    return np.ndarray(shape, layout[1], layout[2](*data)), layout


def quick_input(metadata: ModelMetadata, item: Any) -> Tensor | None:
    """The tensor of an input in JSON; None for one that needs a closer look, or that is wrong.

    Only for JSON without booleans, which `struct` and numpy would take for numbers; the rest of what is wrong they
    refuse as `from_json` does, and that says why.
    """
    try:
        array, _ = _quick_array(metadata, item)
    except _ODD:
        return None
    return Tensor(item["name"], item["datatype"], array)


def quick_request(metadata: ModelMetadata, document: Any, body: bytes) -> Fitted | None:
    """The request in a document that says nothing but the model's only input, and maybe an id; else None, as
    `quick_input`. `body` is its text, whose beginning is kept for `repeated_request`.
    """
    try:
        [item] = document["inputs"]
        if len(metadata.inputs) != 1 or (len(document) != 1 and not _has_id(document)):
            return None
        array, layout = _quick_array(metadata, item)
        if len(document) == 1:
            _keep_start(metadata, body, item, layout)
    except _ODD:
        return None
    rest = (layout.size, layout.rows, layout.like, document.get("id"))
    return Fitted({item["name"]: array}, metadata.output_names, *rest)


def _has_id(document: dict[str, Any]) -> bool:
    return len(document) == 2 and type(document.get("id")) is str


_DATA, _END = b'"data":', b"}]}"
"""Between them stand the elements of the last input, where they are the last thing that it says."""
_TAIL = -len(_END)
_LONGEST_START = 1024
_LAST = "last"
"""The key of the beginning that came last, which is likely to come next."""
_Start = tuple[bytes, str, tuple[int, ...], _Layout]
"""A beginning, and what it says: the input's name, its shape and how to read it."""


def _keep_start(metadata: ModelMetadata, body: bytes, item: dict[str, Any], layout: _Layout) -> None:
    start = body[: body.find(_DATA) + len(_DATA)]
    if len(start) > _LONGEST_START or not body.endswith(_END):
        return
    # What was found is the key and not a part of a name, if the rest is what the parser has read.
    if orjson.loads(body[len(start) : _TAIL]) == item["data"]:
        _keep(metadata, start, (start, item["name"], tuple(item["shape"]), layout))


def repeated_request(metadata: ModelMetadata, body: bytes) -> Fitted | None:
    """The request in a body that begins and ends as one that `quick_request` has read; else None.

    A client repeats all of the text but the elements, so only they are read.
    """
    memo = metadata.memo
    known: _Start | None = memo.get(_LAST)
    if known is None or not body.startswith(known[0]):
        known = memo.get(body[: body.find(_DATA, 0, _LONGEST_START) + len(_DATA)])
        if known is None:
            return None
        memo[_LAST] = known
    start, name, shape, (elements, dtype, pack, size, rows, like) = known
    if not body.endswith(_END):
        return None
    text = body[len(start) : _TAIL]
    try:
        data = orjson.loads(text)
        if type(data[0]) is list:
            data = flatten(name, data)
        if len(data) != elements or may_hold_booleans(text):
            return None
        array: Array = np.ndarray(shape, dtype, pack(*data))
    except _ODD:
        return None
    return tuple.__new__(Fitted, ({name: array}, metadata.output_names, size, rows, like, None, None))


class Plan(NamedTuple):
    """What the JSON before binary data says: everything but the bytes."""

    total: int
    """Of the whole body."""
    inputs: tuple[tuple[str, tuple[int, ...], np.dtype[Any], int, int, bool], ...]
    """Name, shape, dtype, where the bytes begin and end, and whether they can be used where they lie."""
    outputs: tuple[str, ...]
    size: int
    """The rest is of `Fitted`."""
    rows: int
    like: Hashable
    id: str | None
    choice: tuple[bool, dict[str, bool] | None]
    """Which outputs are wanted as bytes, as the front end keeps it."""


_PLAN = "plan"
"""Of the keys of plans: the JSON of one request may be the beginning of another, which is kept too."""


def plan_for(metadata: ModelMetadata, text: bytes, body: bytes) -> Plan | None:
    """The plan for bodies that begin with the JSON `text`, if there is one and `body` has the size that it tells."""
    plan: Plan | None = metadata.memo.get((_PLAN, text))
    return plan if plan is not None and plan.total == len(body) else None


def planned_request(plan: Plan, body: bytes) -> Fitted:
    """The request in a body that has a plan."""
    feeds: dict[str, Array] = {}
    for name, shape, dtype, begin, end, usable in plan.inputs:
        feeds[name] = np.ndarray(shape, dtype, body, begin) if usable else np.ndarray(shape, dtype, body[begin:end])
    return tuple.__new__(Fitted, (feeds, *plan[2:7], None))


def keep_plan(
    metadata: ModelMetadata,
    text: bytes,
    total: int,
    request: InferRequest,
    choice: tuple[bool, dict[str, bool] | None],
) -> None:
    """Keep what was read with care: `request` came from the JSON `text` in a body of `total` bytes.

    Nothing is kept of a request whose elements have to be looked at (texts and booleans), that has elements in its
    JSON, or that asks for more than its outputs. A session that the JSON names would be lost: it is in no plan.
    """
    if len(text) > _LONGEST_START:
        return
    if request.parameters or request.priority or request.timeout or request.session:
        return
    begin = len(text)
    inputs = []
    for name, datatype, array in request.inputs:
        end = begin + array.nbytes
        if datatype in ("BYTES", "BOOL"):
            return
        inputs.append((name, array.shape, array.dtype, begin, end, begin % array.itemsize == 0))
        begin = end
    if begin != total:
        return
    try:
        fitted = check(metadata, request)
    except InvalidRequest:
        return
    _keep(metadata, (_PLAN, text), Plan(total, tuple(inputs), *fitted[1:6], choice))
