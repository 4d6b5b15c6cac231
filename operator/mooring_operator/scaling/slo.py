"""How many pods hold a latency target: what one pod can take, what is coming, and the count of both. Pure.

Arrivals drive the count, because they alone do not depend on it: queue, concurrency and busy time of a batching server
rise much faster than its load, and a rule that follows them swings. On top of the arrivals comes the rise that the last
hour has shown at least twice within one horizon, the time from a request that comes to a pod that is there because of
it. Constants and their reasons: `docs/decisions/014-scaling-rule.md`; `make bench-autoscaling` measures the rule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HISTORY: Final = 3600.0
"""Seconds of arrivals that the rule learns from."""
STEP: Final = 15.0
"""Seconds between two points of that history."""
SPARE: Final = 0.05
"""Share above the present arrivals that is always planned: what one scrape does not show yet."""
_SYNC: Final = 7.5
"""Half the period of the HPA, in seconds."""
_ONCE: Final = 1.5
"""A rise is seen for about one horizon of the hour. What lasted less than 1.5 horizons came once and is forgiven."""
_HORIZONS_TO_LEARN: Final = 3
_BACKLOG: Final = 30.0
"""Fewest seconds in which a backlog may be worked off: less would buy pods that come when it is gone."""
_ROUNDING: Final = 0.05
"""Share of a pod that is not bought: 3.001 pods are three."""
_MARGIN: Final = 0.96
"""Share of the computed rate that is counted on."""
_SPREAD: Final = {90: 1.75, 95: 2.05, 99: 2.65}
"""Standard deviations of a batch above its mean that a percentile sees, see `capacity`."""
_LATE: Final = 0.7
"""Share of the misses a percentile allows that waiting alone may cause; the formula for it is an approximation."""
_OVERHEAD: Final = 0.0001
"""Seconds that the server itself spends on a request beside the run: else a model of microseconds seems to take more
than any process can read."""


@dataclass(frozen=True, slots=True)
class Curve:
    """How long a run of n samples takes: `fixed + per_sample * n` seconds.

    Raises:
        ValueError: a term is negative or no number, or both are 0: then nothing has been measured yet.
    """

    fixed: float
    per_sample: float

    def __post_init__(self) -> None:
        _finite("Curve", fixed=self.fixed, per_sample=self.per_sample)
        if self.fixed + self.per_sample <= 0.0:
            raise ValueError("Curve: fixed and per_sample are both 0; wait until the runtime has measured a run")


@dataclass(frozen=True, slots=True)
class Capability:
    """What one pod is.

    Attributes:
        curve: run times of one worker.
        max_batch: most samples of one run; 1 without batching.
        max_delay: seconds that a request may wait for others to run with it.
        squared_variation: variance of the run time over the square of its mean, for one size of run.
        workers: processes in the pod, each with the curve.
    """

    curve: Curve
    max_batch: int
    max_delay: float = 0.0
    squared_variation: float = 0.0
    workers: int = 1

    def __post_init__(self) -> None:
        _finite("Capability", max_delay=self.max_delay, squared_variation=self.squared_variation)
        if self.max_batch < 1 or self.workers < 1:
            raise ValueError(
                f"Capability: max_batch is {self.max_batch} and workers is {self.workers}; both are at least 1"
            )


@dataclass(frozen=True, slots=True)
class Target:
    """The latency that a percentile (90, 95 or 99) of all requests must keep, in seconds."""

    percentile: int
    seconds: float

    def __post_init__(self) -> None:
        _finite("Target", seconds=self.seconds)
        if self.percentile not in _SPREAD or self.seconds <= 0.0:
            raise ValueError(
                f"Target: percentile {self.percentile} of {self.seconds} s; give 90, 95 or 99 and a time above 0"
            )


@dataclass(frozen=True, slots=True)
class Signals:
    """What is seen of a service now.

    Attributes:
        rate: arrivals in req/s, refused ones included.
        rise: req/s that the arrivals may grow by within one horizon, by the last hour; None where that is not known.
        peak: highest rate of the last hour, in req/s.
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
        _finite(
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


def capacity(capability: Capability, target: Target) -> float:
    """Return the req/s that one pod holds at a target, with requests that come at random (a plain Service).

    With batching: a request waits for the rest of one run and is part of the next, so two runs must fit into the
    target. Requests that come while a run takes `a + b n` are the next batch. At a rate r the mean batch is
    `m = r a / (1 - r b)` and its spread about `sqrt(m)`; the run that a percentile p sees has `m + z sqrt(m)` samples,
    where z is the normal quantile at `1 - 0.4 (1 - p)`. So `2 (a + b (m + z sqrt(m))) + max_delay <= target`, and the
    batch fits into max_batch.

    Without: `rho exp(-2 (1 - rho) (target - S) / (S (1 + cv^2))) <= 0.7 (1 - p)`, the tail of the wait in M/G/1 under
    heavy traffic (Kingman), for runs of S seconds. It also holds for a batching model with a target too short for two
    runs: there a request is in time only if it finds the pod idle or nearly done.

    A target that cannot be met whatever the load is told by `unreachable`; here it counts as two lone runs: pods
    without end would not help, and none would be a fleet that breaks down.
    """
    curve, delay = capability.curve, capability.max_delay
    seconds = target.seconds
    lone = curve.fixed + curve.per_sample
    if unreachable(capability, target):
        seconds = 2.0 * lone + delay
    alone = _unbatched(lone + _OVERHEAD, capability.squared_variation, target.percentile, seconds - delay)
    together = _batched(capability, target.percentile, seconds) if capability.max_batch > 1 else 0.0
    return capability.workers * max(alone, together)


def unreachable(capability: Capability, target: Target) -> str:
    """Return why no number of pods can meet a target, or "" where some can."""
    curve = capability.curve
    fastest = curve.fixed + curve.per_sample + capability.max_delay + _OVERHEAD
    if fastest < target.seconds:
        return ""
    return (
        f"a request that finds an idle pod takes {fastest * 1000.0:.3g} ms, more than the target of"
        f" {target.seconds * 1000.0:.3g} ms: no number of replicas can meet it; raise the target or use a faster model"
    )


def horizon(load_seconds: float, scrape: float = 15.0, window: float = 45.0) -> float:
    """Return the seconds from a change of the arrivals until the pods that it asks for answer."""
    return load_seconds + scrape / 2.0 + window / 2.0 + _SYNC


def quantile(horizon: float) -> float:
    """Return which quantile of the hour's rises is expected again: one seen once is not, one seen twice is."""
    return max(0.5, 1.0 - _ONCE * horizon / HISTORY)


def learn(history: Sequence[float | None], load_seconds: float) -> Learned:
    """Return what the last hour teaches.

    Args:
        history: arrivals in req/s each `STEP` seconds, the newest last; None where nothing was measured. What is older
            than `HISTORY` is left out.
        load_seconds: from a pod's creation until it answers.
    """
    points = list(history[-int(HISTORY / STEP) - 1 :])
    known = [point for point in points if point is not None]
    if not known:
        return Learned(None, 0.0, 0.0)
    oldest = next(index for index, point in enumerate(points) if point is not None)
    seconds = (len(points) - 1 - oldest) * STEP
    ahead = horizon(load_seconds)
    lag = max(1, round(ahead / STEP))
    rises = sorted(
        later - earlier
        for earlier, later in zip(points, points[lag:], strict=False)
        if earlier is not None and later is not None
    )
    if seconds < _HORIZONS_TO_LEARN * ahead or not rises:
        return Learned(None, max(known), seconds)
    return Learned(max(0.0, _quantile_of(rises, quantile(ahead))), max(known), seconds)


def decide(signals: Signals, capacity: float, headroom: float, target: Target) -> Decision:
    """Return how many pods a service needs.

    Args:
        signals: what is seen of it.
        capacity: req/s that one pod holds, of `capacity`.
        headroom: share above the arrivals that is always kept, such as 0.5.
        target: its latency.

    Raises:
        ValueError: a capacity that is not above 0, or a headroom below 0.
    """
    _finite("decide", capacity=capacity, headroom=headroom)
    if capacity <= 0.0:
        raise ValueError(f"decide: capacity is {capacity} req/s; it must be above 0: take it from capacity()")
    learning = signals.rise is None or signals.history_seconds < _HORIZONS_TO_LEARN * horizon(signals.load_seconds)
    parts = {"rate": signals.rate * (1.0 + SPARE), "headroom": signals.rate * (1.0 + headroom)}
    if not learning and signals.rise is not None:
        # What has never been reached in the hour is no lesson of it, whatever the slope.
        parts["rise"] = min(signals.rate + signals.rise, signals.peak * (1.0 + SPARE))
    reason = max(parts, key=lambda part: parts[part])
    planned = parts[reason]
    # A fleet that holds its target has up to half a target of work waiting; only what is more must be worked off.
    surplus = max(0.0, signals.queued - signals.ready * capacity * target.seconds / 2.0)
    backlog = surplus / max(_BACKLOG, signals.load_seconds)
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


def _batched(capability: Capability, percentile: int, target: float) -> float:
    curve, spread = capability.curve, _SPREAD[percentile]
    a, b = curve.fixed, curve.per_sample + _OVERHEAD
    largest = min(float(capability.max_batch), ((target - capability.max_delay) / 2.0 - a) / b)
    if largest <= 0.0:
        return 0.0
    # The mean m of which m + z sqrt(m) is the largest batch that still fits.
    mean = ((math.sqrt(spread * spread + 4.0 * largest) - spread) / 2.0) ** 2
    return _MARGIN * mean / (a + b * mean)


def _unbatched(run: float, squared_variation: float, percentile: int, target: float) -> float:
    allowed = _LATE * (1.0 - percentile / 100.0)
    decay = 2.0 * (target - run) / (run * (1.0 + squared_variation))
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2.0
        if middle * math.exp(-decay * (1.0 - middle)) <= allowed:
            low = middle
        else:
            high = middle
    return low / run


def _quantile_of(ordered: Sequence[float], share: float) -> float:
    """Return a quantile as Prometheus' `quantile_over_time` does: linear between the two nearest ranks."""
    rank = share * (len(ordered) - 1)
    lower = math.floor(rank)
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (rank - lower) * (ordered[upper] - ordered[lower])


def _finite(name: str, **values: float) -> None:
    for field, value in values.items():
        if not math.isfinite(value) or value < 0.0:
            raise ValueError(f"{name}: {field} is {value}; it must be a number of at least 0")
