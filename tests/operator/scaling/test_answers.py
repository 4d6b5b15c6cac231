import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.api import names
from mooring_operator.facts import Service
from mooring_operator.scaling import slo
from mooring_operator.scaling.answers import (
    PUSH_MOST,
    RATIO_MOST,
    Answer,
    answers,
    capability_of,
    load_seconds,
    unanswered,
)
from mooring_operator.scaling.findings import Findings, Line
from tests.support import builders
from tests.support.findings import CALM, NOW, wanted

UNKNOWN = replace(CALM, curve=None, run_mean=None, batch_limit=None)
"""The same before anything was measured of its runs."""


def say(findings: Findings, metric: str = names.METRIC_DESIRED_REPLICAS, **scaling: Any) -> Answer:
    return answers(wanted(**scaling), findings)[metric]


def load(findings: Findings, target: float | None = None) -> float | None:
    return answers(wanted(), findings, load_target=target)[names.METRIC_LOAD].value


def ratio(findings: Findings) -> Answer:
    return say(findings, names.METRIC_LATENCY_RATIO)


_COUNT = st.integers(0, 50)
_REAL = st.floats(0.0, 1e9)
_MAYBE = st.none() | _REAL
_FINDINGS = st.builds(
    Findings,
    time=st.just(NOW),
    newest=st.none() | st.floats(NOW - 100.0, NOW),
    pods=_COUNT,
    copies=st.integers(0, 3),
    scrapes=_COUNT,
    ready=_COUNT,
    proven=_COUNT,
    rate=_MAYBE,
    history=st.lists(_MAYBE, max_size=241).map(tuple),
    queued=_MAYBE,
    in_flight=_MAYBE,
    latency=st.dictionaries(st.sampled_from([90, 95, 99]), _REAL),
    answered=_REAL,
    refused=_REAL,
    curve=st.none() | st.builds(Line, st.floats(1e-6, 1e3), st.floats(0.0, 1e3)),
    batch_limit=st.none() | st.floats(0.0, 512.0),
    batch_delay=_MAYBE,
    queue_limit=_MAYBE,
    run_mean=st.none() | st.floats(1e-6, 1e3),
    run_variation=_MAYBE,
    workers=st.none() | st.floats(0.0, 64.0),
    samples_per_request=st.none() | st.floats(0.0, 1e4),
    loop_seconds=_MAYBE,
    load_seconds=_MAYBE,
)
_SERVICES = st.sampled_from(
    [
        wanted(),
        wanted(latency={"target": "2ms", "percentile": 99}, headroom="50%", loadTime="10s"),
        wanted(latency=None, queue={"target": 3}),
        builders.service(),
    ]
)


@given(_SERVICES, _FINDINGS, st.none() | _REAL, st.none() | _COUNT)
def test_every_metric_is_answered_and_no_value_is_anything_but_a_count(
    service: Service, findings: Findings, load_target: float | None, ready: int | None
) -> None:
    said = answers(service, findings, load_target=load_target, ready=ready)
    assert tuple(said) == names.EXTERNAL_METRICS
    for answer in said.values():
        if answer.value is None:
            assert answer.reason != "OK" and answer.message
        else:
            assert math.isfinite(answer.value) and answer.value >= 0.0
            assert answer.series > 0 and answer.time > 0.0


@pytest.mark.parametrize(
    ("findings", "reason", "told"),
    [
        (Findings(NOW), "NoSeries", "port 8002"),
        (replace(CALM, pods=0), "NoSeries", "port 8002"),
        (replace(CALM, newest=None), "NoSeries", "port 8002"),
        (replace(CALM, copies=2), "TooManySeries", "2 times"),
        (replace(CALM, newest=NOW - 60.5), "StaleSeries", "60 s old"),
    ],
)
def test_who_cannot_see_says_no_number(findings: Findings, reason: str, told: str) -> None:
    for answer in answers(wanted(), findings).values():
        assert (answer.value, answer.reason) == (None, reason)
        assert 'mooring_namespace="models"' in answer.message and 'mooring_service="sentiment"' in answer.message
        assert told in answer.message


