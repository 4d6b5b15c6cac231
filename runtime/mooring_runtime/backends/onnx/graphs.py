"""Small ONNX models that move states on a device, written as the bytes that they are: protobuf, of which a graph of one
operator a tensor needs little. The package `onnx` would be larger than all of the server.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mooring_runtime.messages import StatePair

ELEMENTS = {
    "BOOL": 9,
    "UINT8": 2,
    "UINT16": 4,
    "UINT32": 12,
    "UINT64": 13,
    "INT8": 3,
    "INT16": 5,
    "INT32": 6,
    "INT64": 7,
    "FP16": 10,
    "FP32": 1,
    "FP64": 11,
}
"""TensorProto.DataType of the datatypes that a state on a device may have."""

PLACES = "places"
"""The input that says which rows to take."""
COUNT, ROOM = "count", "room"
"""Of the model of `room`: the input and the output."""
_IR_VERSION, _OPSET = 8, 17
_INT, _TENSOR, _INTS = 2, 4, 7
"""AttributeProto.AttributeType."""


def ring(number: int) -> str:
    """The input of all rows, in the model of `take`."""
    return f"ring_{number}"


def rows(number: int) -> str:
    """The rows of one pair, in either model: as the model that has the state takes and gives them."""
    return f"rows_{number}"


def kept(number: int) -> str:
    """The output of rows with the sessions first, in the model of `put`."""
    return f"kept_{number}"


def take(pairs: Sequence[StatePair]) -> bytes:
    """Rows of a ring by their numbers, `PLACES`, as a model takes them: with the sessions along its own axis."""
    nodes, inputs, outputs = [], [_value(PLACES, 7, ["n"])], []
    for number, pair in enumerate(pairs):
        axis, element, sizes = pair.axis or 0, ELEMENTS[pair.datatype], list(pair.shape[1:])
        gathered = f"gathered_{number}" if axis else rows(number)
        nodes.append(_Node("Gather", (ring(number), PLACES), gathered, _attribute("axis", 0)))
        if axis:
            order = [*range(1, axis + 1), 0, *range(axis + 1, len(pair.shape))]
            nodes.append(_Node("Transpose", (gathered,), rows(number), _attribute("perm", order)))
        inputs.append(_value(ring(number), element, ["all", *sizes]))
        outputs.append(_value(rows(number), element, _within(sizes, axis)))
    return _model("take", nodes, inputs, outputs)


def put(pairs: Sequence[StatePair]) -> bytes:
    """Rows as a model gives them, with the sessions first."""
    nodes, inputs, outputs = [], [], []
    for number, pair in enumerate(pairs):
        axis, element, sizes = pair.axis or 0, ELEMENTS[pair.datatype], list(pair.shape[1:])
        order = [axis, *range(axis), *range(axis + 1, len(pair.shape))]
        moved = _attribute("perm", order) if axis else b""
        nodes.append(_Node("Transpose" if axis else "Identity", (rows(number),), kept(number), moved))
        inputs.append(_value(rows(number), element, _within(sizes, axis)))
        outputs.append(_value(kept(number), element, ["n", *sizes]))
    return _model("put", nodes, inputs, outputs)


def room() -> bytes:
    """As many zeros of 8 bytes as `COUNT` says: memory of the session that runs it, which goes with what it gave.

    The tensors that onnxruntime's Python makes on a GPU come from an allocator of the process instead, which takes up
    to twice what it is asked for and never gives it back.
    """
    # Of 8 bytes, for the kernel counts them with 32 bits.
    zero = _field(1, 1) + _field(2, ELEMENTS["INT64"]) + _field(9, bytes(8))
    value = _field(1, "value") + _field(5, zero) + _field(20, _TENSOR)
    node = _Node("ConstantOfShape", (COUNT,), ROOM, value)
    return _model("room", [node], [_value(COUNT, ELEMENTS["INT64"], [1])], [_value(ROOM, ELEMENTS["INT64"], ["n"])])


class _Node(NamedTuple):
    operator: str
    inputs: tuple[str, ...]
    output: str
    attribute: bytes


def _within(sizes: Sequence[int], axis: int) -> list[int | str]:
    """Sizes with that of the sessions among them."""
    return [*sizes[:axis], "n", *sizes[axis:]]


def _model(name: str, nodes: Iterable[_Node], inputs: Iterable[bytes], outputs: Iterable[bytes]) -> bytes:
    """ModelProto."""
    graph = [_field(1, _node(node)) for node in nodes]
    graph.append(_field(2, name))
    graph += [_field(11, value) for value in inputs]
    graph += [_field(12, value) for value in outputs]
    return _field(1, _IR_VERSION) + _field(7, b"".join(graph)) + _field(8, _field(2, _OPSET))


def _node(node: _Node) -> bytes:
    """NodeProto."""
    found = b"".join(_field(1, name) for name in node.inputs) + _field(2, node.output) + _field(4, node.operator)
    return found + (_field(5, node.attribute) if node.attribute else b"")


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    """AttributeProto."""
    if isinstance(value, int):
        return _field(1, name) + _field(3, value) + _field(20, _INT)
    return _field(1, name) + b"".join(_field(8, each) for each in value) + _field(20, _INTS)


def _value(name: str, element: int, shape: Sequence[int | str]) -> bytes:
    """ValueInfoProto of a tensor; a size that is a text is free."""
    sizes = b"".join(_field(1, _field(2 if isinstance(size, str) else 1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, element) + _field(2, sizes)))


def _field(number: int, value: int | str | bytes) -> bytes:
    """A field of protobuf: a whole number, or bytes and how many they are."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    """A number in groups of 7 bits, the lowest first."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)
