"""From the numbers that the server keeps to a page."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import ProcessCollector

from mooring_runtime.metrics import names
from mooring_runtime.metrics.capacity import Capacity
from mooring_runtime.metrics.loads import Loads
from mooring_runtime.metrics.names import METRICS, Metric
from mooring_runtime.metrics.pages import Key, Page, Samples
from mooring_runtime.metrics.sessions import END_CAUSES, EVICTION_LIMITS, SESSION_STATES, SessionStats
from mooring_runtime.metrics.stats import Histogram, ModelStats

_VALUES: Mapping[Metric, Callable[[ModelStats], float]] = {
    names.REQUESTS_RECEIVED: lambda model: model.received,
    names.REPLIES: lambda model: model.replies,
    names.IN_FLIGHT: lambda model: model.in_flight,
    names.QUEUE_DEPTH: lambda model: model.waiting,
    names.QUEUE_OLDEST: lambda model: model.oldest,
    names.INPUT_BYTES: lambda model: model.input_bytes,
    names.OUTPUT_BYTES: lambda model: model.output_bytes,
    names.MODEL_READY: lambda model: model.ready,
    names.NV_REQUEST_SUCCESS: lambda model: model.successes,
    names.NV_COUNT: lambda model: model.inferences,
    names.NV_EXEC_COUNT: lambda model: model.executions,
    names.NV_REQUEST_DURATION: lambda model: _micros(model.request.total),
    names.NV_QUEUE_DURATION: lambda model: _micros(model.queue.total),
    names.NV_COMPUTE_INPUT_DURATION: lambda model: _micros(model.input_seconds),
    names.NV_COMPUTE_INFER_DURATION: lambda model: _micros(model.infer_seconds),
    names.NV_COMPUTE_OUTPUT_DURATION: lambda model: _micros(model.output_seconds),
    names.NV_PENDING_REQUEST_COUNT: lambda model: model.waiting,
}
"""One number of each model."""
_BY_LABEL: Mapping[Metric, Callable[[ModelStats], Mapping[str, float]]] = {
    names.REQUESTS_REJECTED: lambda model: model.rejected,
    names.NV_REQUEST_FAILURE: lambda model: model.failures,
}
"""Numbers by the value of the label after model and version."""
_CAPACITY: Mapping[Metric, Callable[[Capacity], float]] = {
    names.BATCH_LIMIT: lambda capacity: capacity.limit,
    names.BATCH_DELAY: lambda capacity: capacity.delay,
    names.QUEUE_LIMIT: lambda capacity: capacity.queue,
}
"""Numbers of each model that was loaded."""
_MEASURED: Mapping[Metric, Callable[[Capacity], float]] = {
    names.RUN_MEAN: lambda capacity: capacity.mean,
    names.RUN_VARIATION: lambda capacity: capacity.variation,
}
"""Numbers of each model that has run: a rule would take a 0 for a model that costs nothing."""
_HISTOGRAMS: Mapping[Metric, Callable[[ModelStats], Histogram]] = {
    names.REQUEST_SECONDS: lambda model: model.request,
    names.QUEUE_SECONDS: lambda model: model.queue,
    names.COMPUTE_SECONDS: lambda model: model.compute,
    names.BATCH_SIZE: lambda model: model.batch,
}
_SUMMARIES: Mapping[Metric, Callable[[ModelStats], float]] = {
    names.REQUEST_PREPROCESS: lambda model: model.input_seconds,
    names.REQUEST_POSTPROCESS: lambda model: model.output_seconds,
}
"""Seconds of all successful requests of a model, its versions taken together."""


def of_models(models: Iterable[ModelStats]) -> Page:
    """What requests did, by model and version."""
    page: Page = {name: {} for name in METRICS}
    for model in models:
        key = (model.model, model.version)
        for metric, value in _VALUES.items():
            page[metric.name]["", key] = float(value(model))
        for metric, values in _BY_LABEL.items():
            for label, number in values(model).items():
                page[metric.name]["", (*key, label)] = float(number)
        _add_capacity(page, key, model.capacity())
        _add_states(page, key, model)
        for metric, histogram in _HISTOGRAMS.items():
            numbers = histogram(model)
            page[metric.name].update(_buckets(key, numbers, numbers.total))
        for metric, value in _SUMMARIES.items():
            samples, name = page[metric.name], (model.model,)
            _add(samples, [(("_count", name), float(model.successes)), (("_sum", name), value(model))])
        predict = _buckets((model.model,), model.predict, model.infer_seconds)
        _add(page[names.REQUEST_PREDICT.name], predict)
    return page


def _add_capacity(page: Page, key: tuple[str, ...], capacity: Capacity | None) -> None:
    if capacity is None:
        return
    for metric, value in _CAPACITY.items():
        page[metric.name]["", key] = float(value(capacity))
    if capacity.curve is None:
        return
    for term, seconds in zip("ab", capacity.curve, strict=True):
        page[names.BATCH_CURVE.name]["", (*key, term)] = seconds
    for metric, value in _MEASURED.items():
        page[metric.name]["", key] = value(capacity)


def _add_states(page: Page, key: tuple[str, ...], model: ModelStats) -> None:
    if model.state_bytes is None:
        return
    page[names.STATE_DEVICE_BYTES.name]["", key] = float(model.state_bytes())
    for place in ("device", "host"):
        page[names.STATE_ROWS.name]["", (*key, place)] = float(model.state_rows[place])


def _add(samples: Samples, more: Iterable[tuple[Key, float]]) -> None:
    """Add to what stands there of the model's other versions."""
    for key, value in more:
        samples[key] = samples.get(key, 0.0) + value