def test_samples_are_too_old_after_four_scrapes() -> None:
    old = replace(CALM, newest=NOW - 45.0)
    assert answers(wanted(), old, interval=15.0)[names.METRIC_LOAD].value == 16.0
    assert answers(wanted(), old, interval=10.0)[names.METRIC_LOAD].reason == "StaleSeries"


@pytest.mark.parametrize(
    ("pods", "ready", "seen"), [(4, 4, True), (4, 5, True), (1, 2, True), (6, 8, True), (5, 8, False), (2, 20, False)]
)
def test_over_too_few_of_the_ready_pods_no_sum_is_taken(pods: int, ready: int, seen: bool) -> None:
    for answer in answers(wanted(), replace(CALM, pods=pods), ready=ready).values():
        assert (answer.value is not None) == seen
        assert answer.reason == ("OK" if seen else "MissingSeries")


def test_arrivals_that_reach_no_pod_are_not_taken_for_none() -> None:
    down = replace(CALM, ready=0, proven=0, rate=0.0, queued=0.0, in_flight=0.0)
    for answer in answers(wanted(), down).values():
        assert (answer.value, answer.reason) == (None, "NotReady")


@pytest.mark.parametrize(
    ("ready", "proven", "told"),
    [(10, 10, True), (10, 8, True), (10, 7, False), (10, 1, False), (2, 1, True), (1, 0, False), (2, 0, False)],
)
def test_over_the_arrivals_of_few_pods_no_fleet_is_made_smaller(ready: int, proven: int, told: bool) -> None:
    partial = replace(CALM, pods=10, ready=ready, proven=proven, rate=200.0)
    answer = say(partial)
    assert (answer.value, answer.reason) == ((3.0, "OK") if told else (None, "Learning"))
    more = say(replace(partial, rate=1000.0, history=(1000.0,) * 241))
    assert more.value is not None and more.value > 10


def test_no_traffic_is_nought() -> None:
    idle = replace(CALM, rate=0.0, history=(0.0,) * 241, queued=0.0, in_flight=0.0, latency={}, answered=0.0)
    said = answers(wanted(), idle)
    assert [said[metric].value for metric in names.EXTERNAL_METRICS] == [0.0, 0.0, 0.0, 1.0]


def test_without_prometheus_each_metric_says_why() -> None:
    said = unanswered("PrometheusUnreachable", "it is not there")
    assert tuple(said) == names.EXTERNAL_METRICS
    assert {(each.value, each.reason, each.message) for each in said.values()} == {
        (None, "PrometheusUnreachable", "it is not there")
    }


def test_load_is_what_runs_and_what_waits() -> None:
    assert load(CALM) == 16.0
    assert say(CALM, names.METRIC_QUEUE_DEPTH).value == 6.0


@pytest.mark.parametrize("missing", ["queued", "in_flight"])
def test_half_of_the_load_is_not_told(missing: str) -> None:
    assert say(replace(CALM, **{missing: None}), names.METRIC_LOAD).reason == "NoSeries"  # type: ignore[arg-type]


@pytest.mark.parametrize(("latency", "times"), [(0.1, 1.0), (0.4, 1.0), (0.6, 1.5), (0.8, 2.0), (40.0, PUSH_MOST)])
def test_a_latency_above_its_target_raises_the_load_while_no_curve_is_known_and_one_below_never_lowers_it(
    latency: float, times: float
) -> None:
    assert load(replace(UNKNOWN, latency={95: latency})) == pytest.approx(16.0 * times)


def test_a_latency_raises_no_load_where_a_curve_tells_more_or_nobody_wants_it() -> None:
    late = {95: 40.0}
    assert load(replace(CALM, latency=late)) == 16.0
    assert say(replace(UNKNOWN, latency=late), names.METRIC_LOAD, latency=None, queue={"target": 3}).value == 16.0
    assert load(replace(UNKNOWN, latency={99: 40.0})) == 16.0


def test_a_latency_that_few_requests_cause_is_not_for_want_of_pods() -> None:
    late = replace(UNKNOWN, latency={95: 40.0})
    assert load(late, target=6.0) == 32.0  # 4 requests a pod are two thirds of it
    assert load(late, target=7.0) == 16.0


