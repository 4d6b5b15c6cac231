"""Runs a model before its first client comes, so that nobody pays for first allocations, and its run time is known."""

import logging
import time
from collections.abc import Mapping, Sequence
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

Feeds = Mapping[str, Array]
"""Arrays by input name."""
LIMIT = 256 * 2**20
"""Bytes that a file of requests may have."""


def warm_up(backend: Backend, times: RunTimes, config: ModelConfig, directory: Path) -> None:
    """Run the model as often as `config` says, each of its requests in turn; `times` learns from all but the first.

    Without requests: zeros of the smallest shapes, then each of the preferred batch sizes. Not every model can take
    zeros, or a size of 1: that is said in the log and is no failure. That the model refuses a request which its owner
    wrote for it is one: raises ModelInvalid. State is always that which a session begins with.
    """
    runs = WARMUP_RUNS if config.warmup is None else config.warmup
    if not runs:
        return
    if config.requests is not None:
        own = read_requests(directory / config.requests, backend.metadata)
        try:
            _run(backend, times, [own[index % len(own)] for index in range(runs)])
        except RequestError as error:
            raise ModelInvalid(
                f"{directory / config.requests}: the model does not take its warm-up: {error}"
            ) from error
        return
    try:
        _run(backend, times, [_zeros(backend.metadata, 1)] * runs)
        for size in config.preferred if backend.metadata.max_batch else ():
            _run(backend, times, [_zeros(backend.metadata, size)] * 2)
    except RequestError as error:
        log.warning(
            "model '%s' does not like a warm-up with zeros, so it starts cold: %s", backend.metadata.name, error
        )


def _run(backend: Backend, times: RunTimes, work: Sequence[Feeds]) -> None:
    state = backend.metadata.state
    outputs = backend.metadata.output_names + (state.outputs if state is not None else ())
    for index, sent in enumerate(work):
        feeds = sent if state is None else {**sent, **_first(state, sent, backend.metadata)}
        started = time.perf_counter()
        if backend.metadata.decoupled:
            for _ in backend.stream(feeds, outputs, {}):
                pass
            continue
        backend.infer(feeds, outputs)
        seconds = time.perf_counter() - started
        if index:  # The first one pays for what the others find done.
            size = sum(array.nbytes for array in feeds.values())
            samples = next(iter(feeds.values())).shape[0] if backend.metadata.batched else 1
            times.observe(size, seconds, None, samples)


def _zeros(metadata: ModelMetadata, batch: int) -> Feeds:
    return {spec.name: _zero(spec, batch if metadata.batched else 1) for spec in metadata.inputs.values()}


def _zero(spec: TensorSpec, batch: int) -> Array:
    shape = tuple((batch if axis == 0 else 1) if size < 0 else size for axis, size in enumerate(spec.shape))
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