def _buckets(key: tuple[str, ...], histogram: Histogram, total: float) -> Iterator[tuple[Key, float]]:
    count = 0.0
    for bound, count in histogram.cumulative():
        yield ("_bucket", (*key, bound)), float(count)
    yield ("_count", key), float(count)
    yield ("_sum", key), total


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def of_loads(loads: Loads) -> Page:
    """What happened to models as a whole."""
    ended: Samples = {
        ("", (model, outcome)): float(count)
        for model, counts in loads.ended.items()
        for outcome, count in counts.items()
    }
    facts = loads.now.items()
    return {
        names.MODEL_LOADS.name: ended,
        names.MODEL_INFO.name: {("", (*key, loaded.device, loaded.format)): 1.0 for key, loaded in facts},
        names.NV_MODEL_LOAD_DURATION.name: {("", key): loaded.seconds for key, loaded in facts},
    }


def of_sessions(stats: SessionStats) -> Page:
    """What happened to the sessions of this replica."""
    counts = stats.sessions()
    models = {*stats.created, *stats.steps, *(model for model, _ in counts)}
    volume, membership = stats.volume(), stats.membership()
    page: Page = {
        names.SESSIONS.name: {
            ("", (model, state)): float(counts.get((model, state), 0)) for model in models for state in SESSION_STATES
        },
        names.SESSIONS_ENDED.name: _pairs(stats.ended, models, END_CAUSES),
        names.SESSIONS_EVICTED.name: _pairs(stats.evicted, models, EVICTION_LIMITS),
        names.SESSION_REFUSED.name: _pairs(stats.refused, (), ()),
        names.SESSION_HANDOFFS.name: _pairs(stats.handoffs, (), ()),
        names.SESSION_FORWARDS.name: {("", (outcome,)): float(count) for outcome, count in stats.forwards.items()},
        names.SESSION_BYTES.name: {("", (tier,)): float(size) for tier, size in stats.tiers().items()},
        names.SESSION_VOLUME.name: {("", (room,)): float(size) for room, size in volume.items()},
        names.SESSIONS_QUARANTINED.name: {("", ()): float(stats.quarantined())},
        names.SESSION_UNSYNCED.name: {("", ()): stats.unsynced()},
    }
    for metric, counter in (
        (names.SESSIONS_STARTED, stats.created),
        (names.SESSIONS_DROPPED, stats.dropped),
        (names.SESSION_STEPS, stats.steps),
        (names.SESSION_REPEATS, stats.repeats),
    ):
        page[metric.name] = {("", (model,)): float(counter[model]) for model in {*models, *counter}}
    for metric, word in (
        (names.SESSION_EPOCH, "epoch"),
        (names.SESSION_MEMBERS, "size"),
        (names.SESSIONS_FOREIGN, "foreign"),
    ):
        if word in membership:
            page[metric.name] = {("", ()): float(membership[word])}
    for metric, histogram in (
        (names.SESSION_COMMIT_SECONDS, stats.commit),
        (names.SESSION_COMMIT_SIZE, stats.batch),
        (names.SESSION_RESTORE_SECONDS, stats.restore),
    ):
        page[metric.name] = dict(_buckets((), histogram, histogram.total))
    return page


def _pairs(counts: Mapping[tuple[str, str], int], models: Iterable[str], words: Iterable[str]) -> Samples:
    """Samples by two labels. Those of `models` and `words` stand there as 0 too, so that a rate sees the first one."""
    samples: Samples = {("", (model, word)): 0.0 for model in models for word in words}
    samples.update({("", key): float(count) for key, count in counts.items()})
    return samples


def of_loop(target: float | None) -> Page:
    """What the thread that calls this has computed: the event loop's, whose limit no curve of a model tells; and the
    latency target, where there is one.
    """
    page: Page = {names.LOOP_SECONDS.name: {("", ()): time.thread_time()}}
    if target is not None:
        page[names.LATENCY_TARGET.name] = {("", ()): target}
    return page


def of_process() -> Page:
    """Memory, CPU time and files of this process."""
    found = {sample.name: sample.value for family in _PROCESS.collect() for sample in family.samples}
    return {name: {("", ()): value} for name, value in found.items() if name in METRICS}


_PROCESS = ProcessCollector(registry=None)
