from dataclasses import replace

import numpy as np
import pytest

from mooring_operator.scaling import slo
from tests.bench.autoscaling.controllers import Cpu, External, Knative, Mooring, NoLag
from tests.bench.autoscaling.fleet import Fleet
from tests.bench.autoscaling.models import SOLO, attained, concurrency, held
from tests.bench.autoscaling.replay import replay
from tests.bench.autoscaling.result import reversals


def test_what_a_pod_holds_is_where_minutes_begin_to_be_missed() -> None:
    assert attained(SOLO, 0.95 * held(SOLO)) > 0.99 > attained(SOLO, 1.1 * held(SOLO))
    assert concurrency(SOLO) == pytest.approx(1.7, abs=0.3)


def test_a_formula_that_is_near_the_simulation_is_what_the_rule_needs() -> None:
    assert slo.capacity(SOLO.capability, SOLO.target) == pytest.approx(held(SOLO), rel=0.1)


def test_our_rule_follows_a_step_and_comes_back_after_its_window() -> None:
    rate = np.full(7200, 3.0 * held(SOLO))
    rate[4000:5000] *= 3
    result = replay(Mooring(SOLO), SOLO, rate, 1)
    before, during, kept, after = (float(result.replicas[minute]) for minute in (60, 75, 86, 92))
    assert 3 <= before <= 4
    assert 9 <= during <= 11
    assert kept >= 9  # Within 300 s of the fall.
    assert after <= 4


def test_our_rule_holds_while_prometheus_knows_no_rate() -> None:
    controller = Mooring(SOLO)
    with Fleet(SOLO, np.full(1000, 50.0), 1) as fleet:
        for _ in range(3):
            fleet.add()
        controller.read(fleet)
        assert controller.decide(fleet) == 3


def test_pods_that_start_are_not_ordered_twice() -> None:
    rate = np.full(4500, 2.0 * held(SOLO))
    rate[4000:] *= 4
    result = replay(Mooring(replace(SOLO, load=300.0)), replace(SOLO, load=300.0), rate, 1)
    assert float(result.replicas.max()) <= 11


def test_the_one_without_lag_orders_in_the_second_of_the_step_and_not_before() -> None:
    rate = np.full(5000, 2.0 * held(SOLO))
    rate[4000:] *= 2
    controller = NoLag(rate, held(SOLO))
    with Fleet(SOLO, rate, 1) as fleet:
        for _ in range(3):
            fleet.add()
        fleet.advance(3999.0)
        assert controller.decide(fleet) == 3
        fleet.advance(4000.0)
        assert controller.decide(fleet) == 5


def test_the_one_without_lag_keeps_pods_for_five_minutes() -> None:
    rate = np.full(5000, 4.0 * held(SOLO))
    rate[1000:] /= 2
    controller = NoLag(rate, held(SOLO))
    with Fleet(SOLO, rate, 1) as fleet:
        for second, expected in ((999.0, 5), (1290.0, 5), (1300.0, 3)):
            fleet.advance(second)
            assert controller.decide(fleet) == expected


def test_busy_pods_ask_for_more_and_young_ones_are_not_believed() -> None:
    controller = Cpu(0.5, 15.0)
    with Fleet(SOLO, np.full(2000, 2 * 9.0), 1) as fleet:
        for _ in range(2):
            fleet.add()
        fleet.advance(600.0)
        assert controller.decide(fleet) == 4  # 90 % busy at a target of 50 %
        fleet.scale(4)
        fleet.advance(640.0)
        assert controller.decide(fleet) == 4  # The two that start count as idle.
        fleet.advance(665.0)
        fresh = [pod for pod in controller.seen(fleet) if not pod.ready]
        assert len(fresh) == 2  # Ready since 5 s, but their last sample is older than a window after that.


def test_an_external_sum_is_divided_by_its_target() -> None:
    with Fleet(SOLO, np.full(500, 10.0), 1) as fleet:
        fleet.scale(4)
        assert External(lambda _: 8.0, 1.0).decide(fleet) == 8
        assert External(lambda _: 80.0, 1.0).decide(fleet) == 8  # It doubles at most.
        assert External(lambda _: None, 1.0).decide(fleet) == 4


def test_knative_follows_the_concurrency_of_the_last_minute() -> None:
    with Fleet(SOLO, np.full(500, 40.0), 1) as fleet:
        for _ in range(8):
            fleet.add()
        fleet.advance(300.0)
        mean = fleet.concurrency(60)
        assert Knative(1.0).decide(fleet) == int(np.ceil(mean))


def test_turns_are_counted_and_steps_of_one_direction_are_not() -> None:
    assert reversals([1, 2, 2, 3, 3, 2, 1, 1, 4]) == 2
    assert reversals([5, 5, 5]) == 0
