"""What Prometheus says of one service: numbers as they came, none of them NaN or infinite."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Line(NamedTuple):
    """Run time of one pod: a run of n samples takes `fixed + per_sample * n` seconds."""

    fixed: float
    per_sample: float

    def at(self, samples: float) -> float:
        """Return the seconds of a run of so many samples."""
        return self.fixed + self.per_sample * samples


@dataclass(frozen=True, slots=True)
class Findings:
    """One service in one look at Prometheus. None: no series said it."""

    time: float
    """When Prometheus looked, by its own clock, in unix seconds."""
    newest: float | None = None
    """Time of the newest sample of any pod, in unix seconds."""
    pods: int = 0
    """Pods that have series."""
    copies: int = 0
    """How often the series of one pod are there; more than once, everything would be counted double."""
    scrapes: int = 0
    """How often the pod that was scraped most often was, in the last `Scraping.counted` seconds."""
    ready: int = 0
    """Pods whose model answers requests."""
    proven: int = 0
    """Pods that were ready, and scraped, for all of the time that a rate is taken over."""
    rate: float | None = None
    """Requests received a second, the refused ones included. None until two scrapes of a pod exist."""
    history: tuple[float | None, ...] = ()
    """That rate over the last hour, each `Scraping.step` seconds, the newest last; None where nothing was measured."""
    queued: float | None = None
    """Requests that wait."""
    in_flight: float | None = None
    """Requests that run."""
    latency: Mapping[int, float] = field(default_factory=dict)
    """Seconds by percentile (90, 95, 99): the highest of the last minute; only where enough requests were answered."""
    answered: float = 0.0
    """Requests answered with success in the latency's window."""
    refused: float = 0.0
    """Requests refused for want of capacity in the same window."""
    curve: Line | None = None
    """Batch curve of the median pod."""
    batch_limit: float | None = None
    """Most samples of one run; 1: requests do not share runs."""
    batch_delay: float | None = None
    """Seconds that a request may wait for others although the model is free."""
    queue_limit: float | None = None
    """Requests that may wait in one pod."""
    run_mean: float | None = None
    """Mean seconds of a run, of the median pod."""
    run_variation: float | None = None
    """Squared coefficient of variation of the run time, of the same pod."""
    workers: float | None = None
    """Processes of a pod."""
    samples_per_request: float | None = None
    """Mean samples of a request; None without requests."""
    loop_seconds: float | None = None
    """CPU seconds that the loop of a worker spends on a request; None where it has too little to do to tell, or where
    the runtime is older."""
    load_seconds: float | None = None
    """p90 of the time from a pod's creation until it was ready, as the operator says."""
    garbled: Mapping[str, str] = field(default_factory=dict)
    """Series that no answer can do without and that are no numbers (NaN, infinite, negative, or histograms), by name,
    and at which pods; empty where that is not known."""
