"""Runs between buffers of the device that stay where they are, so that CUDA can record a run and replay it.

A CUDA graph replays fixed addresses and sizes. So each shape of the inputs has its own buffers and its own graph, and
only a model whose sizes are known before the run can have them: every size fixed, but for the first of a batched model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from mooring_runtime.messages import DATATYPES, Array, ModelMetadata

MOST_SHAPES = 16
"""Graphs of one model; each holds its buffers for as long as the model is loaded. Further shapes run unrecorded."""

Run = Callable[[Sequence[str], Mapping[str, Array], Any], list[Array]]
Shapes = tuple[tuple[int, ...], ...]


def obstacle(metadata: ModelMetadata) -> str | None:
    """Why runs of this model cannot be recorded; None when they can."""
    free_from = 1 if metadata.batched else 0
    for role, specs in (("input", metadata.inputs), ("output", metadata.outputs)):
        for spec in specs.values():
            if spec.datatype in ("BYTES", "BF16"):
                return f"{role} '{spec.name}' is {spec.datatype}"
            if -1 in spec.shape[free_from:] or not spec.shape:
                return f"{role} '{spec.name}' has shape {list(spec.shape)}, whose sizes are not all fixed"
    return None


class Recorded:
    """One model's recorded runs, on the device that onnxruntime calls `device` (`cuda`)."""

    def __init__(self, session: Any, run: Run, metadata: ModelMetadata, device: str) -> None:
        self._session = session
        self._run = run
        self._metadata = metadata
        self._device = device
        self._shapes: dict[Shapes, _Buffers] = {}

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """As `Backend.infer`: the first run of a shape records it, later ones replay it."""
        shapes = tuple(inputs[name].shape for name in self._metadata.inputs)
        buffers = self._shapes.get(shapes)
        if buffers is None and self._records(shapes):
            buffers = _Buffers(self._session, self._metadata, shapes, self._device)
            self._shapes[shapes] = buffers
            buffers.graph = len(self._shapes)
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", "-1" if buffers is None else str(buffers.graph))
        if buffers is None:
            return self._run(outputs, inputs, options)
        return buffers.run(self._session, inputs, outputs, options)

    def _records(self, shapes: Shapes) -> bool:
        return len(self._shapes) < MOST_SHAPES and all(0 not in shape for shape in shapes)


class _Buffers:
    """The inputs and outputs of one shape, bound once."""

    def __init__(self, session: Any, metadata: ModelMetadata, shapes: Shapes, device: str) -> None:
        self.graph = 0
        samples = shapes[0][0] if metadata.batched else 0
        self._binding = session.io_binding()
        self._inputs = {}
        self._outputs = {}
        for spec, shape in zip(metadata.inputs.values(), shapes, strict=True):
            value = _buffer(shape, spec.datatype, device)
            self._inputs[spec.name] = value
            self._binding.bind_ortvalue_input(spec.name, value)
        for spec in metadata.outputs.values():
            shape = (samples, *spec.shape[1:]) if metadata.batched else spec.shape
            value = _buffer(shape, spec.datatype, device)
            self._outputs[spec.name] = value
            self._binding.bind_ortvalue_output(spec.name, value)

    def run(self, session: Any, inputs: Mapping[str, Array], outputs: Sequence[str], options: Any) -> list[Array]:
        for name, value in self._inputs.items():
            value.update_inplace(np.ascontiguousarray(inputs[name]))
        session.run_with_iobinding(self._binding, options)
        # A copy also where `numpy` gives a view: the next run writes into the buffer.
        return [np.array(self._outputs[name].numpy()) for name in outputs]


def _buffer(shape: tuple[int, ...], datatype: str, device: str) -> Any:
    return ort.OrtValue.ortvalue_from_shape_and_type(list(shape), DATATYPES[datatype].dtype, device, 0)
