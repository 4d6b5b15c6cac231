"""Every question to Prometheus, as PromQL. Pure.

One query per signal asks for all services at once: a cluster of 200 services costs as many requests as one of two.
Series are told apart by `mooring_namespace` and `mooring_service`, which the runtime itself puts on them; `namespace`,
`service` and `job` belong to the scraper. `instance` is the pod: the same page scraped by two jobs, or by two copies of
Prometheus, has two `job`s or `replica`s but one `instance`.

The names of the runtime's series stand in `runtime/mooring_runtime/metrics/names.py`; a contract test compares them.
"""

from collections.abc import Collection
from typing import Final, Literal

from ..api import names
from .scraping import Scraping

FLOOR: Final = 30
"""Answered requests below which a percentile is an accident."""
REFUSED: Final = ("queue_full", "timeout")
"""Causes of refusals that more pods would have prevented."""

WORKERS: Final = "mooring_workers"
MODEL_READY: Final = "mooring_model_ready"
RECEIVED: Final = "mooring_requests_received_total"
REJECTED: Final = "mooring_requests_rejected_total"
QUEUE_DEPTH: Final = "mooring_queue_depth"
IN_FLIGHT: Final = "mooring_in_flight"
REQUEST_SECONDS: Final = "mooring_request_seconds"
BATCH_CURVE: Final = "mooring_batch_curve_seconds"
BATCH_LIMIT: Final = "mooring_batch_limit"
BATCH_DELAY: Final = "mooring_batch_delay_seconds"
QUEUE_LIMIT: Final = "mooring_queue_limit"
RUN_MEAN: Final = "mooring_run_mean_seconds"
RUN_VARIATION: Final = "mooring_run_cv2"
SAMPLES: Final = "nv_inference_count"
SUCCESSES: Final = "nv_inference_request_success"
LOOP_SECONDS: Final = "mooring_loop_seconds_total"
BUSY: Final = 0.03
"""Seconds of each that a worker's loop must be busy before its time is that of requests: probes, scrapes and timers
take 2 to 3 ms. By the requests of a quiet night these would seem to cost a second each, and the peak of the evening
before be planned with pods that hold one a second."""

OF_RUNS: Final = (BATCH_CURVE, BATCH_LIMIT, RUN_MEAN)
NEEDED: Final = (MODEL_READY, RECEIVED, QUEUE_DEPTH, IN_FLIGHT, *OF_RUNS)
"""Series of which one that is no number leaves a service without an answer."""
MOST: Final = 1e15
"""What is larger was not measured."""

BY: Final = f"{names.METRIC_LABEL_NAMESPACE}, {names.METRIC_LABEL_SERVICE}"
POD: Final = "instance"
SERIES: Final = "series"
"""Label of the answer of `garbled`: the name of a series."""

Signal = Literal[
    "newest",
    "pods",
    "copies",
    "scrapes",
    "ready",
    "proven",
    "rate",
    "queued",
    "in_flight",
    "answered",
    "refused",
    "curve",
    "batch_limit",
    "batch_delay",
    "queue_limit",
    "run_mean",
    "run_variation",
    "workers",
    "samples_per_request",
    "loop_seconds",
    "load_seconds",
    "garbled",
]


