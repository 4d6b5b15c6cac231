"""The models of the benchmark, each in two forms: with its state, and as a model that computes the same without one.

`tiny` is the tiny model of `make bench-runtime` (16-64-64-4) with a state of 4 numbers. `recurrent` has a hidden state
of 1024 numbers (4 KiB) and as many layers of 1024 as one run takes a millisecond for.
"""

import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

INPUTS = 16
WIDTH = 1024
MAX_BATCH = 32
SECONDS = 0.001
"""What one run of the recurrent model should take, alone on a core."""
STATE = {"tiny": 4, "recurrent": WIDTH}


def tiny(folder: Path, *, stateful: bool) -> Path:
    """y = network(x) + h / 2, the next h is y."""
    return _write(folder, _Graph().layers("x", (INPUTS, 64, 64, 4), "net"), "net", 4, stateful=stateful)


def recurrent(folder: Path, layers: int, *, stateful: bool) -> Path:
    """h' = layers(x U + h); y = h' V. Without a state h is zeros, and everything else is computed all the same."""
    graph = _Graph().layers("x", (INPUTS, WIDTH), "seen")
    return _write(folder, graph, "seen", WIDTH, stateful=stateful, layers=layers)


def calibrate(folder: Path) -> int:
    """Layers of the recurrent model with which a run of one sample takes about a millisecond here."""
    few, many = 2, 8
    spent = [_seconds(recurrent(folder / f"calibrate-{layers}", layers, stateful=False)) for layers in (few, many)]
    each = max((spent[1] - spent[0]) / (many - few), 1e-5)
    return max(1, round(few + (SECONDS - spent[0]) / each))


def run_seconds(file: Path, batch: int) -> float:
    """Median seconds of a run of so many samples."""
    return _seconds(file, batch)


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(0)

    def layers(self, source: str, sizes: Sequence[int], target: str) -> "_Graph":
        """Dense layers with a Relu between them, from one tensor to another."""
        current = source
        for index, (rows, columns) in enumerate(itertools.pairwise(sizes)):
            last = index == len(sizes) - 2
            name = f"{target}.w{index}"
            matrix = (self._random.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
            self.weights.append(numpy_helper.from_array(matrix, name))
            product = target if last else f"{target}.p{index}"
            self.nodes.append(helper.make_node("MatMul", [current, name], [product]))
            if not last:
                self.nodes.append(helper.make_node("Relu", [product], [f"{target}.r{index}"]))
                current = f"{target}.r{index}"
        return self


def _write(folder: Path, graph: _Graph, seen: str, size: int, *, stateful: bool, layers: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    graph.weights.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    before = "state_in_h" if stateful else "nothing"
    if not stateful:
        graph.weights.append(numpy_helper.from_array(np.zeros((1, size), np.float32), before))
    graph.nodes += [
        helper.make_node("Mul", [before, "half"], ["kept"]),
        helper.make_node("Add", [seen, "kept"], ["sum"]),
    ]
    graph.layers("sum", (size, *[size] * layers), "deep") if layers else None
    graph.nodes.append(helper.make_node("Tanh", ["deep" if layers else "sum"], ["state_out_h"]))
    if layers:
        graph.layers("state_out_h", (size, 4), "y")
    else:
        graph.nodes.append(helper.make_node("Identity", ["state_out_h"], ["y"]))
    inputs, outputs = [_value("x", INPUTS)], [_value("y", 4)]
    if stateful:
        inputs.append(_value("state_in_h", size))
        outputs.append(_value("state_out_h", size))
    made = helper.make_graph(graph.nodes, "m", inputs, outputs, graph.weights)
    file = folder / "model.onnx"
    opsets = [helper.make_opsetid("", 17)]
    file.write_bytes(helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString())
    (folder / "mooring.json").write_text(json.dumps({"batching": {"maxSize": MAX_BATCH}}))
    return file


def _value(name: str, size: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])


def _seconds(file: Path, batch: int = 1) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    feed = {each.name: random.standard_normal((batch, each.shape[1]), np.float32) for each in session.get_inputs()}
    session.run(None, feed)
    spent = []
    for _ in range(200):
        began = time.perf_counter()
        session.run(None, feed)
        spent.append(time.perf_counter() - began)
    return sorted(spent)[len(spent) // 2]
