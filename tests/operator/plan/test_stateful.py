"""What one round does for a stateful service, put together: pods, record, notes, and what is said of it."""

import json
from datetime import timedelta
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.api.membership import Record, Report
from mooring_operator.facts import Members, Moves, Observed, Service, Step
from mooring_operator.plan import hold, plan
from tests.support.builders import NOW, claim, observed, record, replica, report, stateful_set
from tests.support.builders import service as any_service

MARKS = {names.ANNOTATION_GOOD_TEMPLATE: "v1"}


def service(replicas: int = 1, *, keeps: bool = True, **fields: Any) -> Service:
    retention = {"whenScaled": "Retain" if keeps else "Delete"}
    state = {"volume": {"size": "1Gi"}, "drainTimeout": "10m", "retention": retention}
    return any_service(replicas=replicas, state=state, **fields)


def seen(kept: Record | None, *reports: Report, live: int = 3, **members: Any) -> Observed:
    """A StatefulSet with all its pods, of which these report."""
    return observed(
        stateful_set("v1", replicas=live, marks=MARKS),
        pods=tuple(replica(ordinal) for ordinal in range(live)),
        members=Members(record=kept, reports={each.ordinal: each for each in reports}, **members),
    )


def moves(step: Step) -> Moves:
    assert step.moves is not None
    return step.moves


def all_of(kept: Record, count: int, **fields: Any) -> list[Report]:
    return [report(ordinal, kept, **fields) for ordinal in range(count)]


# --- pods


def test_a_new_service_has_its_pods_first() -> None:
    step = plan(service(3), observed(members=Members()), "v1")
    assert (step.replicas, step.reason, moves(step)) == (3, "FirstReplicas", Moves())


def test_without_a_record_every_volume_gets_a_pod() -> None:
    found = Members(claims={0: claim(0), 4: claim(4)})
    assert plan(service(1), observed(members=found), "v1").replicas == 5


def test_without_a_record_a_volume_counts_also_while_its_last_pod_ends() -> None:
    kept = record(4, 1)
    ending = (replica(0), replica(4))
    found = Members(claims={0: claim(0), 4: claim(4)}, reports={4: report(4, kept, "e")}, ending=ending)
    assert plan(service(1), observed(members=found), "v1").replicas == 5


def test_a_service_that_is_applied_again_goes_on_with_its_resize() -> None:
    left, late = record(5, 1, 3), NOW - timedelta(hours=1)
    known = Members(record=left, resized=late, claims={o: claim(o) for o in range(3)})
    assert plan(service(1), observed(members=known), "v1").replicas == 3
    for minutes, pods in ((9.9, 3), (10, 1)):
        made = stateful_set("v1", replicas=3, marks=MARKS, made=NOW - timedelta(minutes=minutes))
        assert plan(service(1), observed(made, members=known), "v1").replicas == pods


def test_without_a_record_no_pod_is_taken_away() -> None:
    assert plan(service(1), seen(None, live=3), "v1").replicas == 3


def test_a_growing_service_has_its_pods_before_they_are_members() -> None:
    step = plan(service(5), seen(record(4, 3), *all_of(record(4, 3), 3)), "v1")
    assert (step.replicas, moves(step).record, step.reason) == (5, None, "Resizing")
    assert step.message.endswith("waiting for the first report of replicas 3, 4")


def test_a_shrinking_service_keeps_its_pods_until_it_is_settled() -> None:
    kept = record(4, 3)
    first = plan(service(1), seen(kept, *all_of(kept, 3)), "v1")
    assert (first.replicas, moves(first).record) == (3, record(5, 1, 3))
    left = record(5, 1, 3)
    still = plan(service(1), seen(left, report(0, left), report(1, left, clean=False), report(2, left)), "v1")
    assert (still.replicas, moves(still).record) == (3, None)
    done = plan(service(1), seen(left, *all_of(left, 3)), "v1")
    assert (done.replicas, moves(done).record) == (3, record(6, 1))
    settled = record(6, 1)
    assert plan(service(1), seen(settled, *all_of(settled, 3)), "v1").replicas == 1


def test_a_pod_goes_only_when_a_member_knows_why() -> None:
    settled = record(6, 1)
    assert plan(service(1), seen(settled, report(0, record(5, 1, 3)), report(1, settled)), "v1").replicas == 3


@pytest.mark.parametrize(("minutes", "keeps", "pods"), [(9.9, True, 3), (10, True, 1), (10, False, 3), (None, True, 3)])
def test_after_the_drain_s_time_pods_go_where_volumes_are_kept(minutes: float | None, keeps: bool, pods: int) -> None:
    left = record(5, 1, 3)
    resized = None if minutes is None else NOW - timedelta(minutes=minutes)
    found = seen(left, report(0, left), report(1, left, clean=False, foreign=7), resized=resized)
    assert plan(service(1, keeps=keeps), found, "v1").replicas == pods


