import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.scaling.capacity import Capability, Curve, Target, capacity, unreachable

GPU = Capability(Curve(0.040, 0.008), 32)
CPU = Capability(Curve(0.016, 0.008), 16)
SOLO = Capability(Curve(0.100, 0.0), 1)
TARGET = Target(95, 0.4)

SIMULATED = [
    # One pod for hours, requests at random: the rate at which 3.75 % (p90: 7.5 %, p99: 0.5 %) miss the target.
    (GPU, TARGET, 90.99),
    (GPU, Target(90, 0.4), 93.95),
    (GPU, Target(99, 0.4), 83.65),
    (replace(GPU, queue_limit=20), TARGET, 97.45),
    (replace(GPU, queue_limit=20), Target(99, 0.4), 85.37),
    (CPU, Target(95, 0.2), 89.43),
    (replace(CPU, queue_limit=10), Target(95, 0.2), 96.06),
    (SOLO, Target(95, 0.5), 6.72),
    (replace(SOLO, queue_limit=8), Target(95, 0.5), 6.74),  # Too many places: the last would be late.
    (replace(SOLO, queue_limit=4), Target(95, 0.5), 8.11),
    (replace(SOLO, queue_limit=4), Target(99, 0.5), 5.76),
    (replace(SOLO, queue_limit=9), Target(95, 1.0), 9.70),
    (Capability(Curve(0.02, 0.004), 8), Target(95, 0.2), 142.9),  # Full runs, many of which fit.
    (Capability(Curve(0.1, 0.002), 64), Target(95, 0.5), 270.3),
    (Capability(Curve(0.04, 0.008), 32), Target(95, 0.15), 41.52),  # Few samples in a run.
]


@pytest.mark.parametrize(("capability", "target", "simulated"), SIMULATED)
def test_a_pod_is_planned_for_what_its_simulation_holds(
    capability: Capability, target: Target, simulated: float
) -> None:
    assert 0.92 < capacity(capability, target) / simulated < 1.02


@given(
    st.floats(1e-4, 0.2),
    st.floats(0.0, 0.05),
    st.integers(1, 128),
    st.floats(0.01, 2.0),
    st.sampled_from((90, 95, 99)),
    st.none() | st.integers(0, 300),
)
def test_a_capacity_is_a_number_above_zero_and_below_what_the_runs_allow(
    a: float, b: float, largest: int, seconds: float, percentile: int, limit: int | None
) -> None:
    found = capacity(Capability(Curve(a, b), largest, queue_limit=limit), Target(percentile, seconds))
    assert 0.0 < found < largest / (a + b * largest)


def test_a_stricter_target_lowers_the_capacity() -> None:
    by_percentile = [capacity(GPU, Target(each, 0.4)) for each in (90, 95, 99)]
    assert by_percentile == sorted(by_percentile, reverse=True)
    assert len(set(by_percentile)) == 3
    assert capacity(GPU, Target(95, 0.3)) < capacity(GPU, TARGET)


def test_batching_never_holds_less_than_single_runs() -> None:
    for seconds in (0.06, 0.08, 0.1, 0.2):
        assert capacity(GPU, Target(95, seconds)) >= capacity(replace(GPU, max_batch=1), Target(95, seconds))


SHORT = Capability(Curve(0.00001, 0.000005), 32)
"""A model of 15 us."""


def test_a_loop_has_no_more_than_a_second_a_second() -> None:
    # Runs alone would be taken to let one worker have nearly as many requests as 0.1 ms each leave room for.
    assert capacity(SHORT, TARGET) > 9000.0
    assert 1900.0 < capacity(SHORT, TARGET, 0.0005) < 2000.0
    assert 3800.0 < capacity(replace(SHORT, workers=2), TARGET, 0.0005) < 4000.0
    # A loop that is nearly always busy is late for a strict target, and one request of it alone may be.
    assert 0.0 < capacity(SHORT, Target(95, 0.002), 0.0005) < 1500.0
    assert 0.0 < capacity(SHORT, Target(95, 0.0004), 0.0005) < 2000.0


@given(st.floats(0.002, 1.0), st.floats(0.0, 0.1), st.integers(1, 128), st.floats(0.005, 2.0), st.integers(1, 8))
def test_models_that_take_longer_than_a_loop_does_are_planned_as_without_it(
    a: float, b: float, largest: int, seconds: float, workers: int
) -> None:
    pod, target = Capability(Curve(a, b), largest, workers=workers), Target(95, seconds)
    held = capacity(pod, target)
    assert 0.98 * held < capacity(pod, target, 0.0001) <= held
    assert capacity(pod, target, 0.0) == held


@given(st.floats(1e-6, 10.0), st.floats(0.001, 2.0), st.sampled_from((90, 95, 99)))
def test_a_slower_loop_never_lets_a_pod_hold_more_nor_as_much_as_it_has_seconds(
    loop: float, seconds: float, percentile: int
) -> None:
    target = Target(percentile, seconds)
    held = capacity(SHORT, target, loop)
    assert 0.0 < held < 1.0 / loop
    assert capacity(SHORT, target, 2.0 * loop) <= held


def test_a_loop_without_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="loop_seconds is nan"):
        capacity(SHORT, TARGET, math.nan)


def test_a_queue_of_all_workers_is_shared_among_them() -> None:
    one, two = replace(GPU, queue_limit=20), replace(GPU, queue_limit=40, workers=2)
    assert capacity(two, TARGET) == pytest.approx(2 * capacity(one, TARGET))


def test_workers_add_up_and_a_delay_and_a_spread_cost() -> None:
    assert capacity(replace(GPU, workers=3), TARGET) == pytest.approx(3 * capacity(GPU, TARGET))
    assert capacity(replace(GPU, max_delay=0.05), TARGET) < capacity(GPU, TARGET)
    for each in (SOLO, replace(SOLO, queue_limit=3)):
        assert capacity(replace(each, squared_variation=1.0), TARGET) < capacity(each, TARGET)


def test_a_model_of_microseconds_is_limited_by_its_server() -> None:
    assert capacity(Capability(Curve(1e-5, 1e-6), 32), TARGET) < 10_000


def test_a_target_below_one_run_is_told_and_still_gives_a_count() -> None:
    slow = Target(95, 0.045)
    assert unreachable(GPU, Target(95, 0.05)) == ""
    assert "48.1 ms, more than the target of 45 ms" in unreachable(GPU, slow)
    assert 1.0 < capacity(GPU, slow) < 30.0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Curve(0.0, 0.0), "both 0"),
        (lambda: Curve(math.nan, 0.1), "fixed is nan"),
        (lambda: Capability(Curve(0.1, 0.0), 0), "max_batch is 0"),
        (lambda: Target(50, 0.1), "percentile 50"),
        (lambda: Target(95, 0.0), "above 0"),
        (lambda: replace(GPU, queue_limit=-1), "queue_limit is -1"),
    ],
)
def test_what_is_no_measurement_is_refused(make: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()  # type: ignore[operator]
