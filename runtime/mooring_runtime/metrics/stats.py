"""The numbers of the models, which the hot path adds to.

Plain integers (0.1 us for what costs prometheus_client's counters and histograms with their locks 8 us a request, half
of what a small model takes in all). All of it happens on the event loop, so nothing is lost.
"""

import math
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from mooring_runtime.metrics.capacity import Aims, Capacity

BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds of every histogram of times: small models answer in less than a millisecond."""
LOWER = (-math.inf, *BUCKETS)
"""The bound below each bucket, which does not belong to it."""
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper bounds in samples of the histogram of batch sizes."""

_MOST_SIZES = 1024
"""Batch sizes that are told apart: clients choose them, and must not fill the memory with them."""

FAILURE_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
REJECT_CAUSES = ("invalid", "not_ready", "queue_full", "timeout")


def with_target(target: float | None) -> tuple[float, ...]:
    """BUCKETS, and the target in its place: how many requests have kept to it is then counted and not guessed.

    And twice the target, where that is above all others: of what is beyond its last bound a histogram says that bound,
    and a latency far above a target of ten seconds would look as if it kept to it.
    """
    if target is None:
        return BUCKETS
    above = {2 * target} if 2 * target > BUCKETS[-1] else set()
    return tuple(sorted({*BUCKETS, target, *above}))


class Histogram:
    """Observations counted by the upper bounds `bounds`; the last place counts what is above the last bound."""

    __slots__ = ("bounds", "counts", "lower", "total")

    def __init__(self, bounds: tuple[float, ...] = BUCKETS) -> None:
        self.bounds = bounds
        self.lower = (-math.inf, *bounds)
        """The bound below each bucket, which does not belong to it."""
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """(upper bound, how many were at most that), as Prometheus writes it."""
        seen = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            seen += count
            yield bound, seen


class Runs:
    """The runs of one batch size: how many, and the seconds that they took in all."""

    __slots__ = ("count", "infer", "input", "output")

    def __init__(self) -> None:
        self.count = 0
        self.input = 0.0
        """To put the requests' tensors together."""
        self.infer = 0.0
        """In the model."""
        self.output = 0.0
        """To cut the results apart again."""


