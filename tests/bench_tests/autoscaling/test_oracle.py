from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.autoscaling import oracle
from tests.bench.autoscaling.controllers import Controller, Cpu, External, Mooring, NoLag
from tests.bench.autoscaling.fleet import Fleet
from tests.bench.autoscaling.models import SOLO, held
from tests.bench.autoscaling.oracle import schedule
from tests.bench.autoscaling.replay import replay
from tests.bench.autoscaling.traces import JUDGED_FROM, TRACES

BELOW = 0.05
"""Share by which a fleet that attains as much may be cheaper than the oracle: its steps are 3 %, pods are whole."""


def needed(*runs: tuple[int, int]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.repeat(np.array([count for count, _ in runs]), [seconds for _, seconds in runs]).astype(np.int64)


def test_a_pod_is_ordered_one_load_time_early_and_goes_when_it_is_not_needed() -> None:
    need = needed((1, 100), (2, 50), (1, 100))
    assert schedule(need, 30.0) == [(0.0, 1), (70.0, 1), (150.0, -1)]


def test_a_gap_shorter_than_a_load_time_is_kept() -> None:
    need = needed((1, 100), (2, 50), (1, 30), (2, 50), (1, 31), (2, 10), (1, 50))
    assert schedule(need, 30.0) == [(0.0, 1), (70.0, 1), (230.0, -1), (231.0, 1), (271.0, -1)]


def _cost(need: list[int], load: int) -> float:
    """The cheapest hours of one pod that is needed in some seconds: by trying every way to keep or to drop it."""

    @cache
    def from_second(at: int, here: bool) -> float:
        if at == len(need):
            return 0.0
        start = 0.0 if here else float(load if at >= load else at)
        if need[at]:
            return start + 1 + from_second(at + 1, True)
        return min(from_second(at + 1, False), from_second(at + 1, True) + 1 if here else float("inf"))

    return from_second(0, False)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9)), min_size=1, max_size=9), st.integers(1, 8))
def test_no_schedule_is_cheaper(runs: list[tuple[int, int]], load: int) -> None:
    need = needed(*runs)
    if need.max() == 0:
        return
    changes = schedule(need, float(load))
    ends = [time for time, change in changes if change < 0] + [float(len(need))] * sum(change for _, change in changes)
    begins = [time for time, change in changes if change > 0]
    assert sum(ends) - sum(begins) == pytest.approx(_cost(need.tolist(), load))


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 60)), min_size=1, max_size=9), st.integers(1, 40))
def test_what_is_needed_is_ready(runs: list[tuple[int, int]], load: int) -> None:
    need = needed(*runs)
    ready = np.zeros(len(need) + 1, dtype=np.int64)
    for time, change in schedule(need, float(load)):
        at = int(time)
        ready[at if change < 0 or at == 0 else min(len(need), at + load)] += change
    there = np.cumsum(ready)[: len(need)]
    # Pods of the first seconds are there from the beginning, whatever their load time.
    assert (there[load:] >= need[load:]).all()


@pytest.mark.parametrize("trace", ["flash", "step"])
def test_nobody_who_attains_as_much_is_much_cheaper(trace: str) -> None:
    rate = TRACES[trace].make(1) * held(SOLO)
    best = oracle.best(SOLO, rate, 1, JUDGED_FROM)
    assert best.attained >= oracle.ATTAINED
    others: list[Controller] = [Mooring(SOLO), NoLag(rate, held(SOLO)), Cpu(0.5, 15.0), External(Fleet.load, 0.35)]
    for controller in others:
        result = replay(controller, SOLO, rate, 1)
        assert result.attained < best.attained or result.hours > (1 - BELOW) * best.hours
