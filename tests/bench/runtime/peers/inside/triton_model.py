"""Runs in Triton's Python backend: the model by onnxruntime on one thread, a batch at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb


class TritonPythonModel:
    """What Triton looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model beside this file."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        file = Path(args["model_repository"], args["model_version"], "model.onnx")
        self._session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all requests of a batch by one run."""
        parts = [pb.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        batch = parts[0] if len(parts) == 1 else np.concatenate(parts)
        [found] = self._session.run(["y"], {"x": batch})
        responses, row = [], 0
        for part in parts:
            rows = len(part)
            responses.append(pb.InferenceResponse([pb.Tensor("y", found[row : row + rows])]))
            row += rows
        return responses
