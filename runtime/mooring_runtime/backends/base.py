"""The seam between the server and the frameworks: what a backend must be, and how one is loaded.

A backend is a module of this package with a function `load` of the type `Load`. To add one, write that module, name its
format in `MODULES`, in `settings.FORMATS` and its file suffix in `repository.files`, and give it an extra in
`pyproject.toml`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

from mooring_runtime.errors import InferenceFailed, ModelInvalid, UnsafeFormat
from mooring_runtime.messages import Array, ModelMetadata, Parameter, StatePair, Tensor, TensorSpec

if TYPE_CHECKING:  # A server that keeps no sessions has no use for it.
    from mooring_runtime.backends.arena import Arena

MODULES: Mapping[str, str] = {
    "onnx": "mooring_runtime.backends.onnx",
    "python": "mooring_runtime.backends.python",
    "torch-export": "mooring_runtime.backends.torch.export",
    "torchscript": "mooring_runtime.backends.torch.script",
}
"""Module of each format."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is to be loaded: from the settings, and from the model's own `mooring.json`."""

    name: str
    version: str
    threads: int
    """Threads of one run on a CPU."""
    accelerator: bool = True
    """Whether a GPU may be used; `check` runs where there is none."""
    allow_unsafe: bool = False
    """Whether a format may be loaded that runs code from the file."""
    device_memory: int | None = None
    """Most bytes that the model may take of a GPU's memory; None: as many as there are."""
    device_state: int = 0
    """Bytes of a GPU's memory in which states of the model's sessions may stay between steps; 0: none do."""
    hold_anywhere: bool = False
    """Whether states may stay on a CPU in the way of a GPU; tests compare the two."""
    cuda_graph: bool = False
    """Whether to record a run on a GPU once and replay it; only for a model whose sizes are all fixed."""
    compile: bool = False
    """Whether to translate a torch model by `torch.compile`: a slow start and quicker runs."""
    sessions: bool = False
    """Whether the server keeps the state of models between requests; else clients carry it."""
    measure: bool = False
    """Whether larger runs belong to the warm-up, so that the curve of the run times is known from the start."""
    max_batch: int | None = None
    """Most samples of one run; None leaves it to the model."""
    inputs: tuple[TensorSpec, ...] = ()
    """What the model takes, for formats that do not carry it."""
    outputs: tuple[TensorSpec, ...] = ()
    """What the model gives, for formats that do not carry it."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Output name to the label of each index of its last axis."""

    @property
    def device_state_bytes(self) -> int:
        """`device_state` where the server keeps states, and at most a quarter of `device_memory`, which it is in."""
        if not self.sessions:
            return 0
        return self.device_state if self.device_memory is None else min(self.device_state, self.device_memory // 4)


def require_allowed(file: Path, what: str, options: LoadOptions) -> None:
    """Raise UnsafeFormat unless the settings allow formats that run code; `what` says which one `file` is."""
    if not options.allow_unsafe:
        raise UnsafeFormat(
            f"{file.name} is {what}: loading it would execute code from the file; if you trust it, set "
            "MOORING_ALLOW_UNSAFE_FORMATS=true (runtime.allowUnsafeFormats of the service)"
        )


class Backend(Protocol):
    """A loaded model. Whoever writes one may derive from this, and then has `stream` and `close`."""

    metadata: ModelMetadata
    """Name, platform and tensors."""
    device: str
    """Where it really runs (`CPU`, `CUDA`, `TensorRT`, `cuda:0`): a silent fall-back to a CPU must be seen."""
    memory: int
    """Bytes of the loaded weights, or of the file where the framework does not tell; for eviction and statistics."""
    pairs: tuple[StatePair, ...] = ()
    """State that the model's own code declares; each stands among the inputs and the outputs of `metadata` as well."""
    defaults: Mapping[str, TensorSpec] = MappingProxyType({})
    """Inputs beside those of `metadata` that have a value of the model's own, `default`, when they are not given."""
    session_ended: Callable[[str, Sequence[Tensor], str], None] | None = None
    """What the model's own code does when a session has ended, told its id, its last state and the cause. It is called
    on any thread, blocks, and raises nothing. None: nothing."""
    arena: Any = None
    """What the scheduler calls an `Arena`. Of a loaded model with state it is `Stateful` that has one, by `hold`."""

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run once. Inputs are by name and complete, in the dtypes of their datatypes; outputs come in the order named.

        Called by one thread at a time, without the interpreter's lock for as long as the framework can. The arrays that
        are returned belong to the caller: no later run writes into them.
        Raises ModelRefused when the tensors are at fault, InferenceFailed when the model is.
        """

    def stream(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, Parameter]
    ) -> Iterator[list[Array]]:
        """Run a model that gives any number of replies, each like one result of `infer`; `parameters` are the client's.

        Called only where `metadata.decoupled` or `metadata.takes_parameters`, on the thread of `infer`. Closing the
        iterator ends the run. Raises, also while it is read, as `infer` does.
        """
        raise InferenceFailed(f"model '{self.metadata.name}' gives one reply to a request; it cannot stream")

    def default(self, name: str) -> Array:
        """The value of one of `defaults`. Raises ModelInvalid where it cannot be read."""
        raise ModelInvalid(f"model '{self.metadata.name}' has no value of its own for '{name}'")

    def hold(self, pairs: Sequence[StatePair], most: int, options: LoadOptions) -> "Arena | None":
        """Memory of the device where states stay between runs; None where there is none, or the CPU is the device.

        `pairs` have an axis of their sessions, fixed sizes and no BYTES; a run has `most` samples at most. Called once,
        between runs; whoever has it closes it before the model. Raises whatever the framework does when it cannot.
        """
        return None

    def close(self) -> None:
        """Give back what the model holds; called once, after its last run."""
        return


class Load(Protocol):
    """`load` of a backend's module."""

    def __call__(self, file: Path, options: LoadOptions) -> Backend:
        """Load the model in `file`. Raises ModelInvalid with the framework's own words.

        Raises UnsafeFormat where loading would run code from the file and `options` do not allow it.
        """


def loader(model_format: str) -> Load:
    """The `load` of a format. Raises ModelInvalid where this build lacks its framework."""
    try:
        module = import_module(MODULES[model_format])
    except ModuleNotFoundError as error:
        raise ModelInvalid(
            f"this image cannot serve the format {model_format}: its Python has no module {error.name}; "
            f"take the image variant {MODULES[model_format].split('.')[2]}"
        ) from error
    return cast(Load, module.load)
