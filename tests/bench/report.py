"""What every benchmark hands over: `build/bench/NAME.json` and a table of the same.

`{"machine": {...}, "goals": [{"name", "value", "unit", "goal", "holds", "detail"}]}`, with "cells" where there is a
table beside the goals. `value` is the median of the runs, null where it could not be measured; `goal` is a bound such
as "<= 1.3". A missed goal is printed and fails nothing: a benchmark tells, it does not judge.
"""

import json
import operator
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "build" / "bench"
RUNS = 3
"""Fewest runs whose median is told as a figure."""
_COMPARE = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}


@dataclass(frozen=True)
class Goal:
    """One goal: what was measured, in which unit, against which bound.

    Attributes:
        value: the median of the runs; None where there are too few.
        detail: the single runs and what else explains the value, or why there is none.
    """

    name: str
    value: float | None
    unit: str
    goal: str
    holds: bool
    detail: str


def judge(name: str, runs: Sequence[float], unit: str, goal: str, detail: str) -> Goal:
    """Return the goal for the figures of several runs.

    Args:
        runs: one figure a run; with fewer than `RUNS` the goal does not hold, and `detail` must tell why.
        goal: a comparison and a number, such as "< 300".
    """
    compare, bound = goal.split()
    shown = " ".join(f"{run:.3g}" for run in runs) or "none"
    if len(runs) < RUNS:
        return Goal(name, None, unit, goal, False, f"not measured: {RUNS} runs are needed. Runs: {shown}. {detail}")
    value = round(statistics.median(runs), 3)
    return Goal(name, value, unit, goal, _COMPARE[compare](value, float(bound)), f"runs: {shown}. {detail}")


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that is not exceeded by `percent` of all; the largest for a short list."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        "cpu": _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def write(name: str, goals: Sequence[Goal], cells: Sequence[Mapping[str, Any]] = (), **facts: Any) -> Path:
    """Write `build/bench/NAME.json`; `cells` are rows of a table, `facts` stand beside those of the machine."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    report: dict[str, Any] = {"machine": {**machine(), **facts}, "goals": [asdict(goal) for goal in goals]}
    if cells:
        report["cells"] = cells
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path


def show(goals: Sequence[Goal]) -> None:
    """Print the goals as a table, each with its detail."""
    width = max(len(goal.name) for goal in goals)
    for goal in goals:
        value = "-" if goal.value is None else f"{goal.value:g}"
        verdict = "holds" if goal.holds else "MISSED"
        sys.stdout.write(f"{goal.name:<{width}}  {value:>8} {goal.unit:<4} goal {goal.goal:<8} {verdict}\n")
        sys.stdout.write(f"{'':<{width}}  {goal.detail}\n")


def _first(file: str, key: str) -> str:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
