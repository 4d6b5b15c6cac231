"""Small models with state, made when a test needs one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.support.models import ONNX_TYPES, Shape, save

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def _tensor(name: str, shape: Shape, kind: int = FLOAT) -> object:
    return helper.make_tensor_value_info(name, kind, shape)


def accumulator(file: Path, size: int = 1, *, pair: tuple[str, str] = ("state_in_sum", "state_out_sum")) -> Path:
    """`x` [n, size] FP32 to `sum` [n, size]: all that the session was sent, which is its state too."""
    taken, given = pair
    nodes = [
        helper.make_node("Add", ["x", taken], [given]),
        helper.make_node("Identity", [given], ["sum"]),
    ]
    inputs = [_tensor("x", ["n", size]), _tensor(taken, ["n", size])]
    outputs = [_tensor("sum", ["n", size]), _tensor(given, ["n", size])]
    return save(helper.make_graph(nodes, "accumulator", inputs, outputs), file)


def wide(file: Path, size: int) -> Path:
    """`x` [n, 1] FP32 to `sum` [n, 1]: all that the session was sent; its state has it `size` times."""
    bounds = {"begin": 0, "end": 1, "axis": 1}
    weights = [numpy_helper.from_array(np.array([each], np.int64), name) for name, each in bounds.items()]
    nodes = [
        helper.make_node("Add", ["state_in", "x"], ["state_out"]),
        helper.make_node("Slice", ["state_out", "begin", "end", "axis"], ["sum"]),
    ]
    inputs = [_tensor("x", ["n", 1]), _tensor("state_in", ["n", size])]
    outputs = [_tensor("sum", ["n", 1]), _tensor("state_out", ["n", size])]
    return save(helper.make_graph(nodes, "wide", inputs, outputs, weights), file)


def scaled_accumulator(file: Path) -> Path:
    """`x` [n, 1] FP32 and `factor`, a number, to `sum` [n, 1]: all that was sent, each `factor` times."""
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["part"]),
        helper.make_node("Add", ["part", "state_in"], ["state_out"]),
        helper.make_node("Identity", ["state_out"], ["sum"]),
    ]
    inputs = [_tensor("x", ["n", 1]), _tensor("factor", []), _tensor("state_in", ["n", 1])]
    outputs = [_tensor("sum", ["n", 1]), _tensor("state_out", ["n", 1])]
    return save(helper.make_graph(nodes, "scaled_accumulator", inputs, outputs), file)


def layered(file: Path, layers: int = 2, size: int = 3, pair: tuple[str, str] = ("h_in", "h_out")) -> Path:
    """`x` [n, size] FP32 to `y` [n, size], with a state [layers, n, size] as recurrent nets have it: its axis is 1.

    Layer k of the next state is x + (k + 1) * the old; y is the sum of the layers.
    """
    taken, given = pair
    factors = np.arange(1, layers + 1, dtype=np.float32).reshape(layers, 1, 1)
    weights = [
        numpy_helper.from_array(factors, "factors"),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
    ]
    nodes = [
        helper.make_node("Mul", [taken, "factors"], ["scaled"]),
        helper.make_node("Unsqueeze", ["x", "first"], ["wide"]),
        helper.make_node("Add", ["wide", "scaled"], [given]),
        helper.make_node("ReduceSum", [given, "first"], ["y"], keepdims=0),
    ]
    inputs = [_tensor("x", ["n", size]), _tensor(taken, [layers, "n", size])]
    outputs = [_tensor("y", ["n", size]), _tensor(given, [layers, "n", size])]
    return save(helper.make_graph(nodes, "layered", inputs, outputs, weights), file)


def crossed(file: Path, pairs: Mapping[str, str]) -> Path:
    """`x` [n, 1] FP32 to `y` [n, 1], with states [n, 1] by `pairs`, input to output; all have the same shape.

    State number k of `pairs` grows by x * 10^k; y is their sum. The model has its inputs and its outputs in the order
    of their names, so that whoever pairs them by place or by sorting may cross them.
    """
    factors = {name: np.array([[10.0**index]], np.float32) for index, name in enumerate(pairs)}
    weights = [numpy_helper.from_array(value, f"factor_{name}") for name, value in factors.items()]
    nodes = []
    for taken, given in pairs.items():
        nodes.append(helper.make_node("Mul", ["x", f"factor_{taken}"], [f"part_{taken}"]))
        nodes.append(helper.make_node("Add", [taken, f"part_{taken}"], [given]))
    nodes.append(helper.make_node("Sum", list(pairs.values()), ["y"]))
    inputs = [_tensor("x", ["n", 1]), *(_tensor(name, ["n", 1]) for name in sorted(pairs))]
    outputs = [_tensor("y", ["n", 1]), *(_tensor(name, ["n", 1]) for name in sorted(pairs.values()))]
    return save(helper.make_graph(nodes, "crossed", inputs, outputs, weights), file)


def cache(file: Path, heads: int = 2, size: int = 3) -> Path:
    """`token` [n, heads, 1, size] FP32 to `total` [n, heads, size], the sum of all so far, of which a cache is kept.

    `past_key_values.0.key` [n, heads, past, size] grows by one each step, into `present.0.key`.
    """
    taken, given = "past_key_values.0.key", "present.0.key"
    weights = [numpy_helper.from_array(np.array([2], np.int64), "time")]
    nodes = [
        helper.make_node("Concat", [taken, "token"], [given], axis=2),
        helper.make_node("ReduceSum", [given, "time"], ["total"], keepdims=0),
    ]
    inputs = [_tensor("token", ["n", heads, 1, size]), _tensor(taken, ["n", heads, "past", size])]
    outputs = [_tensor("total", ["n", heads, size]), _tensor(given, ["n", heads, "all", size])]
    return save(helper.make_graph(nodes, "cache", inputs, outputs, weights), file)


def stream(file: Path) -> Path:
    """`samples` [n, time] FP32 to `first` [n, 1] and `total` [n]: the first of what a run was fed, and the sum."""
    weights = [
        numpy_helper.from_array(np.array(each, np.int64), name)
        for name, each in (("begin", [0]), ("end", [1]), ("axis", [1]))
    ]
    nodes = [
        helper.make_node("Slice", ["samples", "begin", "end", "axis"], ["first"]),
        helper.make_node("ReduceSum", ["samples", "axis"], ["total"], keepdims=0),
    ]
    inputs = [_tensor("samples", ["n", "time"])]
    outputs = [_tensor("first", ["n", 1]), _tensor("total", ["n"])]
    return save(helper.make_graph(nodes, "stream", inputs, outputs, weights), file)


def converter(file: Path, renamed: Sequence[tuple[str, str]], size: int = 1, factor: float = 1.0) -> Path:
    """States [1, size] FP32 under new names, `factor` times as much: (old name, new name)."""
    weights = [numpy_helper.from_array(np.array(factor, np.float32), "factor")]
    nodes = [helper.make_node("Mul", [old, "factor"], [new]) for old, new in renamed]
    inputs = [_tensor(old, [1, size]) for old, _ in renamed]
    outputs = [_tensor(new, [1, size]) for _, new in renamed]
    return save(helper.make_graph(nodes, "converter", inputs, outputs, weights), file)


def learned(file: Path, first: Sequence[float] = (1, 2, 3), tensor: TensorProto | None = None) -> Path:
    """`x` [n, 3] to `y` [n, 3], the sum of what was sent and of `first`, which the file has as the state's value.

    `tensor` is that value in another form.
    """
    size = len(first)
    value = tensor or numpy_helper.from_array(np.array([first], np.float32), "state_in")
    nodes = [
        helper.make_node("Add", ["x", "state_in"], ["state_out"]),
        helper.make_node("Identity", ["state_out"], ["y"]),
    ]
    inputs = [_tensor("x", ["n", size]), _tensor("state_in", ["n", size])]
    outputs = [_tensor("y", ["n", size]), _tensor("state_out", ["n", size])]
    return save(helper.make_graph(nodes, "learned", inputs, outputs, [value]), file)


def carried(file: Path, datatype: str, size: int = 5, x: str = "FP32") -> Path:
    """`x` [n, 1] comes back as `y`, and a state [n, size] of any datatype stays what it is."""
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["state_in"], ["state_out"])]
    kind = ONNX_TYPES[datatype]
    inputs = [_tensor("x", ["n", 1], ONNX_TYPES[x]), _tensor("state_in", ["n", size], kind)]
    outputs = [_tensor("y", ["n", 1], ONNX_TYPES[x]), _tensor("state_out", ["n", size], kind)]
    return save(helper.make_graph(nodes, "carried", inputs, outputs), file)


def picky(file: Path) -> Path:
    """An accumulator that fails where `x` [n, 1] FP32 is not 0 to 3, of all samples of the run; on a CPU alone."""
    weights = [numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")]
    nodes = [
        helper.make_node("Add", ["x", "state_in"], ["state_out"]),  # Before it fails.
        helper.make_node("Cast", ["x"], ["index"], to=INT64),
        helper.make_node("Gather", ["table", "index"], ["found"]),
        helper.make_node("Sub", ["found", "found"], ["nothing"]),
        helper.make_node("Add", ["state_out", "nothing"], ["sum"]),
    ]
    inputs = [_tensor("x", ["n", 1]), _tensor("state_in", ["n", 1])]
    outputs = [_tensor("sum", ["n", 1]), _tensor("state_out", ["n", 1])]
    return save(helper.make_graph(nodes, "picky", inputs, outputs, weights), file)


def windowed(file: Path) -> Path:
    """`samples` [n, time] FP32 to `total` [n, 1]: the sum of all that the runs were fed, which is its state too."""
    weights = [numpy_helper.from_array(np.array([1], np.int64), "axis")]
    nodes = [
        helper.make_node("ReduceSum", ["samples", "axis"], ["part"]),
        helper.make_node("Add", ["part", "state_in"], ["state_out"]),
        helper.make_node("Identity", ["state_out"], ["total"]),
    ]
    inputs = [_tensor("samples", ["n", "time"]), _tensor("state_in", ["n", 1])]
    outputs = [_tensor("total", ["n", 1]), _tensor("state_out", ["n", 1])]
    return save(helper.make_graph(nodes, "windowed", inputs, outputs, weights), file)


def passed(file: Path) -> Path:
    """`x` [n, 1] to `y`, the sum of it and the state `h`; that is the next state, too, and by the same name."""
    nodes = [helper.make_node("Add", ["x", "h"], ["y"])]
    inputs = [_tensor("x", ["n", 1]), _tensor("h", ["n", 1])]
    return save(helper.make_graph(nodes, "passed", inputs, [_tensor("y", ["n", 1]), _tensor("h", ["n", 1])]), file)


def drawing(file: Path) -> Path:
    """An accumulator of `x` [n, 1] whose answer `noise` [n, 1] is drawn at random."""
    nodes = [
        helper.make_node("Add", ["x", "state_in"], ["state_out"]),
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
    ]
    inputs = [_tensor("x", ["n", 1]), _tensor("state_in", ["n", 1])]
    outputs = [_tensor("noise", ["n", 1]), _tensor("state_out", ["n", 1])]
    return save(helper.make_graph(nodes, "drawing", inputs, outputs), file)


def scaled(file: Path) -> Path:
    """An accumulator `y` [n, 1] of `x` [n, 1] times the scalar `rate`, which it needs to have no axis."""
    weights = [numpy_helper.from_array(np.array([each], np.int64), name) for name, each in (("first", 0), ("one", 1))]
    nodes = [
        helper.make_node("Unsqueeze", ["rate", "first"], ["listed"]),
        helper.make_node("Concat", ["listed", "one"], ["both"], axis=0),
        helper.make_node("ReduceProd", ["both"], ["product"]),
        helper.make_node("Cast", ["product"], ["factor"], to=FLOAT),
        helper.make_node("Mul", ["x", "factor"], ["part"]),
        helper.make_node("Add", ["part", "state_in"], ["state_out"]),
        helper.make_node("Identity", ["state_out"], ["y"]),
    ]
    inputs = [_tensor("x", ["n", 1]), _tensor("rate", [], INT64), _tensor("state_in", ["n", 1])]
    outputs = [_tensor("y", ["n", 1]), _tensor("state_out", ["n", 1])]
    return save(helper.make_graph(nodes, "scaled", inputs, outputs, weights), file)


def mixed(file: Path) -> Path:
    """An accumulator `y` of `x` [n, 1], and beside its sum a state that grows: all that was sent."""
    nodes = [
        helper.make_node("Concat", ["past.sent", "x"], ["present.sent"], axis=1),
        helper.make_node("Add", ["x", "state_in"], ["state_out"]),
        helper.make_node("Identity", ["state_out"], ["y"]),
    ]
    inputs = [_tensor("x", ["n", 1]), _tensor("past.sent", ["n", "before"]), _tensor("state_in", ["n", 1])]
    outputs = [_tensor("y", ["n", 1]), _tensor("present.sent", ["n", "after"]), _tensor("state_out", ["n", 1])]
    return save(helper.make_graph(nodes, "mixed", inputs, outputs), file)
