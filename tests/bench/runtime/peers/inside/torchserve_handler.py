"""Runs in TorchServe's worker: the model by onnxruntime on one thread, a batch at a time."""

import json
import os
from typing import Any

import numpy as np
import onnxruntime as ort

_sessions: list[Any] = []


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[dict[str, Any]] | None:
    """What TorchServe calls: once without data to load, then with the requests of a batch."""
    if not _sessions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        file = os.environ["BENCH_MODEL_FILE"]
        _sessions.append(ort.InferenceSession(file, options, providers=["CPUExecutionProvider"]))
    if not data:
        return None
    parts = []
    for each in data:
        body: Any = each.get("body") or each.get("data")
        if isinstance(body, bytes | bytearray | str):
            body = json.loads(body)
        tensor = body["inputs"][0]
        parts.append(np.array(tensor["data"], np.float32).reshape(tensor["shape"]))
    [found] = _sessions[0].run(["y"], {"x": np.concatenate(parts)})
    return [
        {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, len(row)], "data": row.tolist()}]} for row in found
    ]