class ModelStats:
    """The numbers of one version of one model, all from 0 at the start of the process."""

    __slots__ = (
        "age",
        "aims",
        "batch",
        "capacity",
        "compute",
        "executions",
        "failed_seconds",
        "failures",
        "infer_seconds",
        "inferences",
        "input_bytes",
        "input_seconds",
        "last",
        "load",
        "model",
        "output_bytes",
        "output_seconds",
        "predict",
        "queue",
        "ready",
        "received",
        "rejected",
        "replies",
        "request",
        "runs",
        "state_bytes",
        "state_rows",
        "successes",
        "version",
    )

    def __init__(self, model: str, version: str, aims: Aims = Aims()) -> None:  # noqa: B008 - immutable
        self.model = model
        self.version = version
        self.aims = aims
        self.ready = False
        self.received = 0
        """Every request that named this model, before anything was decided about it."""
        self.rejected: Counter[str] = Counter(dict.fromkeys(REJECT_CAUSES, 0))
        self.load: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """(waiting, running) requests now; asked when somebody scrapes."""
        self.age: Callable[[], float] = lambda: 0.0
        """Seconds that the request which waits longest has waited; 0 when none waits."""
        self.capacity: Callable[[], Capacity | None] = lambda: None
        """What the runs have shown so far; None before the model was loaded."""
        self.successes = 0
        self.failures: Counter[str] = Counter(dict.fromkeys(FAILURE_REASONS, 0))
        self.failed_seconds = 0.0
        """From arrival to answer of all failed requests together, those refused before they waited left out."""
        self.replies = 0
        """Answers of successful requests: a decoupled model gives any number to one."""
        self.inferences = 0
        """Samples computed: a request of batch 8 counts 8."""
        self.executions = 0
        """Runs of the model."""
        self.last = 0
        """Milliseconds since 1970 of the last run; 0 before the first."""
        self.input_bytes = 0
        """Of the tensors of admitted requests."""
        self.output_bytes = 0
        """Of the tensors answered."""
        self.request = Histogram(with_target(aims.target))
        """From the last byte of the request to the answer, of successful requests."""
        self.queue = Histogram()
        """From admission to the start of the run, of successful requests."""
        self.compute = Histogram()
        """Of the runs: one observation a run, however many requests it served."""
        self.predict = Histogram()
        """Of the runs, once for each request served; its total is `infer_seconds`."""
        self.batch = Histogram(BATCH_BUCKETS)
        """Samples of each run, without padding."""
        self.runs: dict[int, Runs] = {}
        """By samples of the run."""
        self.state_bytes: Callable[[], int] | None = None
        """Bytes of the device's memory for states; None: the model never kept any there."""
        self.state_rows: Counter[str] = Counter()
        """States that runs began with, by where they were: `device` or `host`. The model's thread adds to it."""
        self.input_seconds = self.infer_seconds = self.output_seconds = 0.0
        """As in `Runs`, and as Triton counts them: the time of a run once for each successful request in it."""

    def observe_run(self, samples: int, requests: int, gather: float, infer: float, scatter: float) -> None:
        """Count one run of so many samples for so many requests, and the seconds of its three parts, as in `Runs`."""
        self.executions += 1
        self.inferences += samples
        self.last = time.time_ns() // 1_000_000
        self.input_seconds += gather * requests
        self.infer_seconds += infer * requests
        self.output_seconds += scatter * requests
        compute, batch = self.compute, self.batch
        bucket = bisect_left(BUCKETS, infer)
        compute.counts[bucket] += 1
        self.predict.counts[bucket] += requests
        compute.total += infer
        batch.counts[bisect_left(BATCH_BUCKETS, samples)] += 1
        batch.total += samples
        runs = self.runs.get(samples)
        if runs is None:
            if len(self.runs) >= _MOST_SIZES:
                return
            runs = self.runs[samples] = Runs()
        runs.count += 1
        runs.input += gather
        runs.infer += infer
        runs.output += scatter

    def observe_states(self, found: int, sent: int) -> None:
        """Count the states of a run: those that were on the device, and those that were sent there."""
        self.state_rows["device"] += found
        self.state_rows["host"] += sent

    def observe_requests(self, arrived: list[float], started: float, answered: float) -> None:
        """Count the successful requests of a run, by the times when they arrived; all in seconds of one clock."""
        count, total = len(arrived), sum(arrived)
        first, last = (total, total) if count == 1 else (min(arrived), max(arrived))
        self.successes += count
        queue, request = self.queue, self.request
        queue.total += count * started - total
        request.total += count * answered - total
        bounds = request.bounds
        bucket, other = bisect_left(BUCKETS, started - first), bisect_left(bounds, answered - first)
        if started - last > LOWER[bucket] and answered - last > request.lower[other]:
            # All in the same bucket, as usual for those that one turn of the loop has brought.
            queue.counts[bucket] += count
            request.counts[other] += count
            return
        for each in arrived:
            queue.counts[bisect_left(BUCKETS, started - each)] += 1
            request.counts[bisect_left(bounds, answered - each)] += 1

    @property
    def waiting(self) -> int:
        """Requests admitted and not yet running."""
        return self.load()[0]

    @property
    def in_flight(self) -> int:
        """Requests that run."""
        return self.load()[1]

    @property
    def oldest(self) -> float:
        """Seconds that the request which waits longest has waited."""
        return self.age()

    def row(self) -> dict[str, Any]:
        """The row of V2's statistics: counts that only grow, times in whole nanoseconds."""
        done, failed = self.successes, sum(self.failures.values())
        return {
            "name": self.model,
            "version": self.version,
            "last_inference": self.last,
            "inference_count": self.inferences,
            "execution_count": self.executions,
            "inference_stats": {
                "success": _sum(done, self.request.total),
                "fail": _sum(failed, self.failed_seconds),
                "queue": _sum(done, self.queue.total),
                "compute_input": _sum(done, self.input_seconds),
                "compute_infer": _sum(done, self.infer_seconds),
                "compute_output": _sum(done, self.output_seconds),
                "cache_hit": _sum(0, 0.0),
                "cache_miss": _sum(0, 0.0),
            },
            "response_stats": {},
            "batch_stats": [
                {
                    "batch_size": size,
                    "compute_input": _sum(runs.count, runs.input),
                    "compute_infer": _sum(runs.count, runs.infer),
                    "compute_output": _sum(runs.count, runs.output),
                }
                for size, runs in sorted(self.runs.items())
            ],
            "memory_usage": [],
        }


def _sum(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}
