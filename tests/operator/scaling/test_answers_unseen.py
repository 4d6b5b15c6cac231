import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.api import names
from mooring_operator.scaling.answers import (
    answers,
)
from tests.support.findings import CALM, UNKNOWN, say, wanted


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


_MANY = st.integers(1, 200)


@given(
    _MANY,
    st.floats(0.0, 1.5),
    st.floats(0.0, 1.5),
    st.floats(0.7, 1.2),
    st.integers(1, 50),
    st.none() | st.floats(0.5, 50.0),
)
def test_sums_count_the_unseen_as_the_others_but_ask_for_no_more_than_is_ready_by_them(
    ready: int, waits: float, runs: float, share: float, target: int, load_target: float | None
) -> None:
    service = wanted(queue={"target": target}, concurrency={"target": 2 * target})
    queued, in_flight, seen = waits * ready * target, runs * ready * target, max(1, round(share * ready))
    found = replace(CALM, pods=seen, ready=seen, proven=seen, queued=queued, in_flight=in_flight)
    said = answers(service, found, load_target=load_target, ready=ready)
    if ready - seen > max(1, ready / 4):
        assert {answer.reason for answer in said.values()} == {"MissingSeries"}
        return
    sums = (
        (names.METRIC_QUEUE_DEPTH, queued, float(target)),
        (names.METRIC_LOAD, queued + in_flight, min(2.0 * target, load_target or math.inf)),
    )
    for metric, raw, per_replica in sums:
        value = said[metric].value
        assert value is not None and value >= raw
        if ready <= seen:
            assert value == raw
            continue
        whole = raw * ready / seen
        # As much as if the others were seen, or else as many replicas as there are.
        assert value == pytest.approx(whole) if whole <= ready * per_replica else value <= max(whole, raw)
        assert value / per_replica <= max(raw / per_replica, ready) * (1 + 1e-9)
        assert math.ceil(value / per_replica - 1e-6) >= min(ready, math.floor(whole / per_replica))


def test_a_fleet_at_its_target_of_which_a_quarter_is_unseen_keeps_its_size() -> None:
    found = replace(CALM, pods=6, ready=6, proven=6, queued=24.0, in_flight=0.0)
    said = answers(wanted(queue={"target": 4}), found, ready=8)
    assert said[names.METRIC_QUEUE_DEPTH].value == 32.0  # 8 replicas of 4, not 6
    # More than there are is asked for only by what is seen: two that have just come show no queue yet.
    said = answers(wanted(queue={"target": 4}), replace(found, queued=30.0), ready=8)
    assert said[names.METRIC_QUEUE_DEPTH].value == 32.0
    said = answers(wanted(queue={"target": 4}), replace(found, queued=50.0), ready=8)
    assert said[names.METRIC_QUEUE_DEPTH].value == 50.0
