"""How much one process can do of a model's runs, and how many requests may wait for them."""

import math

from mooring_runtime.metrics import Capacity, ModelStats
from mooring_runtime.metrics.capacity import DEFAULT_QUEUE
from mooring_runtime.scheduling.curve import Curve
from mooring_runtime.scheduling.lanes import Lanes

LEAST_QUEUE = 8
"""Requests that may always wait where runs are shared: a burst is no overload, and the curve may be wrong (measured in
simulation: 8 places for a model that runs 32 samples at once broke normal operation, so at least half a run may wait as
well). Where each has a run of its own they are fewer, if with so many the last would be late: a model of 100 ms and a
target of 500 ms holds 6.2 requests a second with 8 places, and 7.9 with 4 (simulated)."""


def queue_bound(curve: tuple[float, float], most: int, target: float, rows: float = 1.0) -> int:
    """Requests that may wait so that who is let in still meets the target: as many as half of it has time for.

    `curve`: (a, b) in seconds of a run of n samples, a + b n; `most` samples a run; `target` in seconds; `rows` samples
    a request. Pure.
    """
    a, b = curve
    full = a + b * most
    half = target / 2
    if full <= 0.0:
        return DEFAULT_QUEUE
    runs = math.floor(half / full)
    left = half - runs * full
    rest = 0.0
    if left > a:
        rest = min((left - a) / b, most) if b > 0.0 else most
    samples = max(runs * most + rest, most / 2)
    # Those before it, what is left of the run under way, and its own: the last place from which one is in time.
    least = LEAST_QUEUE if most > 1 else min(LEAST_QUEUE, max(1, math.floor(target / full) - 1))
    return min(max(math.floor(samples / rows), least), DEFAULT_QUEUE)


class Measured:
    """What a batcher's runs have shown, for its metrics and for who lets requests in."""

    def __init__(self, curve: Curve, lanes: Lanes, delay: float, stats: ModelStats) -> None:
        """`delay`: seconds as in `Capacity`, or infinite where nobody has set it."""
        self._curve = curve
        self._lanes = lanes
        self._delay = 0.0 if math.isinf(delay) else delay
        self._stats = stats
        self._bound = DEFAULT_QUEUE
        self._bound_of = 0
        """Runs that the curve had learned from when the bound was last made."""

    def told(self) -> Capacity:
        """The numbers now."""
        curve, aims = self._curve, self._stats.aims
        return Capacity(
            self._lanes.most,
            self._delay,
            curve.terms if curve.runs else None,
            curve.mean,
            curve.variation,
            min(self.bound(), aims.limit),
        )

    def bound(self) -> int:
        """Requests that may wait. It follows the curve, where the target bounds the queue."""
        stats, curve = self._stats, self._curve
        target = stats.aims.target
        if target is None or not stats.aims.bounded:
            return stats.aims.limit
        if curve.runs != self._bound_of:  # It is asked for each request that finds others waiting.
            self._bound_of = curve.runs
            rows = stats.inferences / stats.successes if stats.successes else 1.0
            self._bound = queue_bound(curve.terms, self._lanes.most, target, max(rows, 1.0))
        return self._bound