def test_a_claim_that_is_being_deleted_is_no_volume_that_is_kept() -> None:
    left = record(5, 1, 3)
    known = [report(0, left), report(1, left, clean=False, foreign=7), report(2, left)]
    late = NOW - timedelta(hours=1)
    for going, pods in ((1, 3), (2, 1)):
        found = seen(left, *known, resized=late, going=frozenset({going}))
        assert plan(service(1), found, "v1").replicas == pods


def test_what_stays_on_their_volumes_is_noted_and_kept_in_mind() -> None:
    left = record(5, 1, 3)
    late = NOW - timedelta(hours=1)
    going = plan(service(1), seen(left, report(0, left), report(1, left, clean=False, foreign=7), resized=late), "v1")
    note = moves(going).notes[names.ANNOTATION_STRANDED]
    assert json.loads(note) == {"1": 7}
    gone = plan(service(1), seen(left, report(0, left), live=1, resized=late, notes=moves(going).notes), "v1")
    assert moves(gone).notes[names.ANNOTATION_STRANDED] == note
    back = record(6, 2, 1, 3)
    again = plan(service(2), seen(back, report(0, back), live=3, resized=NOW, notes=moves(going).notes), "v1")
    assert names.ANNOTATION_STRANDED not in moves(again).notes


@pytest.mark.parametrize(
    ("noted", "held", "after"),
    [(0, 0, None), (0, 1, 1), (4, 5, 4), (4, 8, 4), (4, 9, 9), (4, 2, 4), (4, 1, 1), (4, 0, None), (4, None, 4)],
)
def test_how_many_sessions_a_replica_has_is_noted_roughly(noted: int, held: int | None, after: int | None) -> None:
    kept = record(4, 1)
    reports = [] if held is None else [report(0, kept, held=held)]
    found = seen(kept, *reports, live=1, notes={names.ANNOTATION_HELD: json.dumps({"0": noted, "7": 9})})
    note = moves(plan(service(1), found, "v1")).notes.get(names.ANNOTATION_HELD)
    assert note == (None if after is None else json.dumps({"0": after}))


def test_who_was_taken_away_comes_back_when_the_size_changes() -> None:
    left = record(5, 1, 3)
    late = NOW - timedelta(hours=1)
    first = plan(service(2), seen(left, report(0, left), live=1, resized=late), "v1")
    assert (first.replicas, moves(first).record) == (2, None)
    written = plan(service(2), seen(left, report(0, left), report(1, left), live=2, resized=late), "v1")
    assert (written.replicas, moves(written).record) == (3, record(6, 2, 1, 3))


@pytest.mark.parametrize("wanted", [1, 3])
def test_where_volumes_go_with_replicas_the_statefulset_says_how_many_are_wanted(wanted: int) -> None:
    left = record(5, 1, 3)
    step = plan(service(wanted, keeps=False), seen(left, report(0, left)), "v1")
    assert step.marks == {**MARKS, names.ANNOTATION_ROOM: str(wanted)}


# --- a spec that cannot be acted upon


def test_a_resize_that_has_begun_ends_also_under_a_spec_that_cannot_be_acted_upon() -> None:
    left = record(5, 1, 3)
    behind = hold(service(9), seen(left, report(0, left), *all_of(record(4, 3), 3)[1:]))
    assert (behind.hold, moves(behind).record, moves(behind).tell) == (True, None, (1, 2))
    done = hold(service(9), seen(left, *all_of(left, 3)))
    assert (moves(done).record, moves(done).tell) == (record(6, 1), (0, 1, 2))
    assert (done.replicas, done.template, moves(done).evict, moves(done).grow) == (None, None, None, {})


def test_nothing_new_begins_under_a_spec_that_cannot_be_acted_upon() -> None:
    calm = record(5, 3)
    still = moves(hold(service(9), seen(calm, *all_of(calm, 3))))
    assert still == Moves(notes=still.notes)
    assert moves(hold(service(9), seen(None, report(0, None)))) == Moves()
    assert hold(any_service(), observed()) == Step(hold=True)
    # A record that is lost comes back, and a volume that was put back stops all.
    lost = seen(None, *all_of(calm, 3), claims={o: claim(o) for o in range(3)})
    assert moves(hold(service(9), lost)).record == calm
    left = record(5, 1, 3)
    older = seen(left, *all_of(left, 3, boot=3), notes={names.ANNOTATION_BOOTS: json.dumps({"a": 7})})
    assert moves(hold(service(9), older)).record is None


# --- telling


def test_everybody_hears_of_a_record_that_is_written() -> None:
    kept = record(4, 3)
    step = plan(service(2), seen(kept, *all_of(kept, 3)), "v1")
    assert moves(step).tell == (0, 1, 2)


def test_who_is_behind_hears_of_the_record_that_is_kept() -> None:
    kept = record(4, 3)
    reports = [report(0, kept), report(1, record(3, 2, 3)), report(2, None), report(3, None)]
    assert moves(plan(service(3), seen(kept, *reports), "v1")).tell == (1, 2, 3)


