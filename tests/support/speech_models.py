"""silero-vad as `examples/speech` serves it, and versions of it that tell what may become of its state."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.demo import speech

WIDTH = 256
"""Of a state in one row: what the cell gave and what it remembers, 128 each."""
_EXAMPLE = Path(__file__).parents[2] / "examples" / "speech"
_HALVES, _ROW = [-1, 2, WIDTH // 2], [-1, WIDTH]


def first() -> dict[str, bytes]:
    """The example's files."""
    return {"model.onnx": speech.model().read_bytes(), **_about()}


def equal() -> dict[str, bytes]:
    """Another version, which reads and writes the same state."""
    model = onnx.load(speech.model())
    model.doc_string = "another version"
    return {"model.onnx": model.SerializeToString(), **_about()}


def converted() -> dict[str, bytes]:
    """One that keeps its state as a row, under another name, with the converter that makes it of the first one's.

    The state of a session is [1, 256] then, not [1, 2, 128] with the halves side by side: no session fits without the
    converter. What the model computes with is the same, bit for bit.
    """
    model = onnx.load(speech.model())
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["state_halves" if name == "stateN" else name for name in node.output]
    # The net itself goes on reading `state`, which is no input any more.
    for node in reversed([*_reshaped("memory", "state_rows", _HALVES), _swapped("state_rows", "state")]):
        graph.node.insert(0, node)
    graph.node.extend([_swapped("state_halves", "rows"), *_reshaped("rows", "stateN", _ROW)])
    for values, old, new in ((graph.input, "state", "memory"), (graph.output, "stateN", "stateN")):
        [kept] = [value for value in values if value.name == old]
        kept.CopyFrom(helper.make_tensor_value_info(new, TensorProto.FLOAT, ["batch", WIDTH]))
    pair = {"input": "memory", "output": "stateN", "axis": 0}
    return {
        "model.onnx": _written(model),
        "convert.onnx": _converter(),
        **_about({"pairs": [pair], "converter": {"file": "convert.onnx"}}),
    }


def unreadable() -> dict[str, bytes]:
    """One that says of its state that it means something else, and brings no converter."""
    return {**first(), **_about({"version": "3"})}


def _about(state: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """The example's `mooring.json`, in whose `state` these keys win, and its request to get warm."""
    files = {name: (_EXAMPLE / name).read_bytes() for name in ("mooring.json", "warmup.json")}
    if state:
        about = json.loads(files["mooring.json"])
        files["mooring.json"] = json.dumps({**about, "state": {**about["state"], **state}}).encode()
    return files


def _converter() -> bytes:
    """A row of the two halves, which stand side by side in the state of a session."""
    graph = helper.make_graph(
        _reshaped("state", "memory", _ROW),
        "convert",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 2, WIDTH // 2])],
        [helper.make_tensor_value_info("memory", TensorProto.FLOAT, ["batch", WIDTH])],
    )
    return _written(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8))


def _reshaped(source: str, result: str, shape: list[int]) -> list[Any]:
    value = helper.make_tensor(f"{result}_shape", TensorProto.INT64, [len(shape)], shape)
    return [
        helper.make_node("Constant", [], [f"{result}_shape"], value=value),
        helper.make_node("Reshape", [source, f"{result}_shape"], [result]),
    ]


def _swapped(source: str, result: str) -> Any:
    """The sessions go to the other axis."""
    return helper.make_node("Transpose", [source], [result], perm=[1, 0, 2])


def _written(model: Any) -> bytes:
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
