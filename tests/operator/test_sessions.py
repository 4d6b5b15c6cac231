"""What is known of sessions, told by what replicas report."""

import json
from datetime import timedelta
from typing import Any

from mooring_operator.api import names
from mooring_operator.api.membership import Record, Report
from mooring_operator.facts import Members, Observed
from mooring_operator.sessions import AtRisk, Leaving, Replaced, RolledBack, Sessions, look
from tests.support.builders import NOW, observed, record, replica, report, service, stateful_set

SERVICE = service(state={"volume": {"size": "1Gi"}, "drainTimeout": "10m"})


def seen(kept: Record | None, *reports: Report, pods: Any = (), **members: Any) -> Observed:
    found = Members(record=kept, reports={each.ordinal: each for each in reports}, **members)
    return observed(stateful_set("v1"), members=found, pods=tuple(pods))


def test_nothing_is_known_of_a_service_that_has_nothing() -> None:
    assert look(SERVICE, observed()) == Sessions()


def test_sessions_are_counted_over_all_that_answer() -> None:
    kept = record(3, 2)
    found = look(
        SERVICE,
        seen(
            kept,
            report(0, kept, held=5, ended=1, foreign=2, bytes=100),
            report(1, kept, held=7, unreadable=3, bytes=50),
        ),
    )
    assert (found.active, found.ended, found.draining, found.bytes) == (12, 1, 2, 150)
    assert found.unreadable == {1: 3}
    assert found.durable


def test_a_report_of_another_ordinal_counts_nowhere() -> None:
    found = Members(record=record(3, 2), reports={1: report(0, record(3, 2), held=5)})
    assert look(SERVICE, observed(members=found)).active == 0


def test_an_interval_is_told() -> None:
    lazy = service(state={"volume": {"size": "1Gi"}, "durability": {"mode": "interval", "interval": "50ms"}})
    assert not look(lazy, observed()).durable


def test_who_leaves_is_named_with_what_it_has_still() -> None:
    kept = record(5, 1, 3)
    found = look(SERVICE, seen(kept, report(0, kept), report(1, kept, clean=False, foreign=4), resized=NOW))
    assert found.leaving == (Leaving(1, 4), Leaving(2, None))
    assert found.stranded == ()


def test_who_was_taken_away_is_stranded_with_what_was_noted() -> None:
    kept = record(5, 1, 4, lost=["d"])
    notes = {names.ANNOTATION_STRANDED: json.dumps({"1": 4})}
    late = NOW - timedelta(minutes=10)
    found = look(SERVICE, seen(kept, report(0, kept), resized=late, notes=notes))
    assert found.stranded == (Leaving(1, 4), Leaving(2, None))
    assert found.leaving == ()


def test_who_is_still_there_is_not_stranded() -> None:
    kept = record(5, 1, 2)
    late = NOW - timedelta(hours=1)
    found = look(SERVICE, seen(kept, report(0, kept), pods=[replica(1)], resized=late))
    assert (found.stranded, found.leaving) == ((), (Leaving(1, None),))


def test_who_is_on_a_lost_node_is_at_risk_also_while_its_pod_is_being_deleted() -> None:
    kept = record(5, 3)
    found = look(
        SERVICE,
        seen(
            kept,
            report(1, kept, held=9),
            pods=[replica(0, node="a"), replica(1, node="gone", ready=False)],
            ending=(replica(2, node="gone"),),
            lost_nodes={"gone": "kubelet stopped posting node status"},
            notes={names.ANNOTATION_HELD: json.dumps({"1": 8, "2": 40})},
        ),
    )
    why = "kubelet stopped posting node status"
    assert found.at_risk == (
        AtRisk(1, "sentiment-1", "gone", why, False, 9),
        AtRisk(2, "sentiment-2", "gone", why, True, 40),
    )


def test_another_volume_and_an_older_copy_are_told_apart() -> None:
    kept = record(5, 2)
    notes = {names.ANNOTATION_BOOTS: json.dumps({"a": 7})}
    found = look(SERVICE, seen(kept, report(0, kept, boot=3), report(1, kept, "x", clean=False), notes=notes))
    assert found.replaced == (Replaced(1, "b", "x"),)
    assert found.rolled_back == (RolledBack(0, "a", 3, 7),)
