import numpy as np
import pytest

from mooring_operator.scaling import slo
from tests.bench.autoscaling.measured import of_curve
from tests.bench.autoscaling.models import held
from tests.bench.autoscaling.traces import HOUR, TRACES


@pytest.mark.parametrize("name", list(TRACES))
def test_a_seed_makes_a_trace(name: str) -> None:
    trace = TRACES[name]
    assert trace.about
    first, again, other = trace.make(1), trace.make(1), trace.make(2)
    assert (first == again).all() and (first > 0).all() and first.max() < 40
    assert name == "diurnal" or not (first == other).all()


def test_the_shapes_are_what_they_are_called() -> None:
    flash, step, day = (TRACES[name].make(1) for name in ("flash", "step", "day"))
    assert flash.max() == pytest.approx(5 * flash[0])
    assert int((flash > 4.9 * flash[0]).sum()) == pytest.approx(600, abs=10)
    assert (flash[:HOUR] == flash[0]).all()  # The hour that is not judged does not show what comes.
    assert int((step > 1.9 * step[0]).sum()) == pytest.approx(2400, abs=20)
    assert len(day) == 24 * HOUR
    on_off = TRACES["on_off"].make(1)
    assert set(np.unique(on_off)) == {0.9, 9.5}
    heavy = TRACES["heavy"].make(1)
    assert (np.diff(heavy)[np.arange(len(heavy) - 1) % 20 != 19] == 0).all()


def test_two_services_share_their_bursts() -> None:
    week, neighbour = (np.log(TRACES[name].make(3)) for name in ("week", "neighbour"))
    # Over a minute the rest of either hardly changes; what both do at once are the bursts.
    jumps = [np.abs(trace[60:] - trace[:-60]) > 0.25 for trace in (week, neighbour)]
    jobs = (np.arange(len(jumps[0])) % 1800 < 60) | (np.arange(len(jumps[0])) % 1800 > 1740)
    jobs |= (np.arange(len(jumps[0])) % 1800 > 100) & (np.arange(len(jumps[0])) % 1800 < 200)
    one, two = (each & ~jobs for each in jumps)
    assert (one & two).sum() > 0.5 * two.sum() > 0
    apart = TRACES["neighbour"].make(4)
    assert not (apart == TRACES["neighbour"].make(3)).all()


def test_a_measured_curve_becomes_a_model_that_its_pod_can_hold() -> None:
    model = of_curve(0.030, 0.002)
    assert model.target.seconds == pytest.approx(4 * (0.030 + 0.032), abs=1e-4)
    assert slo.capacity(model.capability, model.target) == pytest.approx(held(model), rel=0.08)
