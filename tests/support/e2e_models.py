"""Model images for the end-to-end tests: versions that tell themselves apart, and broken ones."""

import onnx
from onnx import TensorProto, helper

from tests.cluster import images

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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def build() -> dict[str, images.Image]:
    """The images by the names of their models; they take milliseconds to make."""
    contents = {f"adder-{version}": adder(version) for version in VERSIONS} | {"garbage": GARBAGE}
    return {name: images.model_image(name, {"model.onnx": content}) for name, content in contents.items()}
