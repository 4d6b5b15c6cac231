"""The HPA's arithmetic on worked examples of Kubernetes' own tests (replica_calculator_test.go, horizontal_test.go)."""

from collections.abc import Sequence

import pytest

from tests.bench.autoscaling.hpa import Direction, Pod, Policy, Stabilizer, by_average_value, by_utilization


def pods(used: Sequence[float | None], ready: Sequence[bool] = ()) -> list[Pod]:
    return [Pod(each, not ready or ready[number]) for number, each in enumerate(used)]


@pytest.mark.parametrize(
    ("value", "target", "replicas", "expected"),
    [
        (8.6, 2.150, 3, 4),  # ScaleUpPerPodCMExternal
        (8.6, 2.867, 5, 3),  # ScaleDownPerPodCMExternal
        (8.6, 2.880, 3, 3),  # TolerancePerPodCMExternal
        (11.0, 1.0, 10, 10),  # Exactly a tenth more is still within.
        (11.001, 1.0, 10, 12),
        (9.0, 1.0, 10, 10),
        (8.999, 1.0, 10, 9),
    ],
)
def test_an_external_average_value(value: float, target: float, replicas: int, expected: int) -> None:
    assert by_average_value(value, target, replicas, 0.1, 0.1) == expected


def test_without_tolerance_one_pod_more_is_one_more() -> None:
    assert by_average_value(11.0, 1.0, 10, 0.0, 0.0) == 11
    assert by_average_value(10.0, 1.0, 10, 0.0, 0.0) == 10


@pytest.mark.parametrize(
    ("used", "ready", "target", "replicas", "expected"),
    [
        ([0.3, 0.5, 0.7], (), 0.3, 3, 5),  # ScaleUp
        ([0.3, 0.5, 0.7], (False, True, True), 0.3, 3, 4),  # ScaleUpUnreadyLessScale
        ([0.4, 0.5, 0.7], (True, False, False), 0.3, 3, 3),  # ScaleUpUnreadyNoScale
        ([0.1, 0.3, 0.5, 0.25, 0.25], (), 0.5, 5, 3),  # ScaleDown
        ([0.1, 0.3, 0.5, 0.25, 0.25], (True, True, True, False, False), 0.5, 5, 2),  # ScaleDown, unready left out
        ([1.0, None], (), 1.0, 2, 2),  # MissingMetricsNoChangeEq
        ([0.6, None], (), 1.0, 2, 2),  # MissingMetricsNoChangeGt
        ([0.4, None, None, None], (), 0.5, 4, 4),  # A missing pod counts as busy when the fleet would shrink.
        ([1.01, 1.03, 1.02], (), 1.0, 3, 3),  # Tolerance
        ([None, None], (), 0.5, 2, 2),
    ],
)
def test_a_utilization(
    used: Sequence[float | None], ready: Sequence[bool], target: float, replicas: int, expected: int
) -> None:
    assert by_utilization(pods(used, ready), target, replicas) == expected


def test_a_fall_waits_for_the_window_and_a_rise_does_not() -> None:
    hpa = Stabilizer(most=100)
    assert hpa.next(0.0, 3, 6) == 6
    assert [hpa.next(15.0 * step, 6, 2) for step in range(1, 20)] == [6] * 19
    assert hpa.next(300.0, 6, 2) == 2  # The six of the beginning has left the window.


def test_a_count_held_by_the_tolerance_holds_the_fleet_in_the_window() -> None:
    hpa = Stabilizer(most=100)
    hpa.next(0.0, 10, by_average_value(9.5, 1.0, 10, 0.1, 0.1))
    assert hpa.next(15.0, 10, 5) == 10


@pytest.mark.parametrize(("replicas", "desired", "expected"), [(1, 40, 5), (3, 40, 7), (10, 100, 20), (10, 13, 13)])
def test_the_default_doubles_or_adds_four_in_a_period(replicas: int, desired: int, expected: int) -> None:
    assert Stabilizer(most=100).next(0.0, replicas, desired) == expected


def test_what_was_added_in_a_period_counts_against_it() -> None:
    up = Direction(0.0, (Policy("Pods", 4, 60.0),))
    hpa = Stabilizer(up, most=100)
    assert hpa.next(0.0, 4, 50) == 8
    assert hpa.next(15.0, 8, 50) == 8
    assert hpa.next(60.0, 8, 50) == 12


def test_a_fall_is_bounded_by_its_policy_and_by_the_least() -> None:
    down = Direction(0.0, (Policy("Percent", 50, 60.0),))
    hpa = Stabilizer(down=down, least=2, most=100)
    assert hpa.next(0.0, 10, 1) == 5
    assert hpa.next(15.0, 5, 1) == 5
    assert Stabilizer(down=Direction(0.0, (Policy("Percent", 100, 15.0),)), least=2).next(0.0, 10, 0) == 2


def test_more_than_the_most_is_cut_at_once() -> None:
    assert Stabilizer(most=40).next(0.0, 50, 60) == 40
    assert Stabilizer(most=40).next(0.0, 35, 60) == 40
