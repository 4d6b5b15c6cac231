"""Tensors as plain JSON values, for the protocols that know no shapes and datatypes: V1, TF Serving, TorchServe. Pure.

The datatype is the model's; the shape is that of the nested lists. Beside what V2's JSON carries: bytes may be written
`{"b64": "..."}`, and FP16 and BF16 are numbers, rounded to the nearest.
"""

import base64
import json
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.http import tensors
from mooring_runtime.frontends.shown import cut
from mooring_runtime.messages import DATATYPES, Array, Datatype, Tensor, TensorSpec

Place = Callable[[tuple[int, ...]], str]
"""How the element at these indexes is called in the request: `instances[3][1]`."""

_MAX_RANK = 32
_HALVES = frozenset({"FP16", "BF16"})


def under(name: str) -> Place:
    """Places of what stands under a key."""
    return lambda indexes: name + "".join(f"[{index}]" for index in indexes)


def is_base64(value: object) -> bool:
    """Whether this is bytes and no named values."""
    return type(value) is dict and list(value) == ["b64"]


def to_tensor(spec: TensorSpec, value: Any, place: Place) -> Tensor:
    """`value` as the tensor that `spec` describes. Raises InvalidRequest with the place of what is wrong."""
    shape = _shape(value)
    if len(shape) > _MAX_RANK:
        raise InvalidRequest(f"{place(())} has {len(shape)} levels of lists, which no array can have")
    data = value if shape else [value]
    datatype = DATATYPES["FP32" if spec.datatype in _HALVES else spec.datatype]
    try:
        if datatype.name == "BYTES":
            array = _encoded(tensors.flatten(place(()), data)).reshape(shape)
        else:
            array = tensors.from_json(place(()), data, datatype, shape)
    except (InvalidRequest, ValueError) as error:
        raise InvalidRequest(_fault(value, shape, datatype, place) or str(error)) from None
    if not array.size and array.ndim < len(spec.shape):  # `[]` does not tell how long its missing rows would be.
        array = array.reshape(*array.shape, *(max(size, 0) for size in spec.shape[array.ndim :]))
    return Tensor(spec.name, spec.datatype, _halved(spec, array, place) if spec.datatype in _HALVES else array)


def from_tensor(tensor: Tensor, *, as_base64: bool = False) -> Any:
    """The tensor as `tensors.dump_json` takes it: numbers as an array of at least one dimension, else nested lists.

    BYTES are strings where they are UTF-8, else and with `as_base64` they are `{"b64": ...}`. A scalar is itself.
    """
    array = tensor.array
    if tensor.datatype == "BYTES":
        write = _base64 if as_base64 else _text
        flat = np.empty(array.size, dtype=object)
        flat[:] = [write(element) for element in array.ravel()]
        return flat.reshape(array.shape).tolist()
    if tensor.datatype == "BF16":
        array = bf16_to_fp32(array)
    return np.ascontiguousarray(array) if array.ndim else array.item()


def bf16_to_fp32(array: Array) -> Array:
    """BF16, kept as the upper two bytes of a float32, as that float32."""
    return (array.astype(np.uint32) << 16).view(np.float32)


def _shape(value: Any) -> tuple[int, ...]:
    """The shape that the first elements say; whether the others agree is for `from_json` to see."""
    shape = []
    while type(value) is list:
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _fault(value: Any, shape: tuple[int, ...], datatype: Datatype, place: Place) -> str | None:
    """The sentence that names the first list that is longer, shorter or deeper than the first ones say, or the first
    element that cannot be of the datatype.
    """
    level = [value]

    def at(number: int, axis: int) -> str:
        """The place of an element of `level`; all levels above it are regular, so its number tells its indexes."""
        indexes = []
        for size in reversed(shape[:axis]):
            number, index = divmod(number, size)
            indexes.append(index)
        return place(tuple(reversed(indexes)))

    # A body has millions of elements, and others wait meanwhile: each level is judged as a whole.
    for axis, size in enumerate(shape):
        if set(map(type, level)) != {list}:
            odd = next(number for number, each in enumerate(level) if type(each) is not list)
            return f"{at(odd, axis)} is no list, but the first of its kind is one of {size} elements"
        if set(map(len, level)) != {size}:
            odd = next(number for number, each in enumerate(level) if len(each) != size)
            found = f"{at(odd, axis)} has {len(level[odd])} elements"
            return f"{found}, but {at(0, axis)} has {size}: rows must be of one shape"
        level = list(chain.from_iterable(level))
    if list in map(type, level):
        odd = next(number for number, each in enumerate(level) if type(each) is list)
        return f"{at(odd, len(shape))} is a list, but the first of its kind is none"
    if datatype.name != "BYTES":
        allowed = datatype.json
        wrong = next((number for number, each in enumerate(level) if type(each) not in allowed), None)
        if wrong is None:
            return None
        called = " or ".join(sorted(map(_called, allowed)))
        return f"{at(wrong, len(shape))} is {_shown(level[wrong])}, it must be {called}"
    for number, each in enumerate(level):
        try:
            if type(each) is not str:
                _from_base64(each)
        except ValueError as error:
            return f"{at(number, len(shape))}{error}"
    return None


def _shown(value: object) -> str:
    if type(value) is str:
        value = cut(value)
    return "an object" if type(value) is dict else json.dumps(value, ensure_ascii=False)[:100]


def _called(kind: type) -> str:
    return {int: "a whole number", float: "a fraction", bool: "true or false"}[kind]


def _encoded(flat: list[Any]) -> Array:
    """Strings and base64 as bytes. Raises ValueError for what is neither."""
    array: Array = np.empty(len(flat), dtype=object)
    array[:] = [each.encode() if type(each) is str else _from_base64(each) for each in flat]
    return array


def _from_base64(value: Any) -> bytes:
    """Raises ValueError for what is no base64."""
    if not is_base64(value) or type(value["b64"]) is not str:
        raise ValueError(' must be a string, or {"b64": ...} for bytes that are no text')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except ValueError:
        raise ValueError(': the value of "b64" is not base64') from None


def _halved(spec: TensorSpec, array: Array, place: Place) -> Array:
    """A float32 array in half the bytes, rounded to the nearest, of two the even one."""
    if spec.datatype == "FP16":
        with np.errstate(over="ignore"):
            halves: Array = array.astype(np.float16)
        overflown = bool((np.isinf(halves) & np.isfinite(array)).any())
    else:
        bits = array.view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        halves = np.where(np.isnan(array), 0x7FC0, rounded).astype(np.uint16)
        overflown = bool((np.isinf(bf16_to_fp32(halves)) & np.isfinite(array)).any())
    if overflown:
        raise InvalidRequest(f"{place(())} is {spec.datatype}, but holds a number that is too large for it")
    return halves


def _text(element: bytes) -> object:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return _base64(element)


def _base64(element: bytes) -> object:
    return {"b64": base64.b64encode(element).decode()}
