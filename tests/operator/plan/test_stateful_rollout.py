"""How a new version reaches a stateful service, told by the StatefulSet, its marks, pods and reports."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.api.membership import Record, Report
from mooring_operator.facts import Failure, Members, Observed, Pod
from mooring_operator.plan.stateful_rollout import Rollout, rollout
from tests.support.builders import NOW, observed, record, replica, report, revision, service, stateful_set

OLD, NEW, OTHER = "0ld", "new", "other"
SERVICE = service(replicas=3, state={"volume": {"size": "1Gi"}}, rollout={"progressDeadline": "5m"})
KEPT = record(4, 3)
GOOD = {names.ANNOTATION_GOOD_TEMPLATE: OLD}
FAILED = {**GOOD, names.ANNOTATION_FAILED_TEMPLATE: NEW, names.ANNOTATION_FAILED_MESSAGE: "it crashes"}
CRASH = Failure("Error", "ended with exit code 1", "server", permanent=True)


def look(present: str, *pods: Pod, kept: Record | None = KEPT, reports: Any = None, **found: Any) -> Observed:
    """Three members; who is ready has reported that it can read all it has."""
    told = {p.ordinal: report(p.ordinal, kept) for p in pods if p.ordinal is not None and p.ready}
    told |= {each.ordinal: each for each in reports or ()}
    for ordinal in found.pop("silent", ()):
        del told[ordinal]
    marks, seen = found.pop("marks", GOOD), found.pop("seen", True)
    live = stateful_set(present, replicas=found.pop("live", 3), marks=marks, seen=seen)
    now = found.pop("now", NOW)
    members = Members(record=kept, reports=told, revisions=(revision(OLD), revision(NEW)), **found)
    return observed(live, pods=pods, members=members, now=now)


def threes(first: str, second: str, third: str) -> list[Pod]:
    """Three pods, ready, of these versions; a version in brackets is not ready, and none is no pod."""
    pods = []
    for ordinal, version in enumerate((first, second, third)):
        if version:
            pods.append(replica(ordinal, version.strip("()"), ready=not version.startswith("(")))
    return pods


def evicted(found: Rollout) -> int | None:
    return None if found.evict is None else found.evict.ordinal


def test_the_first_apply_has_nothing_to_replace() -> None:
    assert rollout(SERVICE, observed(members=Members()), NEW) == Rollout()


def test_a_version_that_serves_everywhere_is_marked_good() -> None:
    found = rollout(SERVICE, look(NEW, *threes(NEW, NEW, NEW), marks=FAILED), NEW)
    assert found.marks.written() == {names.ANNOTATION_GOOD_TEMPLATE: NEW}
    assert (found.steady, found.evict, found.stalled) == (True, None, False)


@pytest.mark.parametrize(
    "lacks",
    [
        {"pods": threes(NEW, NEW, "(new)")},
        {"pods": threes(NEW, NEW, "")},
        {"pods": threes(NEW, NEW, OLD)},
        {"silent": (1,)},
        {"seen": False},
        {"lost_nodes": {"": "it is not ready"}},
    ],
    ids=["one is not ready", "one is missing", "one is old", "one is silent", "not seen", "on a lost node"],
)
def test_it_is_not_marked_good_before(lacks: dict[str, Any]) -> None:
    pods = lacks.pop("pods", threes(NEW, NEW, NEW))
    found = rollout(SERVICE, look(NEW, *pods, **lacks), NEW)
    assert found.marks.good == OLD
    assert not found.steady


def test_a_new_version_is_put_in_place_and_nobody_evicted_yet() -> None:
    found = rollout(SERVICE, look(OLD, *threes(OLD, OLD, OLD)), NEW)
    assert (found.template, found.evict, found.reason) == (None, None, "")


def test_before_its_controller_has_seen_it_nobody_is_evicted() -> None:
    found = rollout(SERVICE, look(NEW, *threes(OLD, OLD, OLD), seen=False), NEW)
    assert (found.evict, found.reason) == (None, "RolloutWaits")


@pytest.mark.parametrize(
    ("pods", "turn"),
    [
        ((OLD, OLD, OLD), 2),
        ((OLD, OLD, NEW), 1),
        (("(0ld)", OLD, OLD), 0),
        (("(0ld)", OLD, NEW), 0),
        (("(0ld)", "(0ld)", OLD), 1),
        ((OLD, OLD, "(new)"), None),
        (("(0ld)", OLD, "(new)"), None),
        ((OLD, OLD, ""), None),
        ((OTHER, OLD, NEW), 0),
        ((NEW, NEW, NEW), None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_one_at_a_time_and_first_what_is_down(pods: tuple[str, str, str], turn: int | None) -> None:
    assert evicted(rollout(SERVICE, look(NEW, *threes(*pods)), NEW)) == turn


def test_the_next_one_waits_until_the_last_one_has_reported() -> None:
    found = rollout(SERVICE, look(NEW, *threes(OLD, OLD, NEW), silent=(2,)), NEW)
    assert (evicted(found), found.reason) == (None, "RolloutWaits")
    assert "replica 2" in found.message


def test_the_next_one_waits_for_a_replica_on_a_lost_node() -> None:
    pods = [replica(0, OLD), replica(1, OLD, node="gone"), replica(2, NEW)]
    found = rollout(SERVICE, look(NEW, *pods, lost_nodes={"gone": "it is not ready"}), NEW)
    assert evicted(found) is None


def test_a_pod_on_a_lost_node_is_not_evicted_for_nothing() -> None:
    pods = [replica(0, OLD), replica(1, OLD, ready=False, node="gone"), replica(2, OLD)]
    assert evicted(rollout(SERVICE, look(NEW, *pods, lost_nodes={"gone": "it is not ready"}), NEW)) is None


def test_a_replica_that_waits_for_an_accelerator_before_it_is_a_member_holds_nothing_up() -> None:
    pods = [*threes(OLD, OLD, OLD), replica(3, NEW, ready=False, scheduled=False)]
    assert evicted(rollout(SERVICE, look(NEW, *pods, live=4), NEW)) == 2


# --- what fails


def unreadable(ordinal: int, count: int = 3) -> Report:
    return report(ordinal, KEPT, unreadable=count)


def test_a_version_that_cannot_read_the_state_is_put_back_before_a_second_replica() -> None:
    found = rollout(SERVICE, look(NEW, *threes(OLD, OLD, NEW), reports=[unreadable(2)]), NEW)
    assert (found.template, evicted(found)) == (
        {"metadata": {"annotations": {names.ANNOTATION_TEMPLATE_HASH: OLD}}, "spec": {}},
        None,
    )
    assert (found.stalled, found.reason) == (True, "RolledBack")
    assert "replica 2 has 3 sessions" in found.message
    assert (found.marks.good, found.marks.failed) == (OLD, NEW)


def test_who_is_not_ready_may_not_have_its_model_yet() -> None:
    found = rollout(SERVICE, look(NEW, *threes(OLD, OLD, "(new)"), reports=[unreadable(2)]), NEW)
    assert not found.stalled


def test_a_version_that_crashes_is_put_back() -> None:
    pods = [*threes(OLD, OLD, ""), replica(2, NEW, ready=False, failure=CRASH)]
    found = rollout(SERVICE, look(NEW, *pods), NEW)
    assert (found.reason, found.marks.failed) == ("RolledBack", NEW)
    assert "replica 2: Error: ended with exit code 1" in found.message


def test_an_end_that_may_mend_itself_is_waited_for() -> None:
    pods = [*threes(OLD, OLD, ""), replica(2, NEW, ready=False, failure=replace(CRASH, permanent=False))]
    assert not rollout(SERVICE, look(NEW, *pods), NEW).stalled


@pytest.mark.parametrize("third", ["(new)", ""], ids=["not ready", "no pod can be made"])
def test_a_replica_that_does_not_come_back_has_its_time(third: str) -> None:
    began = rollout(SERVICE, look(NEW, *threes(OLD, OLD, third)), NEW)
    assert began.marks.waits_since == "2 2026-11-22T12:00:00Z"
    for minutes, reason in ((1, "RolloutWaits"), (4.9, "RolloutWaits"), (5, "RolledBack")):
        later = look(NEW, *threes(OLD, OLD, third), marks=began.marks.written(), now=NOW + timedelta(minutes=minutes))
        found = rollout(SERVICE, later, NEW)
        assert found.reason == reason
        assert found.marks.waits_since == ("" if found.stalled else began.marks.waits_since)


def test_the_time_of_one_replica_is_not_that_of_another() -> None:
    marks = {**GOOD, names.ANNOTATION_WAITS_SINCE: "2 2026-11-22T11:00:00Z"}
    found = rollout(SERVICE, look(NEW, *threes(OLD, "(new)", NEW), marks=marks), NEW)
    assert (found.stalled, found.marks.waits_since) == (False, "1 2026-11-22T12:00:00Z")


@pytest.mark.parametrize("mark", ["", "2", "soon", "x 2026-11-22T11:00:00Z", "2 yesterday"])
def test_a_mark_that_somebody_has_changed_is_made_anew(mark: str) -> None:
    marks = {**GOOD, names.ANNOTATION_WAITS_SINCE: mark}
    found = rollout(SERVICE, look(NEW, *threes(OLD, OLD, "(new)"), marks=marks), NEW)
    assert found.marks.waits_since == "2 2026-11-22T12:00:00Z"


@pytest.mark.parametrize(
    "found",
    [
        {"pods": [*threes(OLD, OLD, ""), replica(2, NEW, ready=False, node="gone")], "lost_nodes": {"gone": "why"}},
        {"pods": threes(OLD, OLD, ""), "ending": (replica(2, OLD, node="gone"),)},
    ],
    ids=["on a lost node", "its old pod still ends"],
)
def test_no_version_is_blamed_for_a_lost_node(found: dict[str, Any]) -> None:
    marks = {**GOOD, names.ANNOTATION_WAITS_SINCE: "2 2026-11-22T11:00:00Z"}
    decided = rollout(SERVICE, look(NEW, *found.pop("pods"), marks=marks, **found), NEW)
    assert (decided.stalled, decided.evict, decided.marks.waits_since) == (False, None, "")


def test_without_a_good_version_there_is_nothing_to_put_back() -> None:
    pods = [*threes(OLD, OLD, ""), replica(2, NEW, ready=False, failure=CRASH)]
    found = rollout(SERVICE, look(NEW, *pods, marks={}), NEW)
    assert (found.template, found.stalled, found.reason, found.evict) == (None, True, "RolloutFailed", None)


def test_a_version_that_served_everywhere_is_not_blamed_for_what_comes_later() -> None:
    pods = [*threes(NEW, NEW, ""), replica(2, NEW, ready=False, failure=CRASH)]
    found = rollout(SERVICE, look(NEW, *pods, marks={names.ANNOTATION_GOOD_TEMPLATE: NEW}), NEW)
    assert (found.stalled, found.template) == (False, None)


# --- after it was put back


@pytest.mark.parametrize(
    ("pods", "turn"),
    [
        ((OLD, OLD, NEW), 2),
        ((OLD, OLD, "(new)"), 2),
        (("(0ld)", OLD, NEW), None),
        (("(0ld)", OLD, "(new)"), 2),
        (("", OLD, "(new)"), 2),
        ((OLD, OLD, OLD), None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_who_has_the_failed_version_gets_the_good_one(pods: tuple[str, str, str], turn: int | None) -> None:
    found = rollout(SERVICE, look(OLD, *threes(*pods), marks=FAILED), NEW)
    assert evicted(found) == turn
    assert (found.template or {}).get("metadata") == {"annotations": {names.ANNOTATION_TEMPLATE_HASH: OLD}}
    assert (found.stalled, found.reason) == (True, "VersionRejected")
    assert found.message.startswith("it crashes. The last good version goes on serving")
    assert found.marks.written() == FAILED


def test_an_operator_that_died_after_the_mark_goes_on_with_it() -> None:
    pods = [*threes(OLD, OLD, ""), replica(2, NEW, ready=False, failure=CRASH)]
    found = rollout(SERVICE, look(NEW, *pods, marks=FAILED), NEW)
    assert (found.reason, found.marks.failed) == ("RolledBack", NEW)


def test_the_failed_version_again_after_a_third_one_goes_back_to_the_good_one() -> None:
    found = rollout(SERVICE, look(OTHER, *threes(OLD, OLD, OTHER), marks=FAILED), NEW)
    assert (found.template or {}).get("metadata") == {"annotations": {names.ANNOTATION_TEMPLATE_HASH: OLD}}
    assert found.stalled


def test_a_corrected_version_goes_on_with_the_replica_that_was_touched() -> None:
    begun = rollout(SERVICE, look(OLD, *threes(OLD, OLD, "(new)"), marks=FAILED), OTHER)
    assert (begun.template, begun.stalled) == (None, False)
    gone_on = rollout(SERVICE, look(OTHER, *threes(OLD, OLD, "(new)"), marks=FAILED), OTHER)
    assert evicted(gone_on) == 2


# --- when it begins


@pytest.mark.parametrize(
    "found",
    [
        {"pods": [replica(0, OLD), replica(1, OLD, node="gone"), replica(2, OLD)], "lost_nodes": {"gone": "why"}},
        {"pods": threes(OLD, OLD, ""), "ending": (replica(2, OLD, node="gone"),)},
        {"pods": threes(OLD, OLD, OLD), "kept": record(5, 3, 1), "resized": NOW},
    ],
    ids=["a lost node", "a pod that still ends", "a resize"],
)
def test_a_version_stays_out_of_the_statefulset_while_it_has_to_wait(found: dict[str, Any]) -> None:
    held = rollout(SERVICE, look(OLD, *found.pop("pods"), **found), NEW)
    assert (held.template or {}).get("metadata") == {"annotations": {names.ANNOTATION_TEMPLATE_HASH: OLD}}
    assert (held.reason, held.stalled) == ("RolloutWaits", False)
    assert held.message.startswith("waiting")


@pytest.mark.parametrize(
    ("pods", "marks"),
    [
        ((OLD, OLD, ""), GOOD),
        (("(0ld)", "(0ld)", "(0ld)"), GOOD),
        ((OLD, "", "(0ld)"), {}),
        (("", "", ""), GOOD),
        (("(new)", OLD, OLD), GOOD),
    ],
    ids=["one is gone", "all are down", "nothing was good", "nothing is there", "one has it already"],
)
def test_it_begins_with_what_is_down(pods: tuple[str, str, str], marks: dict[str, str]) -> None:
    assert rollout(SERVICE, look(OLD, *threes(*pods), marks=marks), NEW).template is None


def test_going_back_to_the_good_version_waits_for_nothing() -> None:
    lost: dict[str, Any] = {"lost_nodes": {"gone": "why"}}
    pods = [replica(0, OLD), replica(1, OLD, node="gone"), replica(2, NEW, ready=False)]
    assert rollout(SERVICE, look(NEW, *pods, **lost), OLD).template is None
    assert evicted(rollout(SERVICE, look(OLD, *pods, **lost), OLD)) == 2


@pytest.mark.parametrize(
    ("minutes", "turn"), [(0, None), (4.9, None), (5, 2)], ids=["just now", "a while ago", "half of its time ago"]
)
def test_a_rollout_waits_for_a_resize_for_half_of_the_drain_s_time(minutes: float, turn: int | None) -> None:
    resized = NOW - timedelta(minutes=minutes)
    found = rollout(SERVICE, look(NEW, *threes(OLD, OLD, OLD), kept=record(5, 2, 3), resized=resized), NEW)
    assert evicted(found) == turn


@pytest.mark.parametrize("version", [OTHER, "(0ld)"], ids=["never good", "down"])
def test_what_may_hold_the_resize_up_is_replaced_at_once(version: str) -> None:
    found = rollout(SERVICE, look(NEW, *threes(OLD, version, OLD), kept=record(5, 2, 3), resized=NOW), NEW)
    assert evicted(found) == 1


def test_no_pod_is_taken_whose_volume_would_go_with_it() -> None:
    # Its claim was deleted, and lasts as long as the pod that uses it.
    found = rollout(SERVICE, look(NEW, *threes(OLD, OLD, OLD), going=frozenset({2})), NEW)
    assert evicted(found) == 1
    last = rollout(SERVICE, look(NEW, *threes(NEW, NEW, OLD), going=frozenset({2})), NEW)
    assert (evicted(last), last.reason) == (None, "RolloutWaits")
    assert last.message == "the claim of replica 2 is being deleted, and would go with its pod"
    down = rollout(SERVICE, look(OLD, *threes(OLD, OLD, "(new)"), marks=FAILED, going=frozenset({2})), NEW)
    assert evicted(down) is None
