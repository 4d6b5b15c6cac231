"""The HorizontalPodAutoscaler's arithmetic: from a metric to a count, and from a count to the next count. Pure.

After `replica_calculator.go` and `horizontal.go` of Kubernetes 1.33 and later: the tolerance holds the count, the
highest (lowest) recommendation of a window holds it against falling (rising), and policies bound how far it goes in a
period.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

SYNC = 15.0
"""Seconds between two looks of the HPA."""
TOLERANCE = 0.1


@dataclass(frozen=True)
class Policy:
    """At most `value` pods, or percent of those at the beginning of the period, in so many seconds."""

    kind: Literal["Pods", "Percent"]
    value: int
    period: float


@dataclass(frozen=True)
class Direction:
    """Behaviour of one direction. Of several policies the one that allows most holds."""

    window: float
    policies: tuple[Policy, ...]
    tolerance: float = TOLERANCE


DEFAULT_UP = Direction(0.0, (Policy("Percent", 100, 15.0), Policy("Pods", 4, 15.0)))
DEFAULT_DOWN = Direction(300.0, (Policy("Percent", 100, 15.0),))


def by_average_value(value: float, target: float, replicas: int, up: float, down: float) -> int:
    """Return the count for an external metric with an `AverageValue` target.

    Args:
        value, target: in whole thousandths, as the API carries them.
        up, down: tolerances.
    """
    usage, wanted = math.ceil(value * 1000.0 - 1e-6), round(target * 1000.0)
    ratio = usage / (wanted * replicas)
    if 1.0 - down <= ratio <= 1.0 + up:
        return replicas
    return math.ceil(usage / wanted)


@dataclass(frozen=True)
class Pod:
    """A pod for `by_utilization`: its share of the request that it uses, and whether the HPA believes the sample.

    Attributes:
        used: 1.0 is all of the request; None: there is no sample.
        ready: whether the pod is ready, and was so for the whole of the sample.
    """

    used: float | None
    ready: bool


def by_utilization(pods: Sequence[Pod], target: float, replicas: int, tolerance: float = TOLERANCE) -> int:
    """Return the count for a resource metric with a `Utilization` target (0.6 is 60 %).

    Pods without a sample count as idle when the fleet would grow and as fully used when it would shrink; pods that are
    not ready count as idle when it would grow and are else left out.
    """
    unready = [pod for pod in pods if pod.used is not None and not pod.ready]
    missing = sum(pod.used is None for pod in pods)
    used = [pod.used for pod in pods if pod.used is not None and pod.ready]
    if not used:
        return replicas
    ratio = sum(used) / len(used) / target
    if not (unready and ratio > 1.0) and not missing:
        return replicas if abs(1.0 - ratio) <= tolerance + 1e-9 else math.ceil(ratio * len(used) - 1e-9)
    if ratio < 1.0:
        used += [max(1.0, target)] * missing
    elif ratio > 1.0:
        used += [0.0] * (missing + len(unready))
    again = sum(used) / len(used) / target
    if abs(1.0 - again) <= tolerance + 1e-9 or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        return replicas
    count = math.ceil(again * len(used) - 1e-9)
    if (again < 1.0 and count > replicas) or (again > 1.0 and count < replicas):
        return replicas
    return count


@dataclass
class Stabilizer:
    """What an HPA remembers: its recommendations, and its changes by direction."""

    up: Direction = DEFAULT_UP
    down: Direction = DEFAULT_DOWN
    least: int = 1
    most: int = 40
    recommended: list[tuple[float, int]] = field(default_factory=list)
    grown: list[tuple[float, int]] = field(default_factory=list)
    shrunk: list[tuple[float, int]] = field(default_factory=list)

    def next(self, now: float, replicas: int, desired: int) -> int:
        """Return the count that the HPA sets, and remember it."""
        if replicas > self.most or replicas < self.least:
            return min(max(replicas, self.least), self.most)
        steady = self._stabilized(now, replicas, desired)
        count = replicas
        if steady > replicas:
            limit = max(replicas, *(self._grown_to(now, replicas, policy) for policy in self.up.policies))
            count = min(steady, self.most, limit)
        elif steady < replicas:
            limit = min(replicas, *(self._shrunk_to(now, replicas, policy) for policy in self.down.policies))
            count = max(steady, self.least, limit)
        if count > replicas:
            self.grown.append((now, count - replicas))
        elif count < replicas:
            self.shrunk.append((now, replicas - count))
        return count

    def _stabilized(self, now: float, replicas: int, desired: int) -> int:
        rise = min([desired, *(count for time, count in self.recommended if time > now - self.up.window)])
        fall = max([desired, *(count for time, count in self.recommended if time > now - self.down.window)])
        longest = max(self.up.window, self.down.window)
        self.recommended = [each for each in self.recommended if each[0] > now - longest]
        self.recommended.append((now, desired))
        return min(max(replicas, rise), fall)

    def _start(self, now: float, replicas: int, period: float) -> int:
        for events in (self.grown, self.shrunk):
            events[:] = [event for event in events if event[0] > now - 1800.0]
        grown = sum(change for time, change in self.grown if time > now - period)
        return replicas - grown + sum(change for time, change in self.shrunk if time > now - period)

    def _grown_to(self, now: float, replicas: int, policy: Policy) -> int:
        start = self._start(now, replicas, policy.period)
        return start + policy.value if policy.kind == "Pods" else math.ceil(start * (1.0 + policy.value / 100.0))

    def _shrunk_to(self, now: float, replicas: int, policy: Policy) -> int:
        start = self._start(now, replicas, policy.period)
        return start - policy.value if policy.kind == "Pods" else int(start * (1.0 - policy.value / 100.0))