def test_the_ratio_is_that_of_the_percentile_that_the_target_names() -> None:
    both = replace(CALM, latency={95: 0.2, 99: 0.9})
    assert ratio(both).value == pytest.approx(0.5)
    assert say(both, names.METRIC_LATENCY_RATIO, latency={"target": "400ms", "percentile": 99}).value == pytest.approx(
        2.25
    )
    assert ratio(replace(CALM, latency={95: 1e6})).value == RATIO_MOST


def test_a_percentile_of_few_requests_is_told_as_such() -> None:
    few = ratio(replace(CALM, latency={}, answered=29.0))
    assert (few.value, few.reason) == (0.0, "FewRequests")
    assert "29" in few.message


@pytest.mark.parametrize(("answered", "refused", "late"), [(95.0, 5.0, False), (94.0, 6.0, True), (0.0, 40.0, True)])
def test_a_fleet_that_refuses_more_than_the_percentile_allows_is_late(
    answered: float, refused: float, late: bool
) -> None:
    found = ratio(replace(CALM, latency={95: 0.01}, answered=answered, refused=refused)).value
    assert found == (RATIO_MOST if late else pytest.approx(0.025))


def test_one_refusal_in_a_quiet_minute_is_no_surge() -> None:
    assert ratio(replace(CALM, latency={}, answered=3.0, refused=2.0)).value == 0.0


def test_the_count_is_that_of_the_rule_and_comes_with_its_reasons() -> None:
    answer = say(CALM)
    pod = slo.capacity(slo.Capability(slo.Curve(0.040, 0.008), 32, 0.0, 0.1, 1, 64), slo.Target(95, 0.4))
    assert answer.reason == "OK" and answer.decision is not None
    assert answer.decision.capacity == pod
    assert answer.value == math.ceil(200.0 * (1.0 + slo.SPARE) / pod - 0.05)


@pytest.mark.parametrize(
    ("change", "scaling", "more"),
    [
        ({"rate": 400.0}, {}, True),
        ({"history": ((200.0,) * 12 + (600.0,) * 12) * 10}, {}, True),
        ({"queued": 60000.0}, {}, True),
        ({"queue_limit": 4.0}, {}, True),
        ({"workers": 2.0}, {}, False),
        ({"samples_per_request": 4.0}, {}, True),
        ({"loop_seconds": 0.03}, {}, True),
        ({}, {"headroom": "200%"}, True),
        ({}, {"latency": {"target": "150ms"}}, True),
    ],
)
def test_each_input_moves_the_count(change: dict[str, Any], scaling: dict[str, Any], more: bool) -> None:
    before, after = say(CALM).value, say(replace(CALM, **change), **scaling).value
    assert before is not None and after is not None
    assert after > before if more else after < before


def test_without_a_curve_there_is_no_count() -> None:
    answer = say(UNKNOWN)
    assert (answer.value, answer.reason) == (None, "NoCurve")


def test_without_a_target_there_is_nothing_to_count_for() -> None:
    for metric in (names.METRIC_DESIRED_REPLICAS, names.METRIC_LATENCY_RATIO):
        answer = say(CALM, metric, latency=None, queue={"target": 3})
        assert (answer.value, answer.reason) == (None, "NoLatencyTarget")


def test_after_a_restart_of_prometheus_the_count_holds_until_there_is_a_rate_and_then_goes_by_it_alone() -> None:
    fresh = replace(CALM, rate=None, history=(None,) * 241)
    assert (say(fresh).value, say(fresh).reason) == (None, "Learning")
    learning = say(replace(CALM, history=(None,) * 230 + (200.0,) * 11))
    assert learning.value == say(CALM).value
    assert learning.reason == "Learning" and "150 s" in learning.message


@pytest.mark.parametrize("interval", [5.0, 15.0, 30.0, 60.0])
def test_three_horizons_of_history_are_told_by_the_scrapes_that_it_is_made_of(interval: float) -> None:
    # Pods are there 40 s after they are asked for; the rest of a horizon is 2 scrapes and 7.5 s.
    least = math.ceil(3 * (40.0 + 2 * interval + 7.5) / interval)

    def told(known: int, queued: float = 0.0) -> Answer:
        found = replace(CALM, history=(200.0,) * known, queued=queued, load_seconds=40.0)
        return answers(wanted(), found, interval)[names.METRIC_DESIRED_REPLICAS]

    assert (told(least).reason, told(least + 1).reason) == ("Learning", "OK")
    assert f"{(least - 1) * interval:.0f} s of arrivals" in told(least).message
    one, more = (told(least + 1, queued).decision for queued in (5000.0, 8000.0))
    assert one is not None and more is not None
    assert more.backlog - one.backlog == pytest.approx(3000.0 / max(40.0, 2 * interval))


