import pytest

from tests.bench.report import Goal
from tests.bench.runtime import goals
from tests.bench.runtime.cells import CLOSED, Cell, Figure, Load, Results

SIZES = {"tiny": 0.1, "medium": 72.0}


def given(results: Results, server: str, cell: Cell, *rates: float, p99: float = 1.0) -> None:
    for number, rate in enumerate(rates, start=1):
        results.add(server, cell, number, Figure(rate, p99 / 2, p99))


def named(results: Results, part: str) -> Goal:
    [found] = [goal for goal in goals.judge_all(results, SIZES) if part in goal.name]
    return found


def test_every_goal_stands_even_when_nothing_was_measured() -> None:
    judged = goals.judge_all(Results(), SIZES)
    assert len(judged) == len({goal.name for goal in judged}) == 3 + 3 + 3 + 1 + 2 + 3 + 1 + 1 + 2
    assert all(goal.value is None and not goal.holds for goal in judged)
    assert all("not measured" in goal.detail for goal in judged)


@pytest.mark.parametrize(("connections", "bound"), [(1, 2), (8, 4), (32, 6)])
def test_tiny_json_is_judged_round_by_round(connections: int, bound: float) -> None:
    results, cell = Results(), Cell("tiny", "json", Load("closed", connections))
    given(results, "triton", cell, 100, 200, 100)
    given(results, "mooring", cell, 100 * bound, 200 * bound, 50 * bound)
    goal = named(results, f"{cell}: ours / Triton")
    assert (goal.value, goal.holds, goal.goal) == (bound, True, f">= {bound:.1f}")


def test_a_round_that_one_of_the_two_missed_gives_no_ratio() -> None:
    results, cell = Results(), Cell("tiny", "json", CLOSED[0])
    given(results, "mooring", cell, 300, 300, 300)
    given(results, "triton", cell, 100, 100)
    results.miss("triton", cell, "it fell over")
    goal = named(results, f"{cell}: ours / Triton")
    assert (goal.value, goal.holds) == (None, False)
    assert "triton: it fell over" in goal.detail


def test_the_medium_model_is_judged_against_the_better_setting_of_each_round() -> None:
    results, cell = Results(), Cell("medium", "json", CLOSED[2])
    given(results, "mooring", cell, 1300, 1300, 1300)
    given(results, "triton", cell, 1000, 500, 1000)
    given(results, "triton-2ms", cell, 500, 1000, 1300)
    goal = named(results, f"{cell}: ours / Triton's best setting")
    assert (goal.value, goal.holds) == (1.3, True)
    assert "1.3 1.3 1" in goal.detail


def test_the_tail_must_not_be_above_tritons() -> None:
    results, cell = Results(), Cell("tiny", "json", CLOSED[1])
    given(results, "mooring", cell, 1, 1, 1, p99=2.0)
    given(results, "triton", cell, 1, 1, 1, p99=1.0)
    goal = named(results, f"{cell}: p99")
    assert (goal.value, goal.holds) == (2.0, False)


def test_the_share_of_onnxruntime_alone() -> None:
    results, cell = Results(), Cell("medium", "json", CLOSED[2])
    given(results, "mooring", cell, 860, 860, 860)
    given(results, "onnxruntime", cell, 1000, 1000, 1000)
    goal = named(results, "onnxruntime alone")
    assert (goal.value, goal.holds) == (0.86, True)


@pytest.mark.parametrize(("ours", "holds"), [((10, 90, 10, 90, 10), True), ((10, 90, 10, 90, 90), False)])
def test_open_loops_are_judged_on_medians(ours: tuple[float, ...], holds: bool) -> None:
    """Also against the best setting of the medians: Triton's best of each round would be a setting that nobody has."""
    results, cell = Results(), Cell("medium", "json", Load("open", 80))
    for number, p99 in enumerate(ours):
        results.add("mooring", cell, number, Figure(1, 1, p99))
        results.add("triton", cell, number, Figure(1, 1, 20))
        results.add("triton-2ms", cell, number, Figure(1, 1, 1 if number < 2 else 30))
    goal = named(results, f"{cell} of our capacity")
    assert goal.holds is holds
    assert goal.value == (0.5 if holds else 4.5)


def test_workers() -> None:
    results = Results(workers_missing="this build has no MOORING_WORKERS")
    assert "no MOORING_WORKERS" in named(results, "two workers / one").detail
    for number in (1, 2, 3):
        results.workers.setdefault(1, {})[number] = Figure(100, 1, 1)
        results.workers.setdefault(2, {})[number] = Figure(160, 1, 1)
    assert named(results, "two workers / one").value == 1.6


def test_memory_is_told_without_the_model() -> None:
    results = Results()
    results.memory["mooring", "medium"] = [150.0, 151.0, 160.0]
    results.memory["triton", "medium"] = [230.0]
    goal = named(results, "medium, resident memory")
    assert (goal.value, goal.holds) == (79.0, True)
    assert "triton 230 MiB" in goal.detail


def test_start() -> None:
    results = Results()
    results.starts["mooring", "tiny"] = [0.3, 0.6, 0.7]
    assert named(results, "exec to the first right answer").holds is False
