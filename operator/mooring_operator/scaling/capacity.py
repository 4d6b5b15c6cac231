"""How many requests a second one pod holds at a latency target, by the measured times of its runs. Pure.

All of it is for requests that come at random to random pods, as through a plain Service. How far the formulas are from
a simulation stands in `docs/decisions/014-scaling-rule.md`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_ALLOWED: Final = {90: 0.075, 95: 0.0375, 99: 0.005}
"""Share of misses that is planned, by percentile: three quarters of those that the percentile allows, half for p99. One
minute has more of them than another, and the normal law has too thin a tail for the rarest."""
_ALONE: Final = {90: 0.0875, 95: 0.04375, 99: 0.00875}
"""The same for single runs, where the formula errs to the safe side."""
_SMALL: Final = 0.3
"""Samples by which few places hold less than the normal law says."""
_OVERHEAD: Final = 0.0001
"""Seconds that the server itself spends on a request beside the run: else a model of microseconds seems to take more
than any process can read."""
_EVEN: Final = 1e-9
"""Seconds by which rounding may make two equal times differ."""
_ROUNDS, _HALVINGS, _SLICES = 15, 20, 8


@dataclass(frozen=True, slots=True)
class Curve:
    """How long a run of n samples takes: `fixed + per_sample * n` seconds.

    Raises:
        ValueError: a term is negative or no number, or both are 0: then nothing has been measured yet.
    """

    fixed: float
    per_sample: float

    def __post_init__(self) -> None:
        finite("Curve", fixed=self.fixed, per_sample=self.per_sample)
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
        queue_limit: requests that may wait in the pod, for all workers together; None where that is not known or has no
            bound. A queue so short that all who are let in are in time lets a pod hold a tenth more.
    """

    curve: Curve
    max_batch: int
    max_delay: float = 0.0
    squared_variation: float = 0.0
    workers: int = 1
    queue_limit: int | None = None

    def __post_init__(self) -> None:
        finite("Capability", max_delay=self.max_delay, squared_variation=self.squared_variation)
        if self.max_batch < 1 or self.workers < 1:
            raise ValueError(
                f"Capability: max_batch is {self.max_batch} and workers is {self.workers}; both are at least 1"
            )
        if self.queue_limit is not None and self.queue_limit < 0:
            raise ValueError(
                f"Capability: queue_limit is {self.queue_limit}; it is at least 0, or None without a bound"
            )


@dataclass(frozen=True, slots=True)
class Target:
    """The latency that a percentile (90, 95 or 99) of all requests must keep, in seconds."""

    percentile: int
    seconds: float

    def __post_init__(self) -> None:
        finite("Target", seconds=self.seconds)
        if self.percentile not in _ALLOWED or self.seconds <= 0.0:
            raise ValueError(
                f"Target: percentile {self.percentile} of {self.seconds} s; give 90, 95 or 99 and a time above 0"
            )


def unreachable(capability: Capability, target: Target) -> str:
    """Return why no number of pods can meet a target, or "" where some can."""
    fastest = _lone(capability) + capability.max_delay
    if fastest < target.seconds:
        return ""
    return (
        f"a request that finds an idle pod takes {fastest * 1000.0:.3g} ms, more than the target of"
        f" {target.seconds * 1000.0:.3g} ms: no number of replicas can meet it; raise the target or use a faster model"
    )


def capacity(capability: Capability, target: Target, loop_seconds: float = 0.0) -> float:
    """Return the req/s that one pod holds at a target: what its runs allow, and the loops that feed them.

    A worker has one thread that reads requests, writes answers and makes short runs, and that has no more than one
    second a second. Where runs take microseconds, or inputs are long texts, that is the end before the runs are. Its
    queue is that of M/G/1, as of single runs. What `_OVERHEAD` assumes of it is in the runs' own share.

    Args:
        capability: what the pod is.
        target: its latency.
        loop_seconds: that the loop of a worker spends on a request; 0 where nobody has measured it.

    Raises:
        ValueError: `loop_seconds` is negative or no number.
    """
    finite("capacity", loop_seconds=loop_seconds)
    # Not in what is remembered: the times of a loop are new with each scrape, and the runs' part takes a millisecond.
    held = _by_runs(capability, target)
    if loop_seconds <= 0.0:
        return held
    waits = max(target.seconds - loop_seconds, loop_seconds)
    return min(held, capability.workers * _waiting(loop_seconds, 2.0, waits, _ALONE[target.percentile]))


@lru_cache(maxsize=1024)
def _by_runs(capability: Capability, target: Target) -> float:
    """Return the req/s that the runs of one pod allow: the highest that one of three ways to look at it allows.

    - *Growing batches.* Those who come while a run takes `a + b n` are the next batch. Its size is taken as normal: of
      mean `r (a + b m)` at a rate r, where m is the mean of the batch before, and of variance
      `r (a + b m) + (r b)^2 v`, the chance of the arrivals and what is left of the variance v before; what exceeds the
      places is cut off, and m and v are those of the next batch. A request comes at an even chance u within a run (long
      ones are met more often), so it takes `u` times that run and all of the next. Missed are those who take longer
      than the target and those who find no place; the latter alone where the queue is so short that two runs of it are
      in time.
    - *Full batches.* Where many full runs fit into the target the batches wait as the customers of a queue do, each of
      `max_batch` arrivals: `rho exp(-2 (1 - rho) t / (S (1/max_batch + cv^2)))` wait longer than t (Kingman's tail in
      heavy traffic), t being the target less two runs: one to fill the batch and its own.
    - *Single runs.* The same for runs of one; with a short queue those are missed who find no place, by the formula of
      Smith (2004) for M/G/1/K. It also holds for a batching model with a target too short for two runs: there a request
      is in time only if it finds the pod idle or nearly done.

    A target that cannot be met whatever the load is told by `unreachable`; here it counts as two lone runs: pods
    without end would not help, and none would be a fleet that breaks down.
    """
    seconds = target.seconds - capability.max_delay
    if unreachable(capability, target):
        seconds = 2.0 * _lone(capability)
    limit = None if capability.queue_limit is None else capability.queue_limit // capability.workers
    best = _alone(capability, target.percentile, seconds, limit)
    if capability.max_batch > 1:
        growing = _growing(capability, target.percentile, seconds, limit)
        best = max(best, growing, _full(capability, target.percentile, seconds))
    return capability.workers * best


