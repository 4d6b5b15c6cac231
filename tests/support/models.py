"""Small ONNX models, made when a test needs one."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from mooring_runtime.messages import DATATYPES

OPSET = 17
ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}

Shape = Sequence[int | str | None]


def save(graph: GraphProto, file: Path) -> Path:
    """Write the graph as a model."""
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    file.write_bytes(model.SerializeToString())
    return file


def echo(file: Path, datatypes: Sequence[str] = ("FP32",), shape: Shape = ("batch", "n")) -> Path:
    """Input `in_DATATYPE` comes back as `out_DATATYPE`, for each datatype named."""
    nodes, inputs, outputs = [], [], []
    for name in datatypes:
        kind = ONNX_TYPES[name]
        nodes.append(helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]))
        inputs.append(helper.make_tensor_value_info(f"in_{name}", kind, shape))
        outputs.append(helper.make_tensor_value_info(f"out_{name}", kind, shape))
    return save(helper.make_graph(nodes, "echo", inputs, outputs), file)


ALL_BUT_BF16 = tuple(name for name in DATATYPES if name != "BF16")
"""onnxruntime's Python carries no model with both strings and bfloat16."""


def perceptron(file: Path, sizes: Sequence[int] = (16, 64, 64, 4)) -> Path:
    """`x` [batch, first size] to `y` [batch, last size], FP32, with fixed random weights."""
    random = np.random.default_rng(0)
    nodes, weights, current = [], [], "x"
    for index, (rows, columns) in enumerate(itertools.pairwise(sizes)):
        matrix = (random.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{index}"))
        last = index == len(sizes) - 2
        nodes.append(helper.make_node("MatMul", [current, f"w{index}"], ["y" if last else f"h{index}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{index}"], [f"r{index}"]))
            current = f"r{index}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", sizes[0]])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", sizes[-1]])]
    return save(helper.make_graph(nodes, "perceptron", inputs, outputs, weights), file)


def scaled(file: Path, factor: float, padding: int = 0) -> Path:
    """`x` [n] FP32 to `y`, `factor` times as much; `padding` is bytes of weights that are there and change nothing."""
    weights = [numpy_helper.from_array(np.array(factor, dtype=np.float32), "factor")]
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    if padding:
        weights.append(numpy_helper.from_array(np.zeros(padding // 4, dtype=np.float32), "padding"))
        nodes = [
            helper.make_node("ReduceSum", ["padding"], ["nothing"], keepdims=0),
            helper.make_node("Mul", ["x", "factor"], ["product"]),
            helper.make_node("Add", ["product", "nothing"], ["y"]),
        ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])]
    return save(helper.make_graph(nodes, "scaled", inputs, outputs, weights), file)


def slow(file: Path, turns: int = 300) -> Path:
    """`x` [1] FP32 comes back as `y` after `turns` turns of a loop that multiplies 128x128 matrices."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["matrix", "matrix"], ["product"]),
            helper.make_node("Softmax", ["product"], ["matrix_out"]),
            helper.make_node("Identity", ["going"], ["going_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("matrix", TensorProto.FLOAT, [128, 128]),
        ],
        [
            helper.make_tensor_value_info("going_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("matrix_out", TensorProto.FLOAT, [128, 128]),
        ],
    )
    weights = [
        numpy_helper.from_array(np.array(turns, dtype=np.int64), "turns"),
        numpy_helper.from_array(np.array(1, dtype=np.bool_), "always"),
        numpy_helper.from_array(np.full((128, 128), 0.01, dtype=np.float32), "start"),
        numpy_helper.from_array(np.array([0], dtype=np.float32), "zero"),
    ]
    nodes = [
        helper.make_node("Loop", ["turns", "always", "start"], ["end"], body=body),
        helper.make_node("ReduceSum", ["end"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    return save(helper.make_graph(nodes, "slow", inputs, outputs, weights), file)


def gather(file: Path) -> Path:
    """`index` [n] INT64 to `y` [n] FP32: elements of a table of 4; any other index makes the model fail."""
    table = numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")
    inputs = [helper.make_tensor_value_info("index", TensorProto.INT64, ["n"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])]
    return save(
        helper.make_graph([helper.make_node("Gather", ["table", "index"], ["y"])], "gather", inputs, outputs, [table]),
        file,
    )


def with_external_data(file: Path, location: str) -> Path:
    """`x` [n, 4] plus a weight whose 16 bytes are in another file, named by `location`."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weight.external_data.add(key=key, value=value)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])]
    return save(
        helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "external", inputs, outputs, [weight]), file
    )


def with_custom_operator(file: Path) -> Path:
    """A model that needs a library of operators that onnxruntime does not have."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])]
    node = helper.make_node("Anything", ["x"], ["y"], domain="com.example")
    graph = helper.make_graph([node], "custom", inputs, outputs)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.example", 1)]
    file.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
    return file


def with_sequence_output(file: Path) -> Path:
    """A model whose output is a sequence of tensors, which the V2 protocol cannot carry."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    outputs = [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["n"])]
    return save(
        helper.make_graph([helper.make_node("SequenceConstruct", ["x"], ["y"])], "sequence", inputs, outputs), file
    )
