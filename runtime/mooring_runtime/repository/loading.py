"""From a source to a backend that is warm: find, check, load, run. All of it blocks, and is called on a thread."""

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple, TypeVar

from mooring_runtime.backends.base import Backend, Load, LoadOptions
from mooring_runtime.errors import DigestMismatch, ModelInvalid
from mooring_runtime.repository.config import ModelConfig
from mooring_runtime.repository.digest import check_digest
from mooring_runtime.repository.files import model_format
from mooring_runtime.repository.layout import ModelSource
from mooring_runtime.repository.proof import prove
from mooring_runtime.repository.state_loading import with_state
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.repository.warmup import warm_up
from mooring_runtime.scheduling import RunTimes
from mooring_runtime.settings import ServeSettings

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def options_of(name: str, source: ModelSource, settings: ServeSettings, *, accelerator: bool = True) -> LoadOptions:
    """How to load a source of the model `name`; `source.config` holds what the settings have the last word on."""
    config = source.config
    return LoadOptions(
        name,
        source.version,
        settings.threads,
        accelerator=accelerator,
        allow_unsafe=settings.allow_unsafe_formats,
        device_memory=settings.device_memory,
        # A part of `device_memory` is kept free for states before it is known whether the model has any.
        device_state=settings.device_state if config.state is not None else 0,
        cuda_graph=settings.cuda_graph,
        compile=settings.compile,
        sessions=settings.session_path is not None,
        measure=settings.latency_target is not None,
        max_batch=config.max_batch,
        inputs=config.inputs,
        outputs=config.outputs,
        labels=config.labels,
    )


class Warm(NamedTuple):
    """A model that can serve at once."""

    backend: Backend
    format: str
    seconds: float
    """Of its load, warm-up included."""


def load_backend(
    source: ModelSource, options: LoadOptions, load_format: Callable[[str], Load], times: RunTimes | None = None
) -> Warm:
    """Find the file, check its digest, load it and, when `times` is given, warm it up. Blocks.

    Raises the FatalError that says what is wrong with the file or what stands beside it.
    """
    started = time.monotonic()
    file = source.file()
    name = model_format(file, source.format, allow_unsafe=options.allow_unsafe)
    before = file.stat()
    check_digest(file, source.sha256)
    backend = load_format(name)(file, options)
    try:
        _check_unchanged(file, before)
        backend = with_state(backend, source.config.state, source.directory, options, load_format)
        _check_labels(source.config, backend)
        _check_batching(source.config, backend)
        _allow_preferred(source.config, backend)
        if times is not None:
            sample = warm_up(backend, times, source.config, source.directory, measure=options.measure)
            if isinstance(backend, Stateful):
                backend.keep_there(options)
                prove(backend, sample)
    except BaseException:
        backend.close()
        raise
    _return_memory()
    seconds = time.monotonic() - started
    log.info("model '%s' loaded from %s in %.2f s on %s", options.name, file, seconds, backend.device)
    return Warm(backend, name, seconds)


def _return_memory() -> None:
    """Give the system back what loading needed and the model does not; else glibc keeps it, for half a model's size."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)


def _check_unchanged(file: Path, before: os.stat_result) -> None:
    after = file.stat()
    if (before.st_size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
        # The digest was that of the old bytes and the framework may have read the new ones.
        raise DigestMismatch(f"{file.name} was changed while it was loaded; start again when it stands still")


def _check_labels(config: ModelConfig, backend: Backend) -> None:
    for output in config.labels:
        if output not in backend.metadata.outputs:
            raise ModelInvalid(
                f"mooring.json: labels has '{output}', which is no output of model '{backend.metadata.name}'; its "
                f"outputs are {', '.join(backend.metadata.outputs)}"
            )


def _allow_preferred(config: ModelConfig, backend: Backend) -> None:
    """Let runs have the largest size that they should have. Our own bound must not forbid what somebody asked for."""
    metadata = backend.metadata
    if metadata.max_batch and metadata.batch_limit is None and config.preferred:
        metadata.max_batch = max(metadata.max_batch, config.preferred[-1])


def _check_batching(config: ModelConfig, backend: Backend) -> None:
    metadata = backend.metadata
    if (config.max_batch or 0) > 1 and not metadata.max_batch:
        log.warning(
            "model '%s' version %s has batching.maxSize %d, which has no effect: requests share a run only where the "
            "first size of every input and output is free, and of a Python model only with batch = True and one answer",
            metadata.name,
            metadata.version,
            config.max_batch,
        )


def file_bytes(source: ModelSource) -> int:
    """Bytes of the model's files, as a guess at the memory that a load takes. Blocks.

    Raises ModelNotFound, UnsafeFormat where there is no file to load.
    """
    file = source.file()
    if source.path.is_file():
        return file.stat().st_size
    return sum(each.stat().st_size for each in source.path.iterdir() if each.is_file())


def in_thread(work: Callable[[], Result]) -> Future[Result]:
    """Run `work` on a thread that does not keep the process alive: loading cannot be interrupted."""
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()  # From now on who waits for it may go away, and it ends all the same.

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="load", daemon=True).start()
    return future
