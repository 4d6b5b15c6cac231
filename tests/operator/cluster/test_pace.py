"""How soon the replicas of a stateful service are looked at again."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mooring_operator.api.membership import Record, Report
from mooring_operator.cluster.pace import AT_ONCE, CALM, QUICK, QUICK_FOR, SLOW, Pace
from mooring_operator.facts import Key, Manifest, Members, Moves, Observed, Step
from tests.support import builders

KEY = Key(builders.NAMESPACE, builders.NAME)
RECORD = Record(3, 1, (), {0: "s0"})


def stateful_set(replicas: int = 1) -> Manifest:
    meta = {"name": builders.NAME, "namespace": builders.NAMESPACE}
    return {"kind": "StatefulSet", "metadata": meta, "spec": {"replicas": replicas}}


def observed(record: Record | None = RECORD, ready: bool = True, **known: Any) -> Observed:
    reports = {0: Report(0, "s0", 1, record, True)}
    members = Members(record=record, version="1", **{"reports": reports, **known})
    pod = builders.pod("abc", ready=ready, ordinal=0)
    return builders.observed(stateful_set(), pods=(pod,), members=members)


def test_a_settled_service_is_only_counted() -> None:
    assert Pace().next(KEY, observed(), Step(replicas=1)) == CALM
    # A suspended one has no count to come to.
    assert Pace().next(KEY, observed(), Step(hold=True)) == CALM


def test_a_new_record_is_told_at_once() -> None:
    assert Pace().next(KEY, observed(), Step(replicas=1, moves=Moves(record=RECORD))) == AT_ONCE


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (observed(None), Step(replicas=1)),
        (observed(Record(4, 1, (2,), {0: "s0"})), Step(replicas=1)),
        (observed(reports={}, silent={0: "no answer"}), Step(replicas=1)),
        (observed(ready=False), Step(replicas=1)),
        (observed(), Step(replicas=2)),
        (observed(), Step(replicas=1, reason="RolloutWaits")),
        (observed(), Step(replicas=1, moves=Moves(tell=(0,)))),
        (observed(), Step(replicas=1, moves=Moves(grow={"a": "2Gi"}))),
    ],
)
def test_what_is_open_is_looked_at_soon_and_then_seldom(seen: Observed, step: Step) -> None:
    pace = Pace()
    assert pace.next(KEY, seen, step) == QUICK
    for later, wait in ((QUICK_FOR / 2, QUICK), (QUICK_FOR, SLOW)):
        assert pace.next(KEY, replace(seen, now=seen.now + timedelta(seconds=later)), step) == wait
    # Something happened: more may follow.
    assert pace.next(KEY, observed(Record(9, 1, (2, 3), {0: "s0"})), step) == QUICK
    pace.forget(KEY)
    assert pace.next(KEY, seen, step) == QUICK
