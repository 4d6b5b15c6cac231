"""How many pods hold a latency target: what is coming, by what one pod can take (`capacity.py`). Pure.

Arrivals drive the count, because they alone do not depend on it: queue, concurrency and busy time of a batching server
rise much faster than its load, and a rule that follows them swings. On top of the arrivals comes the rise that the last
hour has shown twice within one horizon, the time from a request that comes to a pod that is there because of it; and
never more than a level that the hour has reached twice. What came once is a surprise, and is forgiven. Constants and
their reasons: `docs/decisions/014-scaling-rule.md`; `make bench-autoscaling` measures the rule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .capacity import Capability, Curve, Target, capacity, finite, unreachable
from .scraping import Scraping

__all__ = [
    "Capability",
    "Curve",
    "Decision",
    "Learned",
    "Signals",
    "Target",
    "capacity",
    "decide",
    "horizon",
    "learn",
    "past_the_dead_band",
    "unreachable",
]

SPARE: Final = 0.03
"""Share above the present arrivals that is always planned: what one scrape does not show yet."""
_EACH_15_SECONDS: Final = Scraping()
_HORIZONS_TO_LEARN: Final = 3
_ROUNDING: Final = 0.05
"""Share of a pod that is not bought: 3.001 pods are three."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is seen of a service now.

    Attributes:
        rate: arrivals in req/s, refused ones included.
        rise: req/s that the arrivals grew by within one horizon twice in the last hour; None where that is not known.
        peak: req/s that the arrivals reached twice in it.
        queued: requests that wait, of all pods.
        ready: pods that answer.
        load_seconds: from a pod's creation until it answers.
        history_seconds: how far back the arrivals are known.
    """

    rate: float
    rise: float | None
    peak: float
    queued: float
    ready: int
    load_seconds: float
    history_seconds: float

    def __post_init__(self) -> None:
        finite(
            "Signals",
            rate=self.rate,
            rise=0.0 if self.rise is None else self.rise,
            peak=self.peak,
            queued=self.queued,
            ready=self.ready,
            load_seconds=self.load_seconds,
            history_seconds=self.history_seconds,
        )


@dataclass(frozen=True, slots=True)
class Learned:
    """What the last hour teaches: `rise` and `peak` in req/s, as in `Signals`, and the seconds that it covers."""

    rise: float | None
    peak: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Decision:
    """How many pods, and why.

    Attributes:
        replicas: pods that are wanted, at least 1.
        capacity: req/s that one pod holds at the target.
        planned: req/s that the pods are wanted for.
        backlog: req/s on top, to work off the queue that a healthy fleet does not have.
        learning: whether the rise is left out because too little history is known.
        reason: which part of the plan is the largest: rate, headroom or rise.
    """

    replicas: int
    capacity: float
    planned: float
    backlog: float
    learning: bool
    reason: str


def horizon(load_seconds: float, scraping: Scraping = _EACH_15_SECONDS) -> float:
    """Return the seconds from a change of the arrivals until the pods that it asks for answer."""
    return load_seconds + scraping.detection


def learn(history: Sequence[float | None], load_seconds: float, scraping: Scraping = _EACH_15_SECONDS) -> Learned:
    """Return what the last hour teaches.

    Args:
        history: arrivals in req/s each `scraping.step` seconds, the newest last; None where nothing was measured. What
            is older than `scraping.history` is left out.
        load_seconds: from a pod's creation until it answers.
        scraping: how the history came to be.
    """
    step, window = scraping.step, scraping.window
    points = list(history[-(scraping.history // step) - 1 :])
    known = [point for point in points if point is not None]
    if not known:
        return Learned(None, 0.0, 0.0)
    oldest = next(index for index, point in enumerate(points) if point is not None)
    seconds = float((len(points) - 1 - oldest) * step)
    ahead = horizon(load_seconds, scraping)
    # A rate shows a rise in full only when all of its window lies behind it. Without half a window more, rises towards
    # pods that start within seconds would be seen as half of what they are.
    lag = max(1, round((ahead + window / 2.0) / step))
    apart = lag + round(window / step)
    rises = [
        0.0 if earlier is None or later is None else later - earlier
        for earlier, later in zip(points, points[lag:], strict=False)
    ]
    peak = _twice([0.0 if point is None else point for point in points], apart)
    if seconds < _HORIZONS_TO_LEARN * ahead:
        return Learned(None, peak, seconds)
    return Learned(_twice(rises, apart), peak, seconds)


def decide(
    signals: Signals, capacity: float, headroom: float, target: Target, scraping: Scraping = _EACH_15_SECONDS
) -> Decision:
    """Return how many pods a service needs.

    Args:
        signals: what is seen of it.
        capacity: req/s that one pod holds, of `capacity`.
        headroom: share above the arrivals that is always kept, such as 0.5.
        target: its latency.
        scraping: how the signals came to be.

    Raises:
        ValueError: a capacity that is not above 0, or a headroom below 0.
    """
    finite("decide", capacity=capacity, headroom=headroom)
    if capacity <= 0.0:
        raise ValueError(f"decide: capacity is {capacity} req/s; it must be above 0: take it from capacity()")
    enough = _HORIZONS_TO_LEARN * horizon(signals.load_seconds, scraping)
    learning = signals.rise is None or signals.history_seconds < enough
    parts = {"rate": signals.rate * (1.0 + SPARE), "headroom": signals.rate * (1.0 + headroom)}
    if not learning and signals.rise is not None:
        # A level that the hour has reached once at most is no lesson of it, whatever the slope.
        parts["rise"] = min(signals.rate + signals.rise, signals.peak)
    reason = max(parts, key=lambda part: parts[part])
    planned = parts[reason]
    # A fleet that holds its target has up to half a target of work waiting; only what is more must be worked off.
    surplus = max(0.0, signals.queued - signals.ready * capacity * target.seconds / 2.0)
    backlog = surplus / max(scraping.backlog, signals.load_seconds)
    replicas = max(1, math.ceil((planned + backlog) / capacity - _ROUNDING))
    return Decision(replicas, capacity, planned, backlog, learning, reason)


def past_the_dead_band(desired: int, live: int) -> int:
    """Return the count to tell an HPA without `tolerance`, so that it takes one more pod for one more.

    It leaves `live` as it is for anything up to a tenth more, the tenth included, and a fleet of ten would never get
    its eleventh pod. Only upwards: a tenth too many pods costs little, a tenth too few the target.
    """
    if live < desired and 10 * desired <= 11 * live:
        return 11 * live // 10 + 1
    return desired


def _twice(values: Sequence[float], apart: int) -> float:
    """Return what values reach a second time, more than so many points from where they are highest; 0 at least."""
    if not values:
        return 0.0
    highest = max(range(len(values)), key=values.__getitem__)
    return max(0.0, *values[: max(0, highest - apart)], *values[highest + apart + 1 :], 0.0)
