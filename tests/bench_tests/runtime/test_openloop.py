import itertools
import statistics

import pytest

from tests.bench.runtime.openloop import WARM, arrivals, summarize


def test_arrivals_are_a_poisson_process() -> None:
    times = arrivals(1000, 20, seed=1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 20
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.03)  # exponential: both are 1 / rate


def test_arrivals_are_the_same_for_every_server_of_a_round() -> None:
    assert arrivals(50, 2, seed=7) == arrivals(50, 2, seed=7)
    assert arrivals(50, 2, seed=7) != arrivals(50, 2, seed=8)


def test_the_begin_of_a_run_does_not_count() -> None:
    warm = WARM * 10
    slow_at_first = [(warm / 2, 9.0)] * 50
    steady = [(warm + 1, 0.002)] * 90
    told = summarize(10, slow_at_first + steady, [], [0.0], failed=0)
    assert told.p99 == pytest.approx(2)
    assert told.rate == pytest.approx(90 / 9)


def test_what_is_never_answered_counts_with_its_wait() -> None:
    told = summarize(10, [(5.0, 0.001)] * 98, [(5.0, 10.0)] * 2, [0.003] * 100, failed=0)
    assert told.p99 == pytest.approx(10_000)
    assert told.p50 == pytest.approx(1)
    assert told.unanswered == 2
    assert told.late == pytest.approx(3)


def test_a_run_without_answers_has_no_rate() -> None:
    assert summarize(10, [], [], [], failed=3).rate == 0
