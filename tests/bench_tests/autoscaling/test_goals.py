from dataclasses import replace

from tests.bench.autoscaling.cells import NO_LAG, ORACLE, OURS, Row
from tests.bench.autoscaling.goals import beside_rivals, goals
from tests.bench.autoscaling.models import CPU, GPU, SOLO
from tests.bench.autoscaling.table import headroom, rows

ROW = Row("day", "gpu", 1, OURS, None, 0.996, 5, 0.99, 112.0, 1.12, 1.0)


def seeds(row: Row) -> list[Row]:
    return [replace(row, seed=seed) for seed in (1, 2, 3)]


def rival(setting: float, attained: float, hours: float) -> list[Row]:
    return seeds(replace(ROW, controller="hpa cpu", setting=setting, attained=attained, hours=hours))


def named(found: object, part: str) -> list[bool]:
    return [goal.holds for goal in found if part in goal.name]  # type: ignore[attr-defined]


def test_the_day_must_attain_and_cost_as_asked() -> None:
    found = goals(seeds(ROW), [GPU])
    assert [(goal.name, goal.value, goal.holds) for goal in found] == [
        ("day, gpu: windows in time", 0.996, True),
        ("day, gpu: hours by the oracle's", 1.12, True),
    ]
    assert named(goals(seeds(replace(ROW, attained=0.994, cost=1.21)), [GPU]), "day") == [False, False]


def test_a_surge_is_judged_beside_the_one_without_lag() -> None:
    surge = replace(ROW, trace="flash", bad=3, cost=1.5)
    lag_free = replace(surge, controller=NO_LAG, bad=2)
    assert named(goals(seeds(surge) + seeds(lag_free), [GPU]), "flash") == [True, False]
    fast = replace(surge, model="cpu")
    assert named(goals(seeds(fast) + seeds(replace(lag_free, model="cpu", bad=1)), [CPU]), "flash") == [False, True]


def test_on_off_may_cost_more_where_pods_start_fast() -> None:
    dear = replace(ROW, trace="on_off", attained=0.97, cost=2.05)
    assert named(goals(seeds(dear), [GPU]), "on_off") == [True, False]
    assert named(goals(seeds(replace(dear, model="cpu")), [CPU]), "on_off") == [True, True]


def test_only_rivals_that_attain_as_much_count_and_the_cheapest_of_them() -> None:
    cheap_but_bad = rival(0.8, 0.995, 60.0)
    as_good = rival(0.6, 0.996, 110.0) + rival(0.5, 0.999, 130.0)
    [goal] = beside_rivals("day, gpu", seeds(ROW) + cheap_but_bad + as_good, 1.0)
    assert (goal.value, goal.holds) == (1.018, False)
    assert "2 of 3 settings" in goal.detail and "hpa cpu 0.6" in goal.detail
    [goal] = beside_rivals("day, solo", seeds(ROW) + as_good, 1.05)
    assert goal.holds
    [goal] = beside_rivals("day, gpu", seeds(ROW) + cheap_but_bad, 1.0)
    assert goal.holds and "none of 1" in goal.detail


def test_fewer_than_three_seeds_are_no_figure() -> None:
    [goal] = beside_rivals("day, gpu", seeds(ROW)[:2] + rival(0.6, 0.996, 200.0), 1.0)
    assert (goal.value, goal.holds) == (None, False)
    assert "3 seeds are needed" in goal.detail


def test_the_oracle_and_the_one_without_lag_are_no_rivals() -> None:
    others = seeds(replace(ROW, controller=ORACLE, hours=90.0)) + seeds(replace(ROW, controller=NO_LAG, hours=95.0))
    assert beside_rivals("day, gpu", seeds(ROW) + others, 1.0) == []


def test_models_without_batches_may_cost_a_little_more_than_a_rival() -> None:
    solo = replace(ROW, model="solo")
    beside = [replace(row, model="solo") for row in rival(0.6, 0.996, 110.0)]
    assert named(goals(seeds(solo) + beside, [SOLO]), "rival") == [True]
    assert named(goals(seeds(ROW) + rival(0.6, 0.996, 110.0), [GPU]), "rival") == [False]


def test_tables_show_medians() -> None:
    shown = rows([*seeds(ROW)[:2], replace(ROW, seed=3, attained=0.5, cost=9.0)])
    assert shown.splitlines()[1].split() == ["gpu", "mooring", "0.9960", "/", "1.12"]
    table = headroom([{"load": 90.0, "floor": -1.0, "windows": 0.983, "requests": 0.949, "cost": 1.1}])
    assert table.splitlines()[1].split() == ["90", "s", "0.983", "0.949", "1.10x"]
