"""The simulated fleet against what queueing theory and Prometheus' source say."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mooring_operator.scaling.slo import Capability, Curve, Target
from tests.bench.autoscaling.fleet import Fleet, Model, counter_rate

TARGET = Target(95, 0.5)
SOLO = Model("solo", Capability(Curve(0.1, 0.0), 1), TARGET, load=60.0)
GPU = Model("gpu", Capability(Curve(0.04, 0.008), 32, queue_limit=20), Target(95, 0.4), load=90.0)


def steady(rate: float, seconds: int) -> NDArray[np.float64]:
    return np.full(seconds, rate)


def with_limit(model: Model, limit: int | None) -> Model:
    return replace(model, capability=replace(model.capability, queue_limit=limit))


def mean_seconds(model: Model, rate: float, seconds: int) -> float:
    with Fleet(model, steady(rate, seconds), seed=3) as fleet:
        fleet.add()
        fleet.advance(seconds)
        totals = fleet.totals()
        return totals.seconds / totals.answered


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_constant_runs_wait_as_in_m_d_1(load: float) -> None:
    expected = 0.1 * (1 + load / (2 * (1 - load)))
    assert mean_seconds(SOLO, load / 0.1, 100_000) == pytest.approx(expected, rel=0.03)


def test_runs_that_vary_wait_as_in_m_g_1() -> None:
    varied = replace(SOLO, capability=replace(SOLO.capability, squared_variation=1.0))
    expected = 0.1 * (1 + 0.5 * (1 + 1.0) / (2 * (1 - 0.5)))
    assert mean_seconds(varied, 5.0, 200_000) == pytest.approx(expected, rel=0.05)


def test_those_who_find_an_idle_pod_are_in_time_and_no_others() -> None:
    # In M/D/1 a request waits unless it is one of the share 1 - rho that finds nobody.
    tight = replace(SOLO, target=Target(95, 0.1 + 1e-6))
    with Fleet(tight, steady(4.0, 60_000), seed=3) as fleet:
        fleet.add()
        fleet.advance(60_000)
        total, good = fleet.by_minute()
    assert good.sum() / total.sum() == pytest.approx(1 - 0.4, abs=0.01)


def test_without_a_queue_requests_are_lost_as_erlang_says() -> None:
    with Fleet(with_limit(SOLO, 0), steady(10.0, 20_000), seed=3) as fleet:
        fleet.add()
        fleet.advance(20_000)
        totals = fleet.totals()
    assert totals.refused / totals.arrived == pytest.approx(0.5, abs=0.01)


def test_a_batch_of_all_that_waits_is_as_large_as_its_law() -> None:
    # Growing batches without a bound: the mean time of a run is a / (1 - r b), and a request meets a long one.
    free = Model("free", Capability(Curve(0.04, 0.008), 100_000), Target(95, 0.4), load=0.0)
    with Fleet(free, steady(60.0, 20_000), seed=3) as fleet:
        fleet.add()
        fleet.advance(20_000)
        totals = fleet.totals()
        busy = fleet.pods()[0][0]
    run = 0.04 / (1 - 60.0 * 0.008)
    assert busy == pytest.approx(1.0, abs=0.1)
    assert 1.5 * run < totals.seconds / totals.answered < 1.7 * run


def test_littles_law_holds() -> None:
    with Fleet(GPU, steady(160.0, 4000), seed=3) as fleet:
        for _ in range(2):
            fleet.add()
        fleet.advance(4000)
        totals = fleet.totals()
        mean = float(fleet.by_second()[0].mean())
    assert totals.refused > 0
    assert mean == pytest.approx(totals.seconds / 4000, rel=0.001)


def test_nothing_is_lost_while_pods_come_and_go() -> None:
    with Fleet(GPU, steady(300.0, 3000), seed=5) as fleet:
        for time, count in ((0, 4), (500, 9), (700, 2), (1200, 30), (1300, 1), (2000, 5)):
            fleet.advance(time)
            fleet.scale(count)
            totals = fleet.totals()
            assert totals.arrived == totals.answered + totals.refused + fleet.in_system
        fleet.advance(3000)
        totals = fleet.totals()
        total, good = fleet.by_minute()
        assert totals.arrived == totals.answered + totals.refused + fleet.in_system
        assert totals.refused > 0 and fleet.in_system > 0
        assert int(total.sum()) == totals.arrived
        assert 0 < int(good.sum()) <= totals.answered + fleet.in_system


def test_pods_answer_after_their_load_time_and_are_paid_from_their_order() -> None:
    with Fleet(GPU, steady(10.0, 1000), seed=1, judge_from=100.0) as fleet:
        fleet.add(90.0)
        fleet.advance(89.0)
        assert (fleet.created, fleet.ready) == (1, 0)
        fleet.advance(91.0)
        assert fleet.ready == 1
        fleet.advance(200.0)
        fleet.scale(3)
        fleet.advance(300.0)
        assert fleet.totals().replica_seconds == pytest.approx(100.0 + 300.0)
        total, good = fleet.by_minute()
    assert good[0] == 0 and total[0] > 400  # Nobody was there to answer.


def test_those_that_are_not_ready_go_first() -> None:
    with Fleet(GPU, steady(10.0, 1000), seed=1) as fleet:
        fleet.add()
        fleet.advance(10.0)
        fleet.scale(3)
        fleet.advance(20.0)
        fleet.scale(1)
        assert (fleet.created, fleet.ready) == (1, 1)


def test_the_same_seed_gives_the_same_and_another_one_something_else() -> None:
    def run(seed: int) -> tuple[int, float]:
        with Fleet(GPU, steady(150.0, 600), seed=seed) as fleet:
            fleet.scale(2)
            fleet.advance(600)
            return fleet.totals().arrived, fleet.totals().seconds

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_the_less_loaded_of_two_waits_less() -> None:
    def late(model: Model) -> float:
        with Fleet(model, steady(35.0, 4000), seed=2) as fleet:
            for _ in range(5):
                fleet.add()
            fleet.advance(4000)
            total, good = fleet.by_minute()
            return 1.0 - float(good.sum() / total.sum())

    assert late(replace(SOLO, least_loaded=True)) < 0.3 * late(SOLO)


def test_the_scraped_rate_is_that_of_the_arrivals_also_of_refused_ones() -> None:
    with Fleet(with_limit(SOLO, 0), steady(50.0, 2000), seed=4) as fleet:
        for _ in range(4):
            fleet.add()
        assert fleet.rate(45.0) is None
        seen = []
        for time in range(100, 2000, 50):
            fleet.advance(time)
            seen.append(fleet.rate(45.0) or 0.0)
        assert fleet.totals().refused > fleet.totals().answered
    assert float(np.mean(seen)) == pytest.approx(50.0, rel=0.03)


def test_the_queue_is_as_old_as_its_scrape_and_that_of_a_removed_pod_is_gone() -> None:
    with Fleet(with_limit(SOLO, 9), steady(100.0, 200), seed=4) as fleet:
        for _ in range(2):
            fleet.add()
        fleet.advance(40.0)
        assert (fleet.queued(), fleet.load()) == (18.0, 20.0)
        fleet.scale(1)
        assert fleet.queued() == 9.0


@pytest.mark.parametrize(("first", "expected"), [(0, 0.4), (60, 0.45), (120, 0.5), (180, 0.5), (240, 0.5), (300, 0.5)])
def test_a_young_counter_is_not_extrapolated_below_zero(first: int, expected: float) -> None:
    # Three samples 5 min apart, `rate(counter[20m])` at the last: back to where the counter was 0, half a step at most.
    samples = [(300.0 * step, first + 240.0 * step) for step in range(3)]
    assert counter_rate(samples, 600.0, 1200.0) == pytest.approx(expected)


def test_a_counter_that_has_ended_is_extrapolated_by_half_a_step() -> None:
    samples = [(100.0 + 15.0 * step, 1000.0 + 30.0 * step) for step in range(3)]
    assert counter_rate(samples, 145.0, 45.0) == pytest.approx(2.0)  # A whole step is left at the end.
    assert counter_rate(samples, 150.0, 60.0) == pytest.approx(2.0 * (30 + 10 + 7.5) / 60)
    assert counter_rate(samples[:1], 110.0, 45.0) is None
    assert counter_rate(samples, 300.0, 45.0) is None
