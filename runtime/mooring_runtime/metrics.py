"""Every metric of the runtime: its name, once, what it counts, and the page that Prometheus reads.

The hot path adds to plain integers of a `ModelStats` (0.1 us for what costs prometheus_client's counters and
histograms with their locks 8 us a request, half of what a small model takes in all). All of it happens on the event
loop, so nothing is lost. `page` turns the numbers into prometheus_client's families when somebody scrapes.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

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

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

LABELS = ("model", "version")

REQUESTS_RECEIVED = "mooring_requests_received_total"
REQUESTS_REJECTED = "mooring_requests_rejected_total"
IN_FLIGHT = "mooring_in_flight"
QUEUE_DEPTH = "mooring_queue_depth"
REQUEST_SECONDS = "mooring_request_seconds"
QUEUE_SECONDS = "mooring_queue_seconds"
COMPUTE_SECONDS = "mooring_compute_seconds"
MODEL_READY = "mooring_model_ready"

NV_REQUEST_SUCCESS = "nv_inference_request_success"
NV_REQUEST_FAILURE = "nv_inference_request_failure"
NV_COUNT = "nv_inference_count"
NV_EXEC_COUNT = "nv_inference_exec_count"
NV_REQUEST_DURATION = "nv_inference_request_duration_us"
NV_QUEUE_DURATION = "nv_inference_queue_duration_us"
NV_COMPUTE_INFER_DURATION = "nv_inference_compute_infer_duration_us"
NV_PENDING_REQUEST_COUNT = "nv_inference_pending_request_count"

BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds of every histogram: small models answer in less than a millisecond."""

FAILURE_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
REJECT_CAUSES = ("invalid", "not_ready", "queue_full")


class Histogram:
    """Observations in seconds, counted by `BUCKETS`; the last place counts what is above the last bound."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """(upper bound, how many were at most that), as Prometheus writes it."""
        seen = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            seen += count
            yield bound, seen


class ModelStats:
    """The numbers of one version of one model, all from 0 at the start of the process."""

    __slots__ = (
        "compute",
        "executions",
        "failures",
        "inferences",
        "load",
        "model",
        "queue",
        "ready",
        "received",
        "rejected",
        "request",
        "successes",
        "version",
    )

    def __init__(self, model: str, version: str) -> None:
        self.model = model
        self.version = version
        self.ready = False
        self.received = 0
        """Every request that named this model, before anything was decided about it."""
        self.rejected: Counter[str] = Counter(dict.fromkeys(REJECT_CAUSES, 0))
        self.load: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """(waiting, running) now; asked when somebody scrapes."""
        self.successes = 0
        self.failures: Counter[str] = Counter(dict.fromkeys(FAILURE_REASONS, 0))
        self.inferences = 0
        """Samples computed: a request of batch 8 counts 8."""
        self.executions = 0
        """Runs of the model."""
        self.request = Histogram()
        """From the last byte of the request to the answer, of successful requests."""
        self.queue = Histogram()
        self.compute = Histogram()

    @property
    def waiting(self) -> int:
        """Requests admitted and not yet running."""
        return self.load()[0]

    @property
    def in_flight(self) -> int:
        """Requests that run."""
        return self.load()[1]


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
