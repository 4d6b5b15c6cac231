"""The bytes of a client's request that is passed on to another replica, and of its answer. Pure.

The request goes as this server understood it, whatever protocol brought it, so the answer is written by the front end
that the client speaks to. Tensors stand as they are in memory, behind a JSON object that says what they are; each
begins at a multiple of eight bytes, so that nobody has to copy them.
"""

import struct
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from mooring_runtime.errors import RequestError
from mooring_runtime.messages import (
    DATATYPES,
    NONE,
    Array,
    InferRequest,
    InferResponse,
    SessionCall,
    SessionInfo,
    Tensor,
)
from mooring_runtime.sessions.messages import frame, unframe

_LENGTH = struct.Struct("<I")
_PADDING: Final = bytes(8)


class Step(NamedTuple):
    """`POST /step`: a client's request that was passed on."""

    model: str
    version: str | None
    request: InferRequest
    left: float | None
    """Seconds in which the answer is of use; None: as many as it takes. Clocks differ, so no instant travels."""


def encode_step(step: Step) -> bytes:
    """The body of a request."""
    request = step.request
    head: dict[str, Any] = {"model": step.model, "session": None if request.session is None else tuple(request.session)}
    if step.version is not None:
        head["version"] = step.version
    if step.left is not None:
        # None of them would mean to the receiver that there is no timeout.
        head["milliseconds"] = max(1, int(step.left * 1000))
    if request.outputs:
        head["outputs"] = request.outputs
    if request.id is not None:
        head["id"] = request.id
    if request.parameters:
        head["parameters"] = dict(request.parameters)
    if request.priority:
        head["priority"] = request.priority
    if request.timeout is not None:
        head["timeout"] = request.timeout
    return _with_tensors(head, request.inputs)


def decode_step(body: bytes) -> Step:
    """The request in a body. Raises ValueError."""
    try:
        head, rest = unframe(body)
        call, left = head["session"], head.get("milliseconds")
        request = InferRequest(
            _tensors(head["tensors"], rest),
            tuple(head.get("outputs", ())),
            head.get("id"),
            head.get("parameters", NONE),
            head.get("priority", 0),
            head.get("timeout"),
            None if call is None else SessionCall(*call),
        )
        return Step(head["model"], head.get("version"), request, None if left is None else left / 1000)
    except (KeyError, TypeError, struct.error, orjson.JSONDecodeError) as error:
        raise ValueError(f"cannot read a step that was passed on: {type(error).__name__}: {error}") from None


def encode_outcome(outcome: InferResponse | RequestError) -> bytes:
    """The body of an answer."""
    if isinstance(outcome, RequestError):
        names = [each.__name__ for each in type(outcome).__mro__ if issubclass(each, RequestError)]
        return frame({"error": names, "text": str(outcome), "is": vars(outcome)}, [])
    info = outcome.session
    head: dict[str, Any] = {
        "model": outcome.model_name,
        "version": outcome.model_version,
        "session": None if info is None else tuple(info),
    }
    if outcome.id is not None:
        head["id"] = outcome.id
    if outcome.parameters:
        head["parameters"] = dict(outcome.parameters)
    return _with_tensors(head, outcome.outputs)


def decode_outcome(body: bytes) -> InferResponse | RequestError:
    """The answer in a body. Raises ValueError."""
    try:
        head, rest = unframe(body)
        if "error" in head:
            return _error(head["error"], head["text"], head["is"])
        info = head["session"]
        return InferResponse(
            head["model"],
            head["version"],
            _tensors(head["tensors"], rest),
            head.get("id"),
            head.get("parameters", NONE),
            session=None if info is None else SessionInfo(*info),
        )
    except (KeyError, TypeError, struct.error, orjson.JSONDecodeError) as error:
        raise ValueError(f"cannot read the answer to a step: {type(error).__name__}: {error}") from None


def _error(names: list[str], text: str, attributes: dict[str, Any]) -> RequestError:
    """The error that another replica has raised: of the nearest class that this one has too."""
    known = {each.__name__: each for each in _below(RequestError)}
    found = next((known[name] for name in names if name in known), RequestError)
    # Not by the constructor: each class has its own, and what it made of its arguments came along.
    error = found.__new__(found)
    RequestError.__init__(error, text)
    vars(error).update(attributes)
    return error


def _below(root: type[RequestError]) -> Iterable[type[RequestError]]:
    yield root
    for each in root.__subclasses__():
        yield from _below(each)


# --- tensors


def _with_tensors(head: dict[str, Any], tensors: tuple[Tensor, ...]) -> bytes:
    described, parts = [], []
    for name, datatype, array in tensors:
        data = _bytes(array) if array.dtype.hasobject else array.tobytes()
        described.append((name, datatype, array.shape, len(data)))
        parts += [data, _PADDING[: -len(data) % 8]]
    head["tensors"] = described
    return frame(head, parts)


def _tensors(described: list[tuple[str, str, list[int], int]], data: memoryview) -> tuple[Tensor, ...]:
    tensors, start = [], 0
    for name, datatype, shape, size in described:
        dtype = DATATYPES[datatype].dtype
        piece = data[start : start + size]
        array = _strings(piece) if dtype.hasobject else np.frombuffer(piece, dtype)
        tensors.append(Tensor(name, datatype, array.reshape(shape)))
        start += size + -size % 8
    return tuple(tensors)


def _bytes(array: Array) -> bytes:
    """The elements of a BYTES tensor, each behind its length."""
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()]
    return b"".join([piece for item in items for piece in (_LENGTH.pack(len(item)), item)])


def _strings(data: memoryview) -> Array:
    items, start = [], 0
    while start < len(data):
        (size,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size + size
        items.append(bytes(data[start - size : start]))
    array = np.empty(len(items), object)
    array[:] = items
    return array
