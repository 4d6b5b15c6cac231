"""What a request and its answer are, whatever protocol carried them: immutable, and no bytes of any protocol."""

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mooring_runtime.messages.datatypes import DATATYPES, FROM_ONNX, Datatype
from mooring_runtime.messages.state import SessionCall, SessionInfo, StatePair, StateSchema

__all__ = [
    "DATATYPES",
    "DEFAULT_MAX_BATCH",
    "FROM_ONNX",
    "NONE",
    "Array",
    "Datatype",
    "Fitted",
    "InferRequest",
    "InferResponse",
    "ModelMetadata",
    "Parameter",
    "SessionCall",
    "SessionInfo",
    "StatePair",
    "StateSchema",
    "Tensor",
    "TensorSpec",
    "Traits",
]

Array = np.ndarray[Any, np.dtype[Any]]

Parameter = bool | int | float | str
"""The value of a parameter of a request or an answer."""

NONE: Mapping[str, Parameter] = MappingProxyType({})
"""No parameters."""


_MOST_SHAPES = 256
"""Shapes of an input that are kept; clients choose them, and must not fill the memory with them."""


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

    __slots__ = ("_fixed", "datatype", "fits", "name", "shape")

    def __init__(self, name: str, datatype: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self._fixed = [(axis, size) for axis, size in enumerate(shape) if size >= 0]
        self.fits: set[tuple[int, ...]] = set()
        """Shapes that `takes` has found to fit: quicker to ask on the way of every request."""

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of `shape` fits."""
        if len(shape) != len(self.shape):
            return not self.shape
        if any(shape[axis] != size for axis, size in self._fixed):
            return False
        if len(self.fits) < _MOST_SHAPES:
            self.fits.add(shape)
        return True


class InferRequest(NamedTuple):
    """One request for a model; `outputs` names the outputs wanted, none meaning all."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    id: str | None = None
    parameters: Mapping[str, Parameter] = NONE
    """The client's own, those that no protocol reserves; a backend gets them when its model takes them."""
    priority: int = 0
    """1 is the highest; 0 is the model's default level."""
    timeout: float | None = None
    """Seconds from arrival that the request may wait for its run; after them it is answered 503 and does not run."""
    session: SessionCall | None = None
    """The session that the request is a step of; None: it names none."""


class Fitted(NamedTuple):
    """A request that was already held against what its model takes, with nothing special about it."""

    feeds: dict[str, Array]
    """Arrays by input; all of them."""
    outputs: tuple[str, ...]
    """The outputs wanted."""
    size: int
    """Bytes of the arrays."""
    rows: int
    """Samples; 1 where the model does not count them."""
    like: Hashable
    """Requests of the same value may share a run; of None, none."""
    id: str | None = None
    session: SessionCall | None = None
    """The session that the request is a step of; None: it names none."""

    def whole(self, metadata: "ModelMetadata") -> InferRequest:
        """The request that says the same; `metadata` are those of the model that it was held against."""
        specs = metadata.inputs
        tensors = tuple([Tensor(name, specs[name].datatype, array) for name, array in self.feeds.items()])
        return InferRequest(tensors, self.outputs, self.id, session=self.session)


class InferResponse(NamedTuple):
    """One answer to a request; `id` is the request's."""

    model_name: str
    model_version: str
    outputs: tuple[Tensor, ...]
    id: str | None = None
    parameters: Mapping[str, Parameter] = NONE
    final: bool = True
    """False: more answers to the same request follow, which only a decoupled model gives."""
    session: SessionInfo | None = None
    """What became of the session; None: the request named none."""


class Traits(NamedTuple):
    """What a model's file or configuration says of it beside its tensors."""

    max_batch: int | None = None
    """The most samples of one request and of one run, when somebody said so. 0 or 1: no run serves several requests,
    and a request may have any first size, which then need not count samples."""
    decoupled: bool = False
    """Gives any number of answers to one request."""
    parameters: bool = False
    """Takes the client's own parameters. A request that has some runs alone, by `Backend.stream`."""
    labels: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """By output: the label of each index, for classification."""
    state: StateSchema | None = None
    """What it keeps between the steps of a session; None: nothing. Its tensors are not among the model's."""


DEFAULT_MAX_BATCH = 32
"""Samples of one run of a model that can batch and whose configuration states no bound. Beyond it a run grows as long
as the samples do (measured on a CPU: 32 give 90 % of the speed of 64), and makes each request wait longer."""


class ModelMetadata:
    """What a loaded model is: its name, version, platform and tensors; immutable by custom.

    - `inputs`, `outputs`: specs by name, in the model's own order; `output_names` the same as a tuple.
    - `batched`: the first size of every input and output is free, so that the first size of an input counts samples.
    - `max_batch`: the most samples of one run; 0 when the model does not batch.
    - `batch_limit`: the most samples of one request; None when nobody stated one, so that a larger one runs alone.
    - `uniform`: only the first size of the inputs is free, so that any two requests fit into one run.
    - `binary_only`: the outputs that JSON cannot carry.
    - `decoupled`, `takes_parameters`, `labels`, `state`: see `Traits`, of which `traits` are what was said.
    - `askable`: what a request may name as an output: `outputs`, and of a stateful model the tensors of its next state.
    """

    __slots__ = (
        "askable",
        "batch_limit",
        "batched",
        "binary_only",
        "decoupled",
        "inputs",
        "labels",
        "max_batch",
        "memo",
        "name",
        "output_names",
        "outputs",
        "platform",
        "state",
        "takes_parameters",
        "traits",
        "uniform",
        "version",
    )

    def __init__(
        self,
        name: str,
        version: str,
        platform: str,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        traits: Traits = Traits(),  # noqa: B008 - immutable
    ) -> None:
        self.name = name
        self.version = version
        self.platform = platform
        self.inputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in inputs}
        self.outputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in outputs}
        self.output_names = tuple(self.outputs)
        self.binary_only = [spec.name for spec in outputs if not DATATYPES[spec.datatype].json]
        self.state = traits.state
        pairs = () if traits.state is None else traits.state.pairs
        hidden = {pair.output: TensorSpec(pair.output, pair.datatype, pair.shape) for pair in pairs}
        self.askable: Mapping[str, TensorSpec] = {**self.outputs, **hidden}
        self.batched = (
            bool(inputs)
            and all(spec.shape[:1] == (-1,) for spec in (*inputs, *outputs))
            and all(pair.axis is not None for pair in pairs)
        )
        self.memo: dict[Any, Any] = {}
        """What front ends have found out about requests for this model, by their own keys, for the next time."""
        self.traits = traits
        self.decoupled = traits.decoupled
        self.takes_parameters = traits.parameters
        self.labels = traits.labels
        stated = traits.max_batch
        most = DEFAULT_MAX_BATCH if stated is None else stated
        self.max_batch = most if self.batched and most > 1 and not traits.decoupled else 0
        self.batch_limit = stated if self.max_batch else None
        self.uniform = all(-1 not in spec.shape[1:] for spec in inputs)

    def with_traits(self, traits: Traits) -> "ModelMetadata":
        """The same model, of which a configuration says `traits`."""
        inputs, outputs = tuple(self.inputs.values()), tuple(self.outputs.values())
        return ModelMetadata(self.name, self.version, self.platform, inputs, outputs, traits)
