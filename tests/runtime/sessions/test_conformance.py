"""The real classes under everything that may go wrong: a few seeds here, more with `--long`, see also the mutations."""

import logging
from collections import Counter
from collections.abc import Iterator

import pytest

from mooring_runtime.sessions.handoff import Point
from tests.support.simulation.world import BIRTHS, EVERYTHING, LONG_DOWN, RETURNS, Faults, Scenario, World

SCENARIOS = {"everything": (EVERYTHING, None), "births": (BIRTHS, None), "returns": (RETURNS, LONG_DOWN)}
SHORT, LONG = 4, 1000
LATE_START = 390
"""A seed of `BIRTHS` by which a start that was searched for is applied when the end of its session is forgotten."""


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """What is logged of thousands of crashes is of no interest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_step_is_lost_doubled_or_mixed(name: str, long: bool) -> None:
    scenario, faults = SCENARIOS[name]
    for seed in range(LONG if long else SHORT):
        assert World(seed, scenario, faults).run().violations == [], f"seed {seed} of {name}"


def test_a_start_that_outlives_what_is_known_of_the_end_begins_a_new_life() -> None:
    world = World(LATE_START, BIRTHS).run()
    assert (world.violations, [key.session for key in world.judge.again]) == ([], ["s22"])


@pytest.mark.timeout(20)  # Hundreds of steps, and a machine that has others to serve.
@pytest.mark.parametrize("point", list(Point))
def test_either_side_may_die_at_each_point_of_a_handoff(point: Point) -> None:
    crashes: Counter[Point | None] = Counter()
    for seed in range(6):
        faults = Faults(crash=0.01, crash_at={point: 0.5})
        world = World(seed, Scenario(sizes=(1, 3, 2, 1), sessions=8, steps=10, resize=0.3), faults).run()
        assert world.violations == [], f"seed {seed}"
        crashes += world.crashes
    assert crashes[point] >= 3


def test_without_faults_every_session_makes_its_way() -> None:
    world = World(1, Scenario(steps=10), Faults(0.0, 0.0, 0.01, 0.1, {})).run()
    assert world.violations == []
    assert min(world.points[point] for point in Point) >= 5


def test_a_run_can_be_repeated() -> None:
    first, second = World(5).run(), World(5).run()
    assert (first.points, first.crashes, first.judge.applied) == (second.points, second.crashes, second.judge.applied)
