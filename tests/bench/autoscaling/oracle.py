"""The oracle: it knows the traffic, and has each pod ready just when it is needed.

What a moment needs is the rate over what a pod holds, times a factor; the oracle takes the smallest factor, in steps
of 3 %, with which the fleet meets the target in 99 of 100 minutes. For that need its schedule is the cheapest there is:
pod k is there while k pods are needed, starts one load time early, and stays through a gap that is shorter than a load
time, since starting anew would cost more. The cheapest fleet of all may be a few percent below.
"""

import numpy as np
from numpy.typing import NDArray

from tests.bench.autoscaling.fleet import Fleet, Model
from tests.bench.autoscaling.models import held
from tests.bench.autoscaling.result import Result, measure

STEP = 0.03
ATTAINED = 0.99
_FIRST, _LAST = 0.8, 2.5
"""Factors between which it looks."""


def schedule(need: NDArray[np.int64], load: float) -> list[tuple[float, int]]:
    """Return (second, +1 or -1) in order: when pods are ordered and when they go.

    Args:
        need: pods that must be ready in each second.
        load: seconds from a pod's order until it is ready.
    """
    changes: list[tuple[float, int]] = []
    for level in range(1, int(need.max()) + 1):
        edges = np.diff(np.concatenate(([0], (need >= level).astype(np.int8), [0])))
        begins, ends = np.flatnonzero(edges > 0).astype(float), np.flatnonzero(edges < 0).astype(float)
        keep = begins[1:] - ends[:-1] > load
        begins = begins[np.concatenate(([True], keep))]
        ends = ends[np.concatenate((keep, [True]))]
        changes += [(max(0.0, begin - load), 1) for begin in begins]
        changes += [(end, -1) for end in ends if end < len(need)]
    return sorted(changes)


def replay(model: Model, rate: NDArray[np.float64], seed: int, judge_from: float, factor: float) -> Result:
    """Return how the fleet of one factor does."""
    need = np.maximum(1, np.ceil(factor * rate / held(model) - 1e-9)).astype(np.int64)
    # Pods that leave finish what they have, and those that come are empty: a leaving pod is the oldest.
    alive: list[int] = []
    replicas: list[tuple[float, int]] = []
    with Fleet(model, rate, seed, judge_from) as fleet:
        for time, change in schedule(need, model.load):
            fleet.advance(time)
            if change > 0:
                alive.append(fleet.add(0.0 if time == 0.0 else model.load))
            else:
                fleet.remove(alive.pop(0))
            replicas.append((time, len(alive)))
        fleet.advance(len(rate))
        return measure(fleet, model, judge_from, replicas)


def best(model: Model, rate: NDArray[np.float64], seed: int, judge_from: float) -> Result:
    """Return the cheapest fleet that attains 99 %, by bisection over the steps; more pods attain no less."""
    low, high = 0, round((_LAST - _FIRST) / STEP)
    found = replay(model, rate, seed, judge_from, _FIRST + high * STEP)
    while low < high:
        middle = (low + high) // 2
        tried = replay(model, rate, seed, judge_from, _FIRST + middle * STEP)
        if tried.attained >= ATTAINED:
            high, found = middle, tried
        else:
            low = middle + 1
    return found
