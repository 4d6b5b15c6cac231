"""Ready pods that nobody scrapes: the others speak for them, as far as that keeps what stands."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.api import names
from mooring_operator.scaling.answers import answers
from tests.support.findings import CALM, wanted


@pytest.mark.parametrize(
    ("pods", "ready", "rate", "count"),
    [(1, 2, 85.0, 2), (6, 8, 200.0, 4), (8, 8, 200.0, 3), (9, 8, 200.0, 3), (1, 2, 200.0, 3), (1, None, 85.0, 1)],
)
def test_a_pod_that_is_never_seen_is_not_taken_away_for_it(
    pods: int, ready: int | None, rate: float, count: int
) -> None:
    found = replace(CALM, pods=pods, ready=pods, proven=pods, rate=rate, history=(rate,) * 241)
    assert answers(wanted(), found, ready=ready)[names.METRIC_DESIRED_REPLICAS].value == count


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