def signals(scraping: Scraping) -> dict[Signal, str]:
    """Return the instant query of each signal. All but `curve`, `run_mean`, `run_variation` and `garbled` give one
    value a service; these give one a pod, for a line must be taken from one pod as a whole.
    """

    def of(metric: str, *matchers: str) -> str:
        return _selector(scraping, metric, *matchers)

    def mean(metric: str) -> str:
        return f"sum by ({BY}) (rate({of(metric)}[{scraping.mean}s]))"

    late = _duration(scraping.latency_window)
    refused = of(REJECTED, 'cause=~"' + "|".join(REFUSED) + '"')
    return {
        # Of a bare selector timestamp() tells when the sample was taken; of anything else, when it was computed.
        "newest": f"max by ({BY}) (timestamp({of(WORKERS)}))",
        "pods": f"count by ({BY}) (count by ({BY}, {POD}) ({of(WORKERS)}))",
        "copies": f"max by ({BY}) (count by ({BY}, {POD}) ({of(WORKERS)}))",
        "scrapes": f"max by ({BY}) (count_over_time({of(WORKERS)}[{scraping.counted}s]))",
        "ready": f"sum by ({BY}) (max by ({BY}, {POD}) ({of(MODEL_READY)}))",
        "proven": _proven(scraping),
        "rate": arrivals(scraping),
        "queued": f"sum by ({BY}) ({of(QUEUE_DEPTH)})",
        "in_flight": f"sum by ({BY}) ({of(IN_FLIGHT)})",
        "answered": f"sum by ({BY}) (increase({of(f'{REQUEST_SECONDS}_count')}[{late}]))",
        "refused": f"sum by ({BY}) (increase({refused}[{late}]))",
        "curve": f"max by ({BY}, {POD}, term) ({of(BATCH_CURVE)})",
        "batch_limit": f"min by ({BY}) ({of(BATCH_LIMIT)})",
        "batch_delay": f"max by ({BY}) ({of(BATCH_DELAY)})",
        "queue_limit": f"min by ({BY}) ({of(QUEUE_LIMIT)})",
        "run_mean": f"max by ({BY}, {POD}) ({of(RUN_MEAN)})",
        "run_variation": f"max by ({BY}, {POD}) ({of(RUN_VARIATION)})",
        "workers": f"avg by ({BY}) ({of(WORKERS)})",
        # Without requests these are no numbers, and are left out when they are read.
        "samples_per_request": f"{mean(SAMPLES)} / {mean(SUCCESSES)}",
        "loop_seconds": (f"({mean(LOOP_SECONDS)} > {BUSY} * sum by ({BY}) ({of(WORKERS)})) / {mean(RECEIVED)}"),
        "load_seconds": f"max by ({BY}) ({of(names.METRIC_SERVICE_LOAD_SECONDS)})",
        "garbled": " or ".join(_garbled(scraping, metric) for metric in NEEDED),
    }


def _garbled(scraping: Scraping, metric: str) -> str:
    """How many series of a metric are no numbers, by pod.

    NaN is neither above 0 nor below, and a histogram is not compared.
    """
    every = _selector(scraping, metric)
    odd = f"count by ({BY}, {POD}) ({every} unless {every} >= 0 <= {MOST:.0f})"
    return f'label_replace({odd}, "{SERIES}", "{metric}", "", "")'


def _proven(scraping: Scraping) -> str:
    """Three scrapes at least, and ready in all of them: with fewer, a rate is taken over less than its window."""
    ready, window = _selector(scraping, MODEL_READY), _duration(scraping.window + scraping.interval)
    pods = f"max by ({BY}, {POD})"
    return (
        f"count by ({BY}) ({pods} (min_over_time({ready}[{window}])) == 1"
        f" and {pods} (count_over_time({ready}[{window}])) >= 3)"
    )


def arrivals(scraping: Scraping) -> str:
    """Return the query of the arrival rate in requests a second, also for its history."""
    return f"sum by ({BY}) (rate({_selector(scraping, RECEIVED)}[{_duration(scraping.window)}]))"


def latencies(scraping: Scraping, percentiles: Collection[int]) -> dict[int, str]:
    """Return, by percentile, the query of the highest latency of the last minute in seconds; it answers only where
    enough requests were answered.
    """
    window, step = _duration(scraping.latency_window), _duration(scraping.interval)
    buckets = f"sum by ({BY}, le) (rate({_selector(scraping, f'{REQUEST_SECONDS}_bucket')}[{window}]))"
    count = f"sum by ({BY}) (increase({_selector(scraping, f'{REQUEST_SECONDS}_count')}[{window}]))"
    return {
        percentile: f"max_over_time((histogram_quantile({percentile / 100}, {buckets}) and {count} >= {FLOOR})"
        f"[{_duration(scraping.smoothed)}:{step}])"
        for percentile in sorted(percentiles)
    }


def _selector(scraping: Scraping, metric: str, *matchers: str) -> str:
    labels = (names.METRIC_LABEL_NAMESPACE, names.METRIC_LABEL_SERVICE)
    every = [*(f'{label}!=""' for label in labels), *matchers, *([scraping.matchers] if scraping.matchers else [])]
    return f"{metric}{{{', '.join(every)}}}"


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
