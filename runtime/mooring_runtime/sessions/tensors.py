"""Tensors as bytes: on disk, in the file of a session, and between replicas. Pure.

Numbers are little-endian. What stands before the elements is the same for every step of a model, so it is made once.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from math import prod

import numpy as np

from mooring_runtime.messages import DATATYPES, Array, Tensor

_COUNT = struct.Struct("<H")
_LENGTH = struct.Struct("<I")


@lru_cache(4096)
def _head(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """What goes before the elements; the same for every step of a model, so it is made once."""
    text, kind = name.encode(), datatype.encode()
    return struct.pack(f"<HBB{len(shape)}Q", len(text), len(kind), len(shape), *shape) + text + kind


@lru_cache(4096)
def _only_head(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """What goes before the elements of a tensor that has no others beside it."""
    return _COUNT.pack(1) + _head(name, datatype, shape)


_SMALL = 1024
"""Bytes of an array below which a copy is quicker than a view."""


def bytes_of(array: Array) -> int:
    """Bytes of an array, texts and all, which numpy counts as pointers: else any length of text would be small."""
    if array.dtype.hasobject:
        return array.nbytes + sum(map(len, array.ravel().tolist()))
    return array.nbytes


def encode_tensors(tensors: Sequence[Tensor]) -> bytes:
    """Their names, datatypes, shapes and elements."""
    if len(tensors) == 1:  # As most states and replies are.
        [(name, datatype, array)] = tensors
        if datatype != "BYTES" and array.nbytes < _SMALL:
            return _only_head(name, datatype, array.shape) + array.tobytes()
    parts: list[bytes | memoryview] = [_COUNT.pack(len(tensors))]
    for name, datatype, array in tensors:
        parts.append(_head(name, datatype, array.shape))
        if datatype == "BYTES":
            for element in array.ravel().tolist():
                parts += (_LENGTH.pack(len(element)), element)
        elif array.nbytes < _SMALL:
            parts.append(array.tobytes())
        else:
            parts.append(array.data if array.flags.c_contiguous else np.ascontiguousarray(array).data)
    return b"".join(parts)


def decode_tensors(data: memoryview, start: int = 0) -> tuple[tuple[Tensor, ...], int]:
    """The tensors that begin at `start`, with arrays of their own, and where they end.

    Raises ValueError, struct.error or UnicodeDecodeError for bytes that `encode_tensors` has not made.
    """
    (count,) = _COUNT.unpack_from(data, start)
    at = start + _COUNT.size
    tensors = []
    for _ in range(count):
        tensor, at = _tensor(data, at)
        tensors.append(tensor)
    return tuple(tensors), at


def _tensor(data: memoryview, at: int) -> tuple[Tensor, int]:
    name_size, kind_size, rank = struct.unpack_from("<HBB", data, at)
    shape = struct.unpack_from(f"<{rank}Q", data, at + 4)
    at += 4 + 8 * rank
    name = str(data[at : at + name_size], "utf-8")
    at += name_size
    kind = str(data[at : at + kind_size], "utf-8")
    at += kind_size
    row = DATATYPES.get(kind)
    if row is None:
        raise ValueError(f"tensor '{name}' has the unknown datatype '{kind}'")
    elements = prod(shape)
    if kind == "BYTES":
        array: Array = np.empty(elements, dtype=object)
        for index in range(elements):
            (size,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            if at + size > len(data):
                raise ValueError(f"tensor '{name}' is cut")
            array[index] = bytes(data[at : at + size])
            at += size
        return Tensor(name, kind, array.reshape(shape)), at
    # Out of the store's memory map, which changes beneath us when the transaction has ended.
    array = np.frombuffer(data, row.dtype, elements, at).reshape(shape).copy()
    return Tensor(name, kind, array), at + array.nbytes
