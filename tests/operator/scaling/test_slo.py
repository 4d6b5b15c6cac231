import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.scaling.scraping import Scraping
from mooring_operator.scaling.slo import (
    Signals,
    Target,
    decide,
    horizon,
    learn,
    past_the_dead_band,
)

CALM = Signals(rate=1000.0, rise=0.0, peak=1000.0, queued=0.0, ready=10, load_seconds=60.0, history_seconds=3600.0)
TARGET = Target(95, 0.4)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: replace(CALM, rate=math.inf), "rate is inf"),
        (lambda: replace(CALM, queued=-1.0), "queued is -1.0"),
        (lambda: decide(CALM, 0.0, 0.0, TARGET), "capacity is 0.0"),
        (lambda: decide(CALM, 100.0, -0.1, TARGET), "headroom is -0.1"),
    ],
)
def test_what_is_no_measurement_is_refused(make: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()  # type: ignore[operator]


def test_the_horizon_is_the_load_time_and_what_scrapes_add_to_it() -> None:
    assert horizon(90.0) == 127.5
    assert horizon(10.0, Scraping(5.0)) == 27.5
    assert horizon(60.0, Scraping(60.0)) == 187.5


def test_calm_traffic_needs_its_rate_and_a_little() -> None:
    decision = decide(CALM, 100.0, 0.0, TARGET)
    assert (decision.replicas, decision.reason) == (11, "rate")
    assert decision.planned == pytest.approx(1030.0)
    assert not decision.learning
    assert decide(replace(CALM, rate=0.0, peak=0.0), 100.0, 0.0, TARGET).replicas == 1
    assert decide(replace(CALM, rate=970.9), 100.0, 0.0, TARGET).replicas == 10  # 10.0003 pods are ten


def test_headroom_is_kept_whatever_comes() -> None:
    decision = decide(CALM, 100.0, 1.0, TARGET)
    assert (decision.replicas, decision.reason) == (20, "headroom")


def test_a_known_rise_is_planned_for_but_never_beyond_the_peak() -> None:
    rising = replace(CALM, rise=500.0, peak=3000.0)
    assert decide(rising, 100.0, 0.0, TARGET).replicas == 15
    assert decide(rising, 100.0, 0.0, TARGET).reason == "rise"
    assert decide(replace(rising, peak=1200.0), 100.0, 0.0, TARGET).planned == pytest.approx(1200.0)


def test_too_little_history_counts_the_rate_alone_and_says_so() -> None:
    for young in (replace(CALM, rise=None), replace(CALM, rise=500.0, peak=3000.0, history_seconds=200.0)):
        decision = decide(young, 100.0, 0.0, TARGET)
        assert (decision.replicas, decision.learning, decision.reason) == (11, True, "rate")


def test_a_backlog_is_worked_off_within_a_load_time() -> None:
    # 10 pods of 100 req/s may hold 200 requests at 0.4 s; 600 more are 10 req/s over 60 s, and 20 over 30 s.
    assert decide(replace(CALM, queued=200.0), 100.0, 0.0, TARGET).backlog == 0.0
    assert decide(replace(CALM, queued=800.0), 100.0, 0.0, TARGET).backlog == pytest.approx(10.0)
    assert decide(replace(CALM, queued=800.0, load_seconds=5.0), 100.0, 0.0, TARGET).backlog == pytest.approx(20.0)


def _hour(rises: int, seconds: int) -> list[float]:
    """An hour at 100 req/s with so many rises to 300, each so long."""
    history = [100.0] * 241
    for number in range(rises):
        start = 40 + 60 * number
        history[start : start + seconds // 15] = [300.0] * (seconds // 15)
    return history


def test_a_rise_seen_once_is_forgiven_and_one_seen_twice_expected() -> None:
    assert learn(_hour(1, 600), 90.0).rise == 0.0
    assert learn(_hour(2, 600), 90.0).rise == 200.0
    assert learn(_hour(2, 600), 90.0).peak == 300.0


def test_a_fall_is_no_rise() -> None:
    assert learn([300.0 - point for point in range(241)], 90.0).rise == 0.0


def test_nothing_is_learnt_before_three_horizons() -> None:
    enough = math.ceil(3 * horizon(90.0) / Scraping().step) + 1
    assert learn([100.0] * (enough - 1), 90.0).rise is None
    assert learn([100.0] * enough, 90.0).rise == 0.0
    assert learn([], 90.0).rise is None
    assert learn([None] * 200 + [100.0] * 10, 90.0).seconds == 135.0


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    assert learn([9000.0] * 30 + [100.0] * 241, 90.0).peak == 100.0


def test_gaps_in_the_history_are_left_out() -> None:
    gaps: list[float | None] = list(_hour(2, 600))
    gaps[10:20] = [None] * 10
    assert learn(gaps, 90.0).rise == 200.0


def test_a_rise_and_its_own_ends_are_one_rise() -> None:
    slow = [100.0] * 100 + [100.0 + 20.0 * step for step in range(12)] + [320.0] * 129
    assert learn(slow, 90.0).rise == 0.0
    assert learn(slow, 10.0).rise == pytest.approx(0.0, abs=60.0)


def test_a_short_load_time_still_shows_a_rise_in_full() -> None:
    # As a window of three scrapes shows them, each pod at its own phase: two steps, spread over a minute.
    history = [100.0] * 241
    for start in (60, 140):
        history[start : start + 40] = [140.0, 180.0, 240.0, *[300.0] * 34, 240.0, 180.0, 140.0]
    assert learn(history, 10.0).rise == 200.0


def test_a_level_reached_once_is_no_peak() -> None:
    history = [100.0] * 241
    history[50:53] = [300.0] * 3
    assert learn(history, 10.0).peak == 100.0
    history[150:153] = [250.0] * 3
    assert learn(history, 10.0).peak == 250.0


@pytest.mark.parametrize(
    ("desired", "live", "told"),
    [(10, 10, 10), (11, 10, 12), (12, 10, 12), (22, 20, 23), (23, 20, 23), (9, 10, 9), (2, 1, 2), (33, 30, 34)],
)
def test_one_pod_more_is_told_past_the_dead_band(desired: int, live: int, told: int) -> None:
    assert past_the_dead_band(desired, live) == told
    if desired > live:
        assert told / live > 1.1  # what the HPA compares, inclusively


@given(st.floats(5.0, 60.0), st.floats(1.0, 600.0))
def test_every_span_of_the_rule_follows_the_scrapes(interval: float, load: float) -> None:
    scraping = Scraping(interval)
    assert scraping.window == 3 * interval
    assert horizon(load, scraping) == pytest.approx(load + interval / 2 + 3 * interval / 2 + 7.5)
    assert interval <= scraping.step < interval + 1 and scraping.history % scraping.step == 0
    assert 3600 - scraping.step < scraping.history <= 3600
    # Learning ends with three horizons of history, in points that are as far apart as the scrapes.
    points = math.ceil(3 * horizon(load, scraping) / scraping.step)
    if points <= scraping.history // scraping.step:
        assert learn([100.0] * points, load, scraping).rise is None
        learned = learn([100.0] * (points + 1), load, scraping)
        assert (learned.rise, learned.seconds) == (0.0, points * scraping.step)
    seconds = 3 * horizon(load, scraping)
    for known, learning in ((seconds - 1e-6, True), (seconds + 1e-6, False)):
        seen = replace(CALM, load_seconds=load, history_seconds=known)
        assert decide(seen, 100.0, 0.0, TARGET, scraping).learning == learning
    backlog = decide(replace(CALM, queued=800.0, load_seconds=load), 100.0, 0.0, TARGET, scraping).backlog
    assert backlog == pytest.approx(600.0 / max(load, 2 * interval, 15.0))


def _scraped(arrived: Callable[[float], float], scraping: Scraping, phases: int = 6) -> list[float | None]:
    """The history of arrivals that pods show whose scrapes have phases of their own; `arrived` counts by the time."""
    points: list[float | None] = []
    for moment in range(3600 - scraping.history, 3601, scraping.step):
        newest = [moment - scraping.interval * phase / phases for phase in range(phases)]
        earlier = 2 * scraping.interval
        points.append(sum(arrived(time) - arrived(time - earlier) for time in newest) / earlier / phases)
    return points


@given(st.floats(5.0, 60.0), st.floats(5.0, 120.0), st.integers(0, 300))
def test_a_rise_is_learnt_in_full_and_only_the_second_time_whatever_the_scrapes(
    interval: float, load: float, start: int
) -> None:
    scraping = Scraping(interval)
    # High for long enough that pods which are ordered for it still serve it.
    high = horizon(load, scraping) + 2 * scraping.window

    def surges(*begins: int) -> Callable[[float], float]:
        return lambda time: 100.0 * time + sum(200.0 * min(max(0.0, time - begin), high) for begin in begins)

    once = learn(_scraped(surges(start + 400), scraping), load, scraping)
    assert once.rise == pytest.approx(0.0, abs=1.0)
    twice = learn(_scraped(surges(start + 400, start + 2200), scraping), load, scraping)
    assert twice.rise == pytest.approx(200.0, rel=0.02)
    assert twice.peak == pytest.approx(300.0, rel=0.02)
