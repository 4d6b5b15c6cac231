import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.metrics import Aims, ModelStats
from mooring_runtime.metrics.capacity import DEFAULT_QUEUE
from mooring_runtime.scheduling import Batching
from mooring_runtime.scheduling.capacity import LEAST_QUEUE, Measured, queue_bound
from mooring_runtime.scheduling.curve import Curve
from mooring_runtime.scheduling.lanes import Lanes
from tests.support.batching import Doubler, batcher, model

SECONDS = st.floats(1e-6, 1.0)


def seconds_of(samples: float, a: float, b: float, most: int) -> float:
    """What full runs of so many samples take, the last one with what is left."""
    runs, left = divmod(samples, most)
    return runs * (a + b * most) + (a + b * left if left else 0.0)


@pytest.mark.parametrize(
    ("curve", "most", "target", "bound"),
    [
        ((0.040, 0.008), 32, 0.4, 20),  # (200 - 40) / 8 ms: less than one full run
        ((0.016, 0.008), 16, 0.2, 10),
        ((0.002, 0.001), 8, 0.1, 40),  # five full runs of 10 ms
        ((0.002, 0.001), 8, 0.11, 43),  # and three samples more
        ((0.1, 0.0), 1, 0.5, 4),  # the last waits 500 ms at most, its own run included, or a little longer
        ((0.1, 0.0), 1, 0.15, 1),
        ((0.05, 0.0), 1, 0.5, LEAST_QUEUE),
        ((0.1, 0.0), 2, 0.5, LEAST_QUEUE),
        ((0.01, 0.0), 1, 0.5, 25),
        ((0.040, 0.008), 64, 0.2, 32),  # half a run at least
        ((0.0, 0.0), 8, 0.1, DEFAULT_QUEUE),  # before the first run
        ((1e-6, 1e-6), 8, 10.0, DEFAULT_QUEUE),
    ],
)
def test_half_the_target_of_work_may_wait(curve: tuple[float, float], most: int, target: float, bound: int) -> None:
    assert queue_bound(curve, most, target) == bound


@given(SECONDS, SECONDS, st.integers(1, 256), st.floats(0.001, 60.0))
def test_what_may_wait_takes_half_the_target_and_one_more_takes_longer(
    a: float, b: float, most: int, target: float
) -> None:
    bound = queue_bound((a, b), most, target)
    assert max(LEAST_QUEUE if most > 1 else 1, most // 2) <= bound <= DEFAULT_QUEUE
    half = target / 2 * (1 + 1e-9)
    if bound > max(LEAST_QUEUE, most / 2):
        assert seconds_of(bound, a, b, most) <= half
    if bound < DEFAULT_QUEUE:
        assert seconds_of(bound + 1, a, b, most) >= target / 2 * (1 - 1e-9)


def test_larger_requests_are_fewer() -> None:
    assert queue_bound((0.002, 0.001), 8, 0.4, rows=8) == 20
    assert queue_bound((0.002, 0.001), 8, 0.4, rows=1) == 160


def measured(aims: Aims, most: int = 8, delay: float = 0.0) -> tuple[Measured, Curve, ModelStats]:
    curve, stats = Curve(), ModelStats("m", "1", aims)
    return Measured(curve, Lanes(most), delay, stats), curve, stats


def test_the_bound_follows_the_curve() -> None:
    capacity, curve, stats = measured(Aims(target=0.4))
    assert capacity.bound() == DEFAULT_QUEUE
    for _ in range(20):
        for samples in (1, 8):
            curve.observe(samples, 0.002 + 0.001 * samples)
    assert capacity.bound() == pytest.approx(160, abs=4)
    for _ in range(3000):
        curve.observe(8, 0.020)
    assert capacity.bound() == pytest.approx(80, abs=4)
    stats.inferences, stats.successes = 400, 100
    curve.observe(8, 0.020)
    assert capacity.bound() == pytest.approx(20, abs=2)


@pytest.mark.parametrize("aims", [Aims(), Aims(queue=77), Aims(target=0.4, queue=77)])
def test_without_a_target_or_with_a_bound_of_its_own_the_curve_bounds_nothing(aims: Aims) -> None:
    capacity, curve, _ = measured(aims)
    curve.observe(1, 10.0)
    assert capacity.bound() == capacity.told().queue == aims.limit


def test_a_loaded_model_tells_what_it_can_do() -> None:
    made, stats = batcher(Doubler(), batching=Batching(8, 0.002))
    told = stats.capacity()
    assert told is not None
    assert (told.limit, told.delay, told.curve) == (8, 0.002, None)
    made._times.curve.observe(1, 0.25)
    told = stats.capacity()
    assert told is not None
    assert (told.curve, told.mean, told.variation) == ((0.125, 0.125), 0.25, 0.0)


def test_a_delay_that_nobody_has_set_is_none() -> None:
    _, stats = batcher(Doubler())
    told = stats.capacity()
    assert told is not None
    assert told.delay == 0.0


def test_a_model_that_does_not_batch_runs_one_sample() -> None:
    _, stats = batcher(Doubler(), metadata=model(1))
    told = stats.capacity()
    assert told is not None
    assert told.limit == 1
