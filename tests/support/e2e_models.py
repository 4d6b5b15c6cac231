"""Model images for the end-to-end tests: versions that tell themselves apart, broken ones, and those with state."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.cluster import images
from tests.faults import ledger
from tests.support import models, speech_models

VERSIONS = (1, 2)
GARBAGE = b"this is no model" * 64
# Readable by every onnxruntime for years back; what the newest onnx writes by default may be too new.
_OPSET = 17
_IR_VERSION = 8


def adder(version: int) -> bytes:
    """A model whose output `y` is its input `x` (FP32, [n]) plus 1000 times its version."""
    tensor = helper.make_tensor("version", TensorProto.FLOAT, [1], [1000.0 * version])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "version"], ["y"])],
        "adder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [tensor],
    )
    return _written(helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION))


def ledger_equal() -> dict[str, bytes]:
    """The model of the fault tests in another version, which reads and writes the same state."""
    model = ledger.model()
    model.doc_string = "another version"
    return {"model.onnx": _written(model), "mooring.json": _about()}


def ledger_converted() -> dict[str, bytes]:
    """One whose state counts by twos, with the converter that makes its states of the first ones.

    Without the conversion every session would tell half of its steps.
    """
    model = ledger.model()
    for node in model.graph.node:
        node.input[:] = ["steps_before" if name == "state_in_count" else name for name in node.input]
        node.input[:] = ["steps_after" if name == "state_out_count" else name for name in node.input]
        node.output[:] = ["steps_after" if name == "state_out_count" else name for name in node.output]
    model.graph.node.insert(0, helper.make_node("Div", ["state_in_count", "two"], ["steps_before"]))
    model.graph.node.append(helper.make_node("Mul", ["steps_after", "two"], ["state_out_count"]))
    two = helper.make_tensor("two", TensorProto.INT64, [1], [2])
    model.graph.initializer.append(two)
    return {
        "model.onnx": _written(model),
        "convert.onnx": _doubling(two),
        "mooring.json": _about({"version": "2", "converter": {"file": "convert.onnx"}}),
    }


def ledger_unreadable() -> dict[str, bytes]:
    """One that says of its state that it means something else, and brings no converter."""
    return {"model.onnx": _written(ledger.model()), "mooring.json": _about({"version": "3"})}


def loop() -> dict[str, bytes]:
    """One whose runs take some 75 ms of a CPU each, and which cannot batch.

    With a limit of less than a CPU a run is longer than what the kernel gives in one of its periods, so that it takes a
    few of them, whatever else the machine does: replicas add to each other, also where they share two busy cores.
    """
    return {"model.onnx": _written(_loop())}


def loop_counting() -> dict[str, bytes]:
    """The same with a state: how often a session was asked."""
    model = _loop()
    one = helper.make_tensor("step", TensorProto.FLOAT, [1], [1.0])
    before, after = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("state_in_count", "state_out_count")
    )
    model.graph.initializer.append(one)
    model.graph.input.append(before)
    model.graph.output.append(after)
    model.graph.node.append(helper.make_node("Add", ["state_in_count", "step"], ["state_out_count"]))
    return {"model.onnx": _written(model)}


def _loop() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return onnx.load(models.slow(Path(folder) / "model.onnx", 3000))


def build() -> dict[str, images.Image]:
    """The images by the names of their models; they take milliseconds to make."""
    contents: dict[str, Mapping[str, bytes]] = {
        **{f"adder-{version}": {"model.onnx": adder(version)} for version in VERSIONS},
        "garbage": {"model.onnx": GARBAGE},
        "ledger": {"model.onnx": _written(ledger.model()), "mooring.json": _about()},
        "ledger-equal": ledger_equal(),
        "ledger-converted": ledger_converted(),
        "ledger-unreadable": ledger_unreadable(),
        "loop": loop(),
        "loop-counting": loop_counting(),
        "speech": speech_models.first(),
        "speech-equal": speech_models.equal(),
        "speech-converted": speech_models.converted(),
        "speech-unreadable": speech_models.unreadable(),
    }
    return {name: images.model_image(name, files) for name, files in contents.items()}


def _about(state: Mapping[str, Any] | None = None) -> bytes:
    about: dict[str, Any] = {"batching": {"maxSize": 32}}
    return json.dumps(about | ({"state": dict(state)} if state else {})).encode()


def _doubling(two: Any) -> bytes:
    """A converter that doubles `state_in_count`."""
    tensor = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", 1])
        for name in ("state_in_count", "state_out_count")
    ]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["state_in_count", "two"], ["state_out_count"])], "convert", tensor[:1], tensor[1:]
    )
    graph.initializer.append(two)
    return _written(helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION))


def _written(model: Any) -> bytes:
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
