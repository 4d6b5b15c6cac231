"""The page that Prometheus reads: turns the numbers of `stats` into prometheus_client's families when it scrapes."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.registry import Collector

from mooring_runtime.metrics.names import (
    COMPUTE_SECONDS,
    IN_FLIGHT,
    MODEL_READY,
    NV_COMPUTE_INFER_DURATION,
    NV_COUNT,
    NV_EXEC_COUNT,
    NV_PENDING_REQUEST_COUNT,
    NV_QUEUE_DURATION,
    NV_REQUEST_DURATION,
    NV_REQUEST_FAILURE,
    NV_REQUEST_SUCCESS,
    QUEUE_DEPTH,
    QUEUE_SECONDS,
    REQUEST_SECONDS,
    REQUESTS_RECEIVED,
    REQUESTS_REJECTED,
)
from mooring_runtime.metrics.stats import Histogram, ModelStats

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

LABELS = ("model", "version")


class _ModelCollector(Collector):
    """Makes the families from the numbers, when scraped."""

    def __init__(self, models: Iterable[ModelStats]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        models = list(self._models)
        counter, gauge, nv = CounterMetricFamily, GaugeMetricFamily, UnknownMetricFamily
        yield _single(counter, REQUESTS_RECEIVED, "Requests that arrived, before admission.", models, "received")
        yield _by_label(
            counter, REQUESTS_REJECTED, "Requests refused before they waited.", "cause", {m: m.rejected for m in models}
        )
        yield _single(gauge, IN_FLIGHT, "Requests that run now.", models, "in_flight")
        yield _single(gauge, QUEUE_DEPTH, "Requests that wait to run.", models, "waiting")
        yield _single(gauge, MODEL_READY, "1 when the model answers requests.", models, "ready")
        yield _seconds(REQUEST_SECONDS, "From a request's last byte to its answer.", {m: m.request for m in models})
        yield _seconds(QUEUE_SECONDS, "From admission to the start of the run.", {m: m.queue for m in models})
        yield _seconds(COMPUTE_SECONDS, "One run of the model.", {m: m.compute for m in models})
        # Triton's names lack the _total that prometheus_client adds to each counter, so these are untyped; their
        # names, units and meaning are what dashboards and perf_analyzer rely on.
        yield _single(nv, NV_REQUEST_SUCCESS, "Successful requests.", models, "successes")
        yield _by_label(nv, NV_REQUEST_FAILURE, "Failed requests.", "reason", {m: m.failures for m in models})
        yield _single(nv, NV_COUNT, "Inferences; a batch of n counts n.", models, "inferences")
        yield _single(nv, NV_EXEC_COUNT, "Runs of the model.", models, "executions")
        yield _single(nv, NV_PENDING_REQUEST_COUNT, "Requests that wait to run.", models, "waiting")
        yield _micros(NV_REQUEST_DURATION, "Microseconds of successful requests.", {m: m.request for m in models})
        yield _micros(NV_QUEUE_DURATION, "Microseconds that requests waited.", {m: m.queue for m in models})
        yield _micros(NV_COMPUTE_INFER_DURATION, "Microseconds of the runs.", {m: m.compute for m in models})


_Family = type[CounterMetricFamily] | type[GaugeMetricFamily] | type[UnknownMetricFamily]


def _single(family: _Family, name: str, text: str, models: list[ModelStats], attribute: str) -> Metric:
    metric = family(name, text, labels=LABELS)
    for model in models:
        metric.add_metric((model.model, model.version), float(getattr(model, attribute)))
    return metric


def _by_label(
    family: _Family, name: str, text: str, label: str, counts: Mapping[ModelStats, Mapping[str, int]]
) -> Metric:
    metric = family(name, text, labels=(*LABELS, label))
    for model, values in counts.items():
        for value, count in values.items():
            metric.add_metric((model.model, model.version, value), count)
    return metric


def _seconds(name: str, text: str, histograms: Mapping[ModelStats, Histogram]) -> Metric:
    metric = HistogramMetricFamily(name, text, labels=LABELS)
    for model, histogram in histograms.items():
        metric.add_metric((model.model, model.version), list(histogram.cumulative()), histogram.total)
    return metric


def _micros(name: str, text: str, histograms: Mapping[ModelStats, Histogram]) -> Metric:
    metric = UnknownMetricFamily(name, text, labels=LABELS)
    for model, histogram in histograms.items():
        metric.add_metric((model.model, model.version), float(round(histogram.total * 1e6)))
    return metric


class MetricsPage:
    """The page of /metrics: the models' numbers and those of the process (memory, CPU, open files)."""

    def __init__(self) -> None:
        self._models: list[ModelStats] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_ModelCollector(self._models))
        ProcessCollector(registry=self._registry)

    def add(self, model: str, version: str) -> ModelStats:
        """Numbers for a model that is configured; they show as 0 from now on, before its first request."""
        stats = ModelStats(model, version)
        self._models.append(stats)
        return stats

    def render(self) -> bytes:
        """The page, as `CONTENT_TYPE`."""
        return generate_latest(self._registry)
