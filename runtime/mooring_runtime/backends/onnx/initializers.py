"""Values that an ONNX file has for its inputs: what a graph's input is when nobody gives it. onnxruntime tells only
their names, so they are read from the file, which is protobuf: ModelProto.graph.initializer.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import DATATYPES, Array, TensorSpec

_GRAPH, _INITIALIZER = 7, 5
_FLOATS, _INT32S, _INT64S, _NAME, _RAW, _DOUBLES, _UINT64S, _LOCATION = 4, 5, 7, 8, 9, 10, 11, 14
"""Fields of TensorProto."""
_EXTERNAL = 1

Part = tuple[int, int]
"""Where a value of some length begins and ends in the file."""


def read(file: Path, spec: TensorSpec) -> Array:
    """The value of the initializer named `spec.name`, in its own shape and the dtype of the spec.

    Raises ModelInvalid where the file has none, or keeps it in another file.
    """
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            for tensor in _initializers(data):
                found = _of_tensor(data, tensor)
                if found.name == spec.name:
                    return found.array(data, spec)
        except (ValueError, IndexError) as error:
            raise ModelInvalid(f"{file.name}: the value of input '{spec.name}' cannot be read: {error}") from error
    raise ModelInvalid(f"{file.name} has no value of input '{spec.name}'")


def _initializers(data: mmap.mmap) -> Iterator[Part]:
    for number, value in _fields(data, (0, len(data))):
        if number == _GRAPH and isinstance(value, tuple):
            for inner, tensor in _fields(data, value):
                if inner == _INITIALIZER and isinstance(tensor, tuple):
                    yield tensor


class _Tensor:
    """A TensorProto, of which only the place of its values is read."""

    def __init__(self) -> None:
        self.name = ""
        self.dims: list[int] = []
        self.external = False
        self.parts: dict[int, Part] = {}

    def array(self, data: mmap.mmap, spec: TensorSpec) -> Array:
        """Raises ValueError."""
        if self.external:
            raise ValueError("it is in another file")
        dtype = DATATYPES[spec.datatype].dtype
        [(field, (begin, end))] = self.parts.items() or [(_RAW, (0, 0))]
        if field == _RAW:
            flat: Array = np.frombuffer(data[begin:end], dtype)
        elif field in (_FLOATS, _DOUBLES):
            flat = np.frombuffer(data[begin:end], np.float32 if field == _FLOATS else np.float64)
        else:
            numbers = list(_varints(data, (begin, end)))
            flat = np.array(numbers, np.uint64).astype(np.uint16 if spec.datatype == "FP16" else dtype)
            flat = flat.view(dtype) if spec.datatype == "FP16" else flat  # Its bits stand there.
        return flat.astype(dtype).reshape(self.dims)


def _of_tensor(data: mmap.mmap, part: Part) -> _Tensor:
    tensor = _Tensor()
    for number, value in _fields(data, part):
        if isinstance(value, int):
            if number == 1:
                tensor.dims.append(value)
            tensor.external = tensor.external or (number == _LOCATION and value == _EXTERNAL)
        elif number == 1:
            tensor.dims += _varints(data, value)
        elif number == _NAME:
            tensor.name = data[value[0] : value[1]].decode(errors="replace")
        elif number in (_FLOATS, _INT32S, _INT64S, _RAW, _DOUBLES, _UINT64S):
            tensor.parts[number] = value
    return tensor


def _fields(data: mmap.mmap, part: Part) -> Iterator[tuple[int, int | Part]]:
    """(number, value) of each field of a message: a whole number, or where the bytes of the others are."""
    at, end = part
    while at < end:
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
            case 2:
                length, at = _varint(data, at)
                yield tag >> 3, (at, at + length)
                at += length
            case 1:
                at += 8
            case 5:
                at += 4
            case kind:
                raise ValueError(f"no protobuf: a field of kind {kind}")


def _varints(data: mmap.mmap, part: Part) -> Iterator[int]:
    at, end = part
    while at < end:
        value, at = _varint(data, at)
        yield value


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """(a number of groups of 7 bits, the lowest first; where it ends)."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
        shift += 7
