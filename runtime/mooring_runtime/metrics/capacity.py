"""What is told of how much a process can do: by this a rule of autoscaling says how many replicas a load needs."""

from typing import NamedTuple

DEFAULT_QUEUE = 1024
"""Requests that may wait or run at once in a process where nobody has said how many."""


class Aims(NamedTuple):
    """What the settings say of a process's requests."""

    target: float | None = None
    """Seconds that a request should be answered in; None: nobody has said."""
    queue: int | None = None
    """Requests that may wait or run at once; None: nobody has said."""

    @property
    def limit(self) -> int:
        """Most requests that may wait or run at once, of all models together."""
        return DEFAULT_QUEUE if self.queue is None else self.queue

    @property
    def bounded(self) -> bool:
        """Whether a model's queue is bounded by the target too."""
        return self.queue is None and self.target is not None


class Capacity(NamedTuple):
    """What was measured of the runs of one loaded model, and the bounds that hold for it."""

    limit: int
    """Most samples of one run; 1: requests do not share runs."""
    delay: float
    """Seconds that a request may wait for others although the model is free; 0 where nobody has set it."""
    curve: tuple[float, float] | None
    """(a, b) in seconds: nine runs of n samples in ten take at most a + b n; None before the first run."""
    mean: float
    """Seconds of a run, on average; 0 before the first."""
    variation: float
    """Variance of those seconds by the square of `mean`; 0 before the first run."""
    queue: int
    """Requests that may wait; one more is refused."""
