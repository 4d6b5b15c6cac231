"""The numbers of the models, which the hot path adds to.

Plain integers (0.1 us for what costs prometheus_client's counters and histograms with their locks 8 us a request, half
of what a small model takes in all). All of it happens on the event loop, so nothing is lost.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator

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