def test_a_rate_that_never_comes_is_told_from_one_that_is_yet_to_come() -> None:
    fresh = replace(CALM, rate=None, history=(None,) * 241)
    assert say(replace(fresh, scrapes=2)).reason == "Learning"
    seldom = say(replace(fresh, scrapes=5))
    assert (seldom.value, seldom.reason) == (None, "ScrapedTooSeldom")
    assert "5 times in 300 s" in seldom.message and "scrape each 15 s" in seldom.message


@pytest.mark.parametrize(
    ("change", "garbled", "metrics"),
    [
        ({"rate": None}, "mooring_requests_received_total", [names.METRIC_DESIRED_REPLICAS]),
        ({"queued": None}, "mooring_queue_depth", [names.METRIC_QUEUE_DEPTH, names.METRIC_LOAD]),
        ({"in_flight": None}, "mooring_in_flight", [names.METRIC_LOAD]),
        ({"ready": 0, "proven": 0}, "mooring_model_ready", list(names.EXTERNAL_METRICS)),
    ],
)
def test_a_series_that_is_no_number_is_told_as_such(change: dict[str, Any], garbled: str, metrics: list[str]) -> None:
    found = replace(CALM, scrapes=20, garbled={garbled: "10.0.0.7:8002"}, **change)
    for metric, answer in answers(wanted(), found).items():
        if metric not in metrics:
            assert answer.reason == "OK"
            continue
        assert (answer.value, answer.reason) == (None, "NotANumber")
        for told in (f"{garbled} of 10.0.0.7:8002", "NaN", "'sentiment'", "port 8002", "delete the pod"):
            assert told in answer.message
    past = answers(wanted(), replace(found, garbled={garbled: ""}))[metrics[0]]
    assert f"{garbled} of one of the pods" in past.message
    # Of a series that nothing is missing of, nothing is told.
    assert {each.reason for each in answers(wanted(), replace(CALM, garbled={garbled: "a"})).values()} == {"OK"}


def test_a_curve_that_is_no_number_is_told_and_the_load_may_stand_for_it() -> None:
    answer = say(replace(UNKNOWN, garbled={"mooring_batch_curve_seconds": "10.0.0.7:8002"}))
    assert (answer.value, answer.reason) == (None, "NoCurve")
    assert "mooring_batch_curve_seconds of 10.0.0.7:8002" in answer.message


def test_a_target_that_no_count_meets_is_told() -> None:
    answer = say(CALM, latency={"target": "20ms"})
    assert answer.reason == "TargetUnreachable" and "20 ms" in answer.message
    assert answer.value is not None and answer.value < 100


def test_a_model_that_does_not_batch_is_judged_by_the_mean_of_its_runs() -> None:
    found = capability_of(replace(CALM, batch_limit=1.0, curve=Line(0.9, 0.0), run_mean=0.1, run_variation=0.3))
    assert found == slo.Capability(slo.Curve(0.1, 0.0), 1, 0.0, 0.3, 1, 64)


def test_requests_of_many_samples_fill_a_batch_sooner_and_take_longer() -> None:
    found = capability_of(replace(CALM, samples_per_request=4.0))
    assert found == slo.Capability(slo.Curve(0.040, 0.032), 8, 0.0, 0.1, 1, 64)
    alone = capability_of(replace(CALM, samples_per_request=100.0))
    assert alone is not None and alone.max_batch == 1


@pytest.mark.parametrize(
    ("written", "measured", "expected"),
    [("10s", 90.0, 10.0), (None, 90.0, 90.0), (None, None, 60.0), (None, 7200.0, 600.0), ("2h", None, 600.0)],
)
def test_the_load_time_is_the_users_word_or_else_what_was_measured(
    written: str | None, measured: float | None, expected: float
) -> None:
    scaling = {} if written is None else {"loadTime": written}
    assert load_seconds(wanted(**scaling), replace(CALM, load_seconds=measured)) == expected
