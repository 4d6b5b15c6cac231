"""Who decides on the count: our rule, its rivals, and one without lag. All but Knative act through the HPA."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mooring_operator.scaling import slo
from mooring_operator.scaling.scraping import Scraping
from tests.bench.autoscaling import knative
from tests.bench.autoscaling.fleet import Fleet, Model
from tests.bench.autoscaling.hpa import (
    DEFAULT_DOWN,
    SYNC,
    Direction,
    Pod,
    Policy,
    Stabilizer,
    by_average_value,
    by_utilization,
)

ADAPTER_AGE = 5.0
"""Seconds by which our adapter's answer is older than Prometheus: it keeps one for all who ask. Rivals get it fresh."""
CPU_INITIALIZATION = 300.0
"""The HPA's --horizontal-pod-autoscaler-cpu-initialization-period."""
MOST = 40
"""maxReplicas of everybody."""
_SCRAPING = Scraping(SYNC)
"""Each look of the HPA is a point of the history."""


class Controller(Protocol):
    """Looks at a fleet each `period` seconds; `age` seconds earlier it reads the metrics."""

    period: float
    age: float

    def read(self, fleet: Fleet) -> None:
        """Look at what Prometheus has."""

    def decide(self, fleet: Fleet) -> int:
        """Return the count to set now."""


class Mooring:
    """Our rule as the adapter runs it, behind the HPA that the operator builds."""

    period = SYNC

    def __init__(self, model: Model, headroom: float = 0.0, age: float = ADAPTER_AGE) -> None:
        self.age = age
        self._model = model
        self._headroom = headroom
        self._capacity = slo.capacity(model.capability, model.target)
        self._window = 3.0 * model.scrape if model.scrape >= 15.0 else 4.0 * model.scrape
        self._history: list[float | None] = []
        self._desired: int | None = None
        up = Direction(0.0, (Policy("Percent", 900, 15.0), Policy("Pods", 10, 15.0)), tolerance=0.0)
        self._hpa = Stabilizer(up, replace(DEFAULT_DOWN, tolerance=0.0), most=MOST)

    def read(self, fleet: Fleet) -> None:
        """One range query: the rate over the last hour."""
        rate = fleet.rate(self._window)
        self._history.append(rate)
        del self._history[: -(_SCRAPING.history // _SCRAPING.step) - 1]
        if rate is None:
            self._desired = None
            return
        learned = slo.learn(self._history, self._model.load, _SCRAPING)
        signals = slo.Signals(
            rate=rate,
            rise=learned.rise,
            peak=learned.peak,
            queued=fleet.queued(),
            ready=fleet.ready,
            load_seconds=self._model.load,
            history_seconds=learned.seconds,
        )
        decision = slo.decide(signals, self._capacity, self._headroom, self._model.target, _SCRAPING)
        self._desired = decision.replicas

    def decide(self, fleet: Fleet) -> int:
        """Hold while there is no answer, as the HPA does."""
        if self._desired is None:
            return fleet.created
        desired = by_average_value(self._desired, 1.0, fleet.created, 0.0, 0.0)
        return self._hpa.next(fleet.now, fleet.created, desired)


class External:
    """An HPA with default behaviour on a sum over the fleet: req/s, requests in the system, or the queue (KEDA)."""

    period = SYNC
    age = 0.0

    def __init__(self, metric: Callable[[Fleet], float | None], target: float) -> None:
        self._metric = metric
        self._target = target
        self._hpa = Stabilizer(most=MOST)

    def read(self, fleet: Fleet) -> None:
        """Nothing is kept."""

    def decide(self, fleet: Fleet) -> int:
        """Compare the sum with the target."""
        value = self._metric(fleet)
        if value is None:
            return fleet.created
        desired = by_average_value(value, self._target, fleet.created, self._hpa.up.tolerance, self._hpa.down.tolerance)
        return self._hpa.next(fleet.now, fleet.created, desired)


class Cpu:
    """An HPA with default behaviour on the busy time of its pods."""

    period = SYNC
    age = 0.0

    def __init__(self, target: float, scrape: float) -> None:
        self._target = target
        self._window = scrape
        self._hpa = Stabilizer(most=MOST)

    def read(self, fleet: Fleet) -> None:
        """Nothing is kept."""

    def decide(self, fleet: Fleet) -> int:
        """Compare the mean with the target."""
        desired = by_utilization(self.seen(fleet), self._target, fleet.created)
        return self._hpa.next(fleet.now, fleet.created, desired)

    def seen(self, fleet: Fleet) -> list[Pod]:
        """Return the pods as the HPA sees them: a sample of a young one must lie a window behind its readiness."""
        pods = []
        for busy, since, sampled in zip(*fleet.pods(), strict=True):
            young = since >= 0.0 and fleet.now < since + CPU_INITIALIZATION and sampled < since + self._window
            pods.append(Pod(None if busy < 0.0 else float(busy), bool(since >= 0.0 and not young)))
        return pods


class Knative:
    """Knative on concurrency, which its queue proxies tell each second."""

    period = knative.TICK
    age = 0.0

    def __init__(self, target: float, down_delay: float = 0.0) -> None:
        self._decider = knative.Decider(target, down_delay)

    def read(self, fleet: Fleet) -> None:
        """Nothing is kept."""

    def decide(self, fleet: Fleet) -> int:
        """Ask the decider."""
        stable, panic = fleet.concurrency(knative.STABLE), fleet.concurrency(knative.PANIC)
        return min(max(1, self._decider.scale(fleet.now, fleet.ready, stable, panic)), MOST)


class NoLag:
    """Sees the arrivals of this very second, orders at once, and does not know the future. It keeps pods for 300 s."""

    period = 1.0
    age = 0.0

    def __init__(self, rate: NDArray[np.float64], capacity: float) -> None:
        self._need = np.minimum(np.ceil(rate * (1 + slo.SPARE) / capacity), MOST).astype(int)
        self._recent: list[tuple[float, int]] = []

    def read(self, fleet: Fleet) -> None:
        """Nothing is kept."""

    def decide(self, fleet: Fleet) -> int:
        """The most of the last five minutes."""
        need = max(1, int(self._need[min(int(fleet.now), len(self._need) - 1)]))
        while self._recent and self._recent[-1][1] <= need:
            self._recent.pop()
        self._recent.append((fleet.now, need))
        while self._recent[0][0] <= fleet.now - DEFAULT_DOWN.window:
            self._recent.pop(0)
        return self._recent[0][1]
