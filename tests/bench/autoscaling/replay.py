"""One controller on one trace."""

import numpy as np
from numpy.typing import NDArray

from tests.bench.autoscaling.controllers import Controller
from tests.bench.autoscaling.fleet import Fleet, Model
from tests.bench.autoscaling.models import held
from tests.bench.autoscaling.result import Result, measure
from tests.bench.autoscaling.traces import JUDGED_FROM

_PHASE = 4.0
"""Seconds: when the first look of a controller is. Pods have scrape phases of their own."""


def replay(controller: Controller, model: Model, rate: NDArray[np.float64], seed: int) -> Result:
    """Return how a controller does; it begins with the fleet that the first second needs."""
    first = int(np.ceil(rate[0] * 1.1 / held(model)))
    changes: list[tuple[float, int]] = []
    with Fleet(model, rate, seed, JUDGED_FROM) as fleet:
        for _ in range(max(1, first)):
            fleet.add(0.0)
        time = _PHASE + controller.age
        while time < len(rate):
            if controller.age:
                fleet.advance(time - controller.age)
            controller.read(fleet)
            fleet.advance(time)
            count = controller.decide(fleet)
            if count != fleet.created:
                fleet.scale(count)
            changes.append((time, count))
            time += controller.period
        fleet.advance(len(rate))
        return measure(fleet, model, JUDGED_FROM, changes)