# --- what a person must decide


def test_a_replaced_volume_is_told_with_its_remedy() -> None:
    kept = record(4, 3)
    step = plan(service(3), seen(kept, report(0, kept), report(1, kept, "x", clean=False), report(2, kept)), "v1")
    assert (step.stalled, step.reason, moves(step).record) == (True, "VolumeReplaced", None)
    assert "mooring.dev/abandon-store: b" in step.message


def test_an_older_copy_of_a_volume_stops_what_is_decided_by_reports() -> None:
    kept = record(4, 3)
    notes = {names.ANNOTATION_BOOTS: json.dumps({"a": 1, "b": 9, "c": 1})}
    step = plan(service(1), seen(kept, *all_of(kept, 3), notes=notes), "v2")
    assert (step.stalled, step.reason) == (True, "VolumeRolledBack")
    assert (step.replicas, moves(step).record, moves(step).evict) == (3, None, None)
    assert json.loads(moves(step).notes[names.ANNOTATION_BOOTS])["b"] == 9


@pytest.mark.parametrize("note", ["", "[]", "nonsense", '{"a": "many"}'])
def test_a_note_that_somebody_has_changed_is_made_anew(note: str) -> None:
    kept = record(4, 1)
    step = plan(service(1), seen(kept, report(0, kept, boot=5), live=1, notes={names.ANNOTATION_BOOTS: note}), "v1")
    assert moves(step).notes == {names.ANNOTATION_BOOTS: '{"a": 5}'}
    assert not step.stalled


@pytest.mark.parametrize(
    ("abandon", "reports", "said"),
    [
        ("z", (), "names no store of this service"),
        ("b", ("b",), "is not lost"),
        ("b", (), "waits until replica 1 answers with another volume"),
    ],
    ids=["unknown", "alive", "silent"],
)
def test_what_cannot_be_given_up_is_told(abandon: str, reports: tuple[str, ...], said: str) -> None:
    kept = record(4, 3)
    found = seen(kept, *[report(1, kept, store) for store in reports], abandon=abandon)
    step = plan(service(3), found, "v1")
    assert (step.stalled, step.reason, moves(step).record) == (True, "CannotAbandon", None)
    assert said in step.message


def test_what_was_given_up_is_done_with() -> None:
    kept = record(5, 1, lost=["x"])
    step = plan(service(1), seen(kept, report(0, kept), live=1, abandon="x"), "v1")
    assert (moves(step).record, step.stalled) == (None, False)


def test_a_store_that_was_given_up_and_is_back_is_told() -> None:
    kept = record(5, 1, lost=["x"])
    step = plan(service(1), seen(kept, report(0, kept, "x", clean=False), live=1), "v1")
    assert (step.stalled, step.reason) == (True, "VolumeReplaced")
    assert "sessions can be exported" in step.message


def test_sessions_that_the_good_version_cannot_read_are_told() -> None:
    kept = record(4, 3)
    reports = [report(0, kept), report(1, kept, unreadable=3), report(2, kept, unreadable=4)]
    step = plan(service(3), seen(kept, *reports), "v1")
    assert (step.stalled, step.reason) == (True, "StateUnreadable")
    assert step.message.startswith("7 sessions on replicas 1, 2")


# --- with each other


def test_a_rollout_and_a_growth_go_side_by_side() -> None:
    kept = record(4, 3)
    found = seen(kept, *all_of(kept, 3), claims={0: claim(0)})
    step = plan(any_service(replicas=3, state={"volume": {"size": "2Gi"}}), found, "v1")
    assert moves(step).grow == {"sessions-sentiment-0": "2Gi"}
    assert (step.volume_size, moves(step).recreate) == ("1Gi", False)
    after = seen(kept, *all_of(kept, 3), claims={0: claim(0, "2Gi")})
    anew = plan(any_service(replicas=3, state={"volume": {"size": "2Gi"}}), after, "v1")
    assert (moves(anew).recreate, anew.marks, anew.replicas) == (True, MARKS, 3)
    begun = plan(any_service(replicas=3, state={"volume": {"size": "2Gi"}}), after, "v2")
    assert (moves(begun).recreate, begun.volume_size) == (False, "1Gi")


def test_a_suspended_service_is_left_as_it_stands() -> None:
    kept = record(4, 3)
    notes = {names.ANNOTATION_BOOTS: "{}"}
    step = plan(service(1, suspend=True), seen(kept, *all_of(kept, 3), notes=notes), "v2")
    assert step == Step(hold=True, moves=Moves(notes=notes))


def test_all_is_well() -> None:
    kept = record(4, 3)
    notes = {names.ANNOTATION_BOOTS: '{"a": 1, "b": 1, "c": 1}'}
    step = plan(service(3), seen(kept, *all_of(kept, 3), notes=notes), "v1")
    assert step == Step(replicas=3, marks=MARKS, moves=Moves(notes=notes))