def _lone(capability: Capability) -> float:
    return capability.curve.fixed + capability.curve.per_sample + _OVERHEAD


def _growing(capability: Capability, percentile: int, seconds: float, limit: int | None) -> float:
    a, b = capability.curve.fixed, capability.curve.per_sample
    places = capability.max_batch if limit is None else max(1, min(limit, capability.max_batch))
    # Not where more may wait than fit into a run: the last of them would be late.
    in_time = limit is not None and limit <= capability.max_batch and 2.0 * (a + b * places) <= seconds + _EVEN
    b += _OVERHEAD

    def misses(rate: float) -> float:
        mean, variance, refused = _steady(rate, a, b, places)
        return refused if in_time else refused + _late(rate, (a, b), mean, variance, seconds)

    highest = places / (a + b * places)
    return (1.0 - _SMALL / places) * highest * _largest(lambda share: misses(share * highest) <= _ALLOWED[percentile])


def _steady(rate: float, a: float, b: float, places: int) -> tuple[float, float, float]:
    """Return the mean and the variance of the batches, and the share of requests that find no place."""
    mean = min(float(places), rate * a / (1.0 - rate * b)) if rate * b < 1.0 else float(places)
    variance = lost = 0.0
    coming = mean
    for _ in range(_ROUNDS):
        coming = rate * (a + b * mean)
        square = coming + (rate * b) ** 2 * variance
        spread = math.sqrt(square)
        distance = (places - coming) / spread
        density = math.exp(-distance * distance / 2.0) / math.sqrt(2.0 * math.pi)
        above = _above(distance)
        lost = spread * (density - distance * above)
        mean = coming - lost
        second = (
            places * places * above + (coming * coming + square) * (1.0 - above) - spread * density * (coming + places)
        )
        variance = max(0.0, second - mean * mean)
    return mean, variance, lost / coming


def _late(rate: float, curve: tuple[float, float], mean: float, variance: float, seconds: float) -> float:
    """Return the share of requests for which the rest of one run and the next take longer than `seconds`."""
    a, b = curve
    met = a + b * mean + b * b * variance / (a + b * mean)  # The mean run that a request meets.
    share = 0.0
    for number in range(_SLICES):
        rest = (number + 0.5) / _SLICES
        expected = rest * met + a + b * (rate * met + 1.0)
        spread = math.sqrt((rest + b * rate) ** 2 * b * b * variance + b * b * rate * met)
        share += _above((seconds - expected) / spread) / _SLICES
    return share


def _full(capability: Capability, percentile: int, seconds: float) -> float:
    batch = capability.max_batch
    run = capability.curve.fixed + (capability.curve.per_sample + _OVERHEAD) * batch
    variation = 1.0 / batch + capability.squared_variation
    return batch * _waiting(run, variation, seconds - 2.0 * run, _ALLOWED[percentile])


def _alone(capability: Capability, percentile: int, seconds: float, limit: int | None) -> float:
    run, variation = _lone(capability), capability.squared_variation
    if capability.max_batch == 1 and limit is not None and (limit + 1) * (run - _OVERHEAD) <= seconds + _EVEN:
        return _largest(lambda load: _refused(load, variation, limit + 1) <= _ALLOWED[percentile]) / run
    return _waiting(run, 1.0 + variation, seconds - run, _ALONE[percentile])


def _waiting(run: float, variation: float, seconds: float, allowed: float) -> float:
    """Return the runs a second at which so many wait longer than `seconds`; 0 where nobody may wait at all."""
    if seconds <= 0.0:
        return 0.0
    decay = 2.0 * seconds / (run * variation)
    return _largest(lambda load: load * math.exp(-decay * (1.0 - load)) <= allowed) / run


def _refused(load: float, squared_variation: float, places: int) -> float:
    """Return the share of arrivals that find all places of M/G/1/K taken, the one that runs included."""
    if abs(load - 1.0) < 1e-6:
        load = 1.0 - 1e-6
    bend = math.sqrt(load) * (squared_variation - 1.0)
    top = load ** ((bend + 2.0 * places) / (2.0 + bend)) * (load - 1.0)
    return float(top / (load ** (2.0 * (1.0 + bend + places) / (2.0 + bend)) - 1.0))


def _largest(holds: Callable[[float], bool]) -> float:
    """Return the largest number between 0 and 1 for which something holds that holds for all below it."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _above(deviations: float) -> float:
    """Return the share of a normal variable so many standard deviations above its mean."""
    return 0.5 * math.erfc(deviations / math.sqrt(2.0))


def finite(name: str, **values: float) -> None:
    """Raise ValueError that names the object and the field unless all values are numbers of at least 0."""
    for field, value in values.items():
        if not math.isfinite(value) or value < 0.0:
            raise ValueError(f"{name}: {field} is {value}; it must be a number of at least 0")
