"""A model from its file to ready, and the table of all models.

Loading happens on a thread, so that the probes answer meanwhile: a model of gigabytes takes minutes. A model whose
loading fails ends the process: the pod's status then says why, and the kubelet tries again.
"""

import enum
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mooring_runtime.backends.base import Backend, Load, LoadOptions
from mooring_runtime.errors import DigestMismatch, ModelNotReady, RequestError, UnknownModel
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, TensorSpec
from mooring_runtime.metrics import ModelStats
from mooring_runtime.repository.digest import check_digest
from mooring_runtime.repository.files import find_model_file, model_format
from mooring_runtime.scheduling import Executor
from mooring_runtime.scheduling.policy import RunTimes

log = logging.getLogger(__name__)

VERSION = "1"
"""Of a model that stands alone: it has this one version."""

Feeds = tuple[dict[str, Array], Sequence[str]]
"""What one run takes: arrays by input name, and the outputs wanted."""


class State(enum.Enum):
    """Where a model is on its way."""

    LOADING = "loading"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from, as the settings say."""

    path: Path
    """A file, or a directory that holds one."""
    format: str | None = None
    sha256: str | None = None


class Model:
    """One version of one model."""

    def __init__(self, name: str, stats: ModelStats, version: str = VERSION) -> None:
        self.name = name
        self.version = version
        self.stats = stats
        self.state = State.LOADING
        self.times = RunTimes()
        self._metadata: ModelMetadata | None = None
        self._executor: Executor[Feeds, list[Array]] | None = None

    @property
    def metadata(self) -> ModelMetadata:
        """What the model takes and gives. Raises ModelNotReady before it is loaded."""
        if self._metadata is None:
            raise ModelNotReady(f"model '{self.name}' is {self.state.value}")
        return self._metadata

    @property
    def executor(self) -> Executor[Feeds, list[Array]]:
        """Runs the model. Raises ModelNotReady before it is loaded."""
        if self._executor is None:
            raise ModelNotReady(f"model '{self.name}' is {self.state.value}")
        return self._executor

    def serve(self, backend: Backend) -> None:
        """From now on requests are run by `backend`, which `load_backend` made; called on the event loop."""
        self._metadata = backend.metadata
        executor: Executor[Feeds, list[Array]] = Executor(lambda work: backend.infer(*work), times=self.times)
        self._executor = executor
        self.stats.load = lambda: executor.load
        self.state = State.READY
        self.stats.ready = True

    def close(self) -> None:
        """Let the model's thread end."""
        if self._executor is not None:
            self._executor.close()


class Repository:
    """The models of this process by name."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}

    def add(self, model: Model) -> None:
        """Put a model under its name; it may still be loading."""
        self._models[model.name] = model

    def names(self) -> list[str]:
        """Every model's name."""
        return list(self._models)

    def not_ready(self) -> str | None:
        """The sentence that says which model is not ready; None when all are."""
        for model in self._models.values():
            if model.state is not State.READY:
                return f"model '{model.name}' is {model.state.value}"
        return None

    def find(self, name: str, version: str | None) -> Model:
        """The model of that name; `version` None means its only one. Raises UnknownModel."""
        model = self._models.get(name)
        if model is None:
            raise UnknownModel(
                f"unknown model '{name}'; this server has {', '.join(map(repr, self._models)) or 'none'}"
            )
        if version is not None and version != model.version:
            raise UnknownModel(f"model '{name}' has no version {version}; it has {model.version}")
        return model


def load_backend(
    source: ModelSource, options: LoadOptions, load_format: Callable[[str], Load], times: RunTimes | None = None
) -> Backend:
    """Find the file, check its digest, load it and, when `times` is given, run it once to be warm. Blocks.

    Raises the FatalError that says what is wrong with the file.
    """
    started = time.monotonic()
    file = find_model_file(source.path)
    name = model_format(file, source.format)
    before = file.stat()
    check_digest(file, source.sha256)
    backend = load_format(name)(file, options)
    after = file.stat()
    if (before.st_size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
        # The digest was that of the old bytes and onnxruntime may have read the new ones.
        raise DigestMismatch(f"{file.name} was changed while it was loaded; start again when it stands still")
    if times is not None:
        warm_up(backend, times)
    log.info(
        "model '%s' loaded from %s in %.2f s on %s", options.name, file, time.monotonic() - started, backend.device
    )
    return backend


def warm_up(backend: Backend, times: RunTimes) -> None:
    """Run the model on zeros of its smallest shapes, so that the first client does not pay for first allocations.

    Not every model can take zeros, or a size of 1: that is said in the log and is no failure.
    """
    feeds = {spec.name: _zeros(spec) for spec in backend.metadata.inputs.values()}
    outputs = tuple(backend.metadata.outputs)
    size = sum(array.nbytes for array in feeds.values())
    try:
        backend.infer(feeds, outputs)
        times.observe(size, min(_timed(backend, feeds, outputs) for _ in range(3)), None)
    except RequestError as error:
        log.warning(
            "model '%s' does not like a warm-up with zeros, so it starts cold: %s", backend.metadata.name, error
        )


def _timed(backend: Backend, feeds: dict[str, Array], outputs: Sequence[str]) -> float:
    started = time.perf_counter()
    backend.infer(feeds, outputs)
    return time.perf_counter() - started


def _zeros(spec: TensorSpec) -> Array:
    shape = tuple(1 if size < 0 else size for size in spec.shape)
    if spec.datatype == "BYTES":
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, dtype=DATATYPES[spec.datatype].dtype)
