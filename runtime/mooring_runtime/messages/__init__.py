"""What a request and its answer are, whatever protocol carried them: immutable, and no bytes of any protocol."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mooring_runtime.messages.datatypes import DATATYPES, FROM_ONNX, Datatype

__all__ = [
    "DATATYPES",
    "FROM_ONNX",
    "Datatype",
    "InferRequest",
    "InferResponse",
    "ModelMetadata",
    "Tensor",
    "TensorSpec",
]

Array = np.ndarray[Any, np.dtype[Any]]


class Tensor(NamedTuple):
    """A named array with its V2 datatype; `array` has the datatype's dtype and C order, and nobody writes to it."""

    name: str
    datatype: str
    array: Array


class TensorSpec:
    """What a model takes or gives under one name; immutable by custom.

    -1 in `shape` is a size that each request chooses; an empty shape is a scalar or a tensor of unknown rank, which
    onnxruntime does not tell apart.
    """

    __slots__ = ("_fixed", "datatype", "name", "shape")

    def __init__(self, name: str, datatype: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self._fixed = [(axis, size) for axis, size in enumerate(shape) if size >= 0]

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of `shape` fits."""
        if len(shape) != len(self.shape):
            return not self.shape
        for axis, size in self._fixed:  # noqa: SIM110 - a generator costs more than the loop that it hides
            if shape[axis] != size:
                return False
        return True


class InferRequest(NamedTuple):
    """One request for a model; `outputs` names the outputs wanted, none meaning all."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    id: str | None = None


class InferResponse(NamedTuple):
    """The answer to one request; `id` is the request's."""

    model_name: str
    model_version: str
    outputs: tuple[Tensor, ...]
    id: str | None = None


class ModelMetadata:
    """What a loaded model is: its name, version, platform and tensors; immutable by custom.

    `inputs` and `outputs` map names to specs in the model's own order. `batched` tells that the first size of every
    input and output is free, so that the first size of an input counts samples. `binary_only` names the outputs that
    JSON cannot carry.
    """

    __slots__ = ("batched", "binary_only", "inputs", "name", "output_names", "outputs", "platform", "version")

    def __init__(
        self, name: str, version: str, platform: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> None:
        self.name = name
        self.version = version
        self.platform = platform
        self.inputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in inputs}
        self.outputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in outputs}
        self.output_names = tuple(self.outputs)
        self.binary_only = [spec.name for spec in outputs if not DATATYPES[spec.datatype].json]
        self.batched = bool(inputs) and all(spec.shape[:1] == (-1,) for spec in (*inputs, *outputs))
