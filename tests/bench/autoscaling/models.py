"""What is served in the simulation, and how much one pod of it really holds."""

from dataclasses import replace
from functools import cache

import numpy as np

from mooring_operator.scaling.slo import Capability, Curve, Target
from tests.bench.autoscaling.fleet import Fleet, Model

GPU = Model("gpu", Capability(Curve(0.040, 0.008), 32, queue_limit=20), Target(95, 0.4), load=90.0)
CPU = Model("cpu", Capability(Curve(0.016, 0.008), 16, queue_limit=10), Target(95, 0.2), load=10.0)
SOLO = Model("solo", Capability(Curve(0.100, 0.0), 1, queue_limit=4), Target(95, 0.5), load=60.0)
MODELS = {model.name: model for model in (GPU, CPU, SOLO)}
"""Queue bounds are those that the runtime gives itself for the target."""

_PODS = 5
_REQUESTS = 10_000_000
"""About how many are simulated for one answer, within 100 and 400 minutes: enough to tell 99 minutes of 100."""


@cache
def held(model: Model) -> float:
    """Return the req/s at which a pod of a steady fleet just meets the target in 99 of 100 minutes, by simulation."""
    low, high = 0.0, model.capability.max_batch / _run(model, model.capability.max_batch)
    # Where refusals alone are missed a pod may be offered more than it can run.
    while attained(model, high) >= 0.99:
        low, high = high, 1.1 * high
    for _ in range(9):
        middle = (low + high) / 2
        if attained(model, middle) >= 0.99:
            low = middle
        else:
            high = middle
    return low


def attained(model: Model, rate: float) -> float:
    """Return the share of minutes in which a steady fleet of five meets the target at so many req/s a pod."""
    minutes = int(min(400, max(100, _REQUESTS / (rate * _PODS * 60))))
    with Fleet(model, np.full(minutes * 60, rate * _PODS), seed=7) as fleet:
        for _ in range(_PODS):
            fleet.add()
        fleet.advance(minutes * 60)
        total, good = fleet.by_minute()
    return float(np.mean(good >= share(model) * total))


def concurrency(model: Model) -> float:
    """Return the mean number of requests in one pod at what it holds: C of the concurrency targets."""
    with Fleet(model, np.full(3600, held(model)), seed=7) as fleet:
        fleet.add()
        fleet.advance(3600)
        return float(fleet.by_second()[0].mean())


def share(model: Model) -> float:
    """Return the share of requests that must be in time."""
    return model.target.percentile / 100


def with_load(model: Model, load: float) -> Model:
    """Return the same model with another load time."""
    return replace(model, name=f"{model.name}-{load:g}s", load=load)


def _run(model: Model, samples: int) -> float:
    return model.capability.curve.fixed + model.capability.curve.per_sample * samples
