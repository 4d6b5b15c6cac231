"""Runs a model before its first client comes, so that nobody pays for first allocations, and its run time is known."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mooring_runtime.backends.base import Backend
from mooring_runtime.errors import ModelInvalid, ModelNotFound, RequestError
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, StateSchema, TensorSpec
from mooring_runtime.repository import reading
from mooring_runtime.repository.config import WARMUP_RUNS, ModelConfig
from mooring_runtime.repository.reading import Place
from mooring_runtime.scheduling import RunTimes

log = logging.getLogger(__name__)

_ALLOWANCE = 0.5
"""Seconds that larger runs may take, or as many as the first ones took."""
Feeds = Mapping[str, Array]
"""Arrays by input name."""
LIMIT = 256 * 2**20
"""Bytes that a file of requests may have."""


def warm_up(
    backend: Backend,
    times: RunTimes,
    config: ModelConfig,
    directory: Path,
    *,
    measure: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Feeds | None:
    """Run the model as often as `config` says, each of its requests in turn; `times` learns from all but the first.

    Without requests: zeros of the smallest shapes, then each of the preferred batch sizes. To `measure` there are runs
    of 2, 4, 8 and so on samples too, so that a new replica knows its curve before its first client; a model keeps the
    memory of its largest run, so they are for who needs them (measured: magika has 193 MiB after them in place of 86).
    Not every model can take zeros, or these sizes: that is said in the log and is no failure. That the model refuses a
    request which its owner wrote for it is one: raises ModelInvalid. State is always that which a session begins with.
    Returns one sample that the model takes, without its state; None: none is known.
    """
    runs = WARMUP_RUNS if config.warmup is None else config.warmup
    if not runs:
        return None
    metadata = backend.metadata
    began = clock()
    if config.requests is not None:
        own = read_requests(directory / config.requests, metadata)
        try:
            _run(backend, times, [own[index % len(own)] for index in range(runs)], clock)
        except RequestError as error:
            raise ModelInvalid(
                f"{directory / config.requests}: the model does not take its warm-up: {error}"
            ) from error
        single: Feeds = {name: array[:1] for name, array in own[0].items()}
    else:
        single = _zeros(metadata)
        try:
            _run(backend, times, [single] * runs, clock)
        except RequestError as error:
            log.warning("model '%s' does not like a warm-up with zeros, so it starts cold: %s", metadata.name, error)
            return None
    if measure or (config.preferred and config.requests is None):
        try:
            _grow(backend, times, config, single, max(clock() - began, _ALLOWANCE), clock)
        except RequestError as error:
            log.warning("model '%s' is not warm for larger runs: %s", metadata.name, error)
    times.curve.warmed()
    return single


def _grow(
    backend: Backend,
    times: RunTimes,
    config: ModelConfig,
    single: Feeds,
    allowance: float,
    clock: Callable[[], float],
) -> None:
    """Run each larger size twice, copies of the one sample in `single`.

    Sizes that nobody has set end where the next is expected to take more than what is left of `allowance` seconds: a
    replica that measures itself for long is one that serves late. Nor are they run on zeros where a size within the
    sample is open: what clients send is larger, and its runs would show no line together with those of zeros.
    """
    metadata = backend.metadata
    most = metadata.max_batch
    if config.preferred and most:
        for size in config.preferred:
            _run(backend, times, [_copies(single, size)] * 2, clock)
        return
    if config.requests is None and any(min(spec.shape[1:], default=0) < 0 for spec in metadata.inputs.values()):
        return
    size = 2
    while size <= most:
        began = clock()
        _run(backend, times, [_copies(single, size)] * 2, clock)
        took = clock() - began
        allowance -= took
        if 2 * took > allowance:
            return
        size *= 2


def _copies(single: Feeds, size: int) -> Feeds:
    return {name: np.repeat(array, size, axis=0) for name, array in single.items()}


def _run(backend: Backend, times: RunTimes, work: Sequence[Feeds], clock: Callable[[], float]) -> None:
    state = backend.metadata.state
    outputs = backend.metadata.output_names + (state.outputs if state is not None else ())
    for index, sent in enumerate(work):
        feeds = sent if state is None else {**sent, **_first(state, sent, backend.metadata)}
        started = clock()
        if backend.metadata.decoupled:
            for _ in backend.stream(feeds, outputs, {}):
                pass
            continue
        backend.infer(feeds, outputs)
        seconds = clock() - started
        if index:  # The first one pays for what the others find done.
            size = sum(array.nbytes for array in feeds.values())
            samples = next(iter(feeds.values())).shape[0] if backend.metadata.batched else 1
            # Believed as it is: on the event loop only one run in a few teaches the curve.
            times.observe(size, seconds, seconds, samples)


def _zeros(metadata: ModelMetadata) -> Feeds:
    return {spec.name: _zero(spec) for spec in metadata.inputs.values()}


def _zero(spec: TensorSpec) -> Array:
    shape = tuple(1 if size < 0 else size for size in spec.shape)
    if spec.datatype == "BYTES":
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, dtype=DATATYPES[spec.datatype].dtype)


def _first(state: StateSchema, sent: Feeds, metadata: ModelMetadata) -> Feeds:
    """The states that as many sessions as there are samples begin with."""
    sessions = next(iter(sent.values())).shape[0] if metadata.batched else 1
    return {
        pair.name: pair.first(DATATYPES[pair.datatype].dtype)
        if pair.axis is None
        else np.repeat(pair.first(DATATYPES[pair.datatype].dtype), sessions, axis=0)
        for pair in state.pairs
    }


def read_requests(file: Path, metadata: ModelMetadata) -> list[Feeds]:
    """The requests in a file: `{"requests": [...]}`, each as V2's infer takes it in JSON, with data nested or flat.

    Raises ModelInvalid with the place of what does not fit the model, ModelNotFound where there is no such file.
    """
    place = Place(str(file))
    try:
        if file.stat().st_size > LIMIT:
            place.wrong(file.stat().st_size, f"a file of at most {LIMIT} bytes")
        content = file.read_bytes()
    except OSError as error:
        raise ModelNotFound(f"cannot read {file}, the requests for the warm-up: {error.strerror}") from error
    document = reading.mapping(reading.parse(content, place), place, ("requests",))
    items = reading.array(document.get("requests"), place / "requests", "requests")
    if not items:
        (place / "requests").wrong(items, "a list of at least one request")
    return [_feeds(item, place / "requests" / index, metadata) for index, item in enumerate(items)]


def _feeds(item: object, place: Place, metadata: ModelMetadata) -> Feeds:
    inputs = reading.array(reading.mapping(item, place).get("inputs"), place / "inputs", "tensors")
    found: dict[str, Array] = {}
    for index, each in enumerate(inputs):
        here = place / "inputs" / index
        tensor = reading.mapping(each, here)
        name = tensor.get("name")
        spec = metadata.inputs.get(name) if isinstance(name, str) else None
        if spec is None:
            (here / "name").wrong(name, f"one of the model's inputs, {', '.join(metadata.inputs)}")
        if tensor.get("datatype", spec.datatype) != spec.datatype:
            (here / "datatype").wrong(tensor["datatype"], spec.datatype)
        found[spec.name] = _array(tensor, spec, here)
    for name in metadata.inputs:
        if name not in found:
            raise ModelInvalid(f"{place} has no input '{name}': give all inputs of the model")
    return found


def _array(tensor: Mapping[str, Any], spec: TensorSpec, place: Place) -> Array:
    data = tensor.get("data")
    if spec.datatype == "BF16":
        raise ModelInvalid(
            f"{place}: a BF16 tensor cannot be written in JSON; leave requests out to warm up with zeros"
        )
    try:
        if spec.datatype == "BYTES":
            flat = np.array(data, dtype=object).ravel()
            array: Array = np.empty(flat.size, dtype=object)
            array[:] = [each.encode() for each in flat]
        else:
            array = np.array(data, dtype=DATATYPES[spec.datatype].dtype).ravel()
        array = array.reshape(tensor.get("shape", ()))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ModelInvalid(f"{place}: data and shape make no tensor of {spec.datatype}: {error}") from error
    if not spec.takes(array.shape):
        (place / "shape").wrong(list(array.shape), f"{list(spec.shape)}, where -1 is any size")
    return array
