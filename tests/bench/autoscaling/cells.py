"""Which controllers meet which traffic, and what one cell of that table comes to.

A cell is one trace, one model and one seed: the oracle, our rule, the controller without lag, and each setting of each
rival all replay the same arrivals.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mooring_operator.scaling import slo
from tests.bench.autoscaling import oracle
from tests.bench.autoscaling.controllers import Controller, Cpu, External, Knative, Mooring, NoLag
from tests.bench.autoscaling.fleet import Fleet, Model
from tests.bench.autoscaling.models import concurrency, held
from tests.bench.autoscaling.replay import replay
from tests.bench.autoscaling.result import Result
from tests.bench.autoscaling.traces import JUDGED_FROM, TRACES

OURS, NO_LAG, ORACLE = "mooring", "without lag", "oracle"
RATE_WINDOW = 60.0
"""Seconds over which the rivals' req/s are taken, as in the examples of prometheus-adapter and KEDA."""

Maker = Callable[[Model, float], Controller]
RIVALS: Mapping[str, tuple[str, tuple[float, ...], Maker]] = {
    "hpa cpu": ("busy", (0.5, 0.6, 0.7, 0.8), lambda model, setting: Cpu(setting, model.scrape)),
    "hpa req/s": ("of held", (0.5, 0.6, 0.7, 0.8, 0.9), lambda model, setting: External(_rate, setting * held(model))),
    "keda queue": ("requests", (0.25, 1.0, 2.0, 4.0, 8.0), lambda _, setting: External(Fleet.queued, setting)),
    "hpa concurrency": (
        "C",
        (0.35, 0.5, 0.7, 1.0),
        lambda model, each: External(Fleet.load, each * concurrency(model)),
    ),
    "knative": ("C", (0.35, 0.5, 0.7, 1.0), lambda model, setting: Knative(setting * concurrency(model))),
    "knative, down 5 min": ("C", (0.5, 0.7), lambda model, setting: Knative(setting * concurrency(model), 300.0)),
}
"""Of each rival: what its settings count (a share of busy time, of the req/s that a pod holds, waiting requests of a
pod, or C, the requests in a pod at what it holds), its grid, and how one is made."""


@dataclass(frozen=True)
class Row:
    """One controller in one cell.

    Attributes:
        setting: of a rival's grid; None where there is none.
        cost: its replica-hours by the oracle's.
    """

    trace: str
    model: str
    seed: int
    controller: str
    setting: float | None
    attained: float
    bad: int
    requests: float
    hours: float
    cost: float
    reversals: float


@dataclass(frozen=True)
class Series:
    """What a plot shows of one cell, by minute: the worth of requests in pods; pods and misses by controller."""

    trace: str
    model: str
    worth: list[float]
    pods: Mapping[str, list[float]]
    missed: Mapping[str, list[float]]


def cell(model: Model, trace: str, seed: int, rivals: bool) -> tuple[list[Row], Series]:
    """Return the rows of one cell, the oracle's first, and what to draw of it."""
    rate = TRACES[trace].make(seed) * held(model)
    best = oracle.best(model, rate, seed, JUDGED_FROM)
    rows: list[Row] = []
    shown: dict[str, Result] = {}

    def add(controller: str, setting: float | None, result: Result) -> None:
        rows.append(
            Row(
                trace,
                model.name,
                seed,
                controller,
                setting,
                round(result.attained, 5),
                result.bad,
                round(result.requests, 5),
                round(result.hours, 3),
                round(result.hours / best.hours, 4),
                round(result.reversals, 2),
            )
        )
        if setting is None:
            shown[controller] = result

    add(ORACLE, None, best)
    add(OURS, None, replay(Mooring(model), model, rate, seed))
    add(NO_LAG, None, replay(NoLag(rate, held(model)), model, rate, seed))
    if rivals:
        for name, (_, settings, make) in RIVALS.items():
            for setting in settings:
                add(name, setting, replay(make(model, setting), model, rate, seed))
    return rows, Series(trace, model.name, _minutes(rate / held(model)), *_drawn(shown))


def headroom_table(
    model: Model, loads: tuple[float, ...], floors: tuple[float, ...], seed: int
) -> list[dict[str, float]]:
    """Return what static headroom buys on the flash crowd, by load time: rows of a table.

    Each row has `load` and `floor` (-1: the controller without lag), the shares of `windows` and `requests` in time,
    and the `cost` by the oracle's.
    """
    rows = []
    for load in loads:
        slow = Model(model.name, model.capability, model.target, load, model.scrape)
        rate = TRACES["flash"].make(seed) * held(slow)
        best = oracle.best(slow, rate, seed, JUDGED_FROM)
        tried: list[tuple[float, Controller]] = [(-1.0, NoLag(rate, held(slow)))]
        tried += [(floor, Mooring(slow, headroom=floor)) for floor in floors]
        for floor, controller in tried:
            result = replay(controller, slow, rate, seed)
            rows.append(
                {
                    "load": load,
                    "floor": floor,
                    "windows": round(result.attained, 4),
                    "requests": round(result.requests, 4),
                    "cost": round(result.hours / best.hours, 3),
                }
            )
    return rows


def capacities(model: Model) -> dict[str, float | str]:
    """Return what a pod holds by simulation and by formula, with random routing and with the less loaded of two."""
    near = Model(model.name, model.capability, model.target, model.load, model.scrape, least_loaded=True)
    formula = slo.capacity(model.capability, model.target)
    return {
        "model": model.name,
        "held": round(held(model), 2),
        "formula": round(formula, 2),
        "share": round(formula / held(model), 3),
        "held, less loaded of two": round(held(near), 2),
    }


def _rate(fleet: Fleet) -> float | None:
    return fleet.rate(RATE_WINDOW)


def _minutes(values: NDArray[np.float64]) -> list[float]:
    whole = values[: len(values) // 60 * 60].reshape(-1, 60).mean(axis=1)
    return [round(float(value), 3) for value in whole]


def _drawn(shown: Mapping[str, Result]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    pods = {name: [round(float(value), 2) for value in result.replicas] for name, result in shown.items()}
    missed = {name: [round(float(value), 4) for value in result.missed] for name, result in shown.items()}
    return pods, missed
