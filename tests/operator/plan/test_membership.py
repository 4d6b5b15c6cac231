"""Who is a member: every rule by its cases, told by the record that is kept and what replicas report."""

from dataclasses import replace
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.api.membership import Record, Report
from mooring_operator.facts import Members, ObjectKey, Observed, Service
from mooring_operator.plan.membership import next_record, wanted_size
from tests.support.builders import claim, observed, record, replica, report, stateful_set
from tests.support.builders import service as any_service

HPA = "kube-controller-manager"


def service(replicas: int = 1, **fields: Any) -> Service:
    return any_service(replicas=replicas, state={"volume": {"size": "1Gi"}}, **fields)


def seen(kept: Record | None, *reports: Report, live: int = 10, pods: Any = None, **members: Any) -> Observed:
    """A cluster in which who reports has a pod that stays."""
    there = [each.ordinal for each in reports] if pods is None else pods
    return observed(
        stateful_set("v1", replicas=live),
        pods=tuple(replica(ordinal) for ordinal in there),
        members=Members(record=kept, reports={each.ordinal: each for each in reports}, **members),
    )


def decided(wanted: int, kept: Record | None, *reports: Report, **found: Any) -> Record | None:
    return next_record(service(wanted), seen(kept, *reports, **found), wanted)


ONE = record(1, 1)
THREE = record(4, 3)


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_the_first_record_has_the_first_replicas_that_report(wanted: int) -> None:
    assert decided(wanted, None, report(0, None), report(1, None)) == record(1, min(wanted, 2))


def test_without_replica_0_there_is_no_first_record() -> None:
    assert decided(3, None, report(1, None), report(2, None)) is None


@pytest.mark.parametrize(("bound", "expected"), [(True, None), (False, record(1, 1))])
def test_the_first_record_waits_for_every_volume_that_may_have_one(bound: bool, expected: Record | None) -> None:
    assert decided(2, None, report(0, None), claims={0: claim(0), 4: claim(4, bound=bound)}) == expected


def test_a_lost_record_is_taken_from_the_replica_that_knows_the_latest() -> None:
    latest = record(7, 2, 3)
    found = decided(1, None, report(0, record(6, 3)), report(1, latest), claims={0: claim(0), 1: claim(1)})
    assert found == latest


def test_a_lost_record_is_not_taken_before_all_volumes_are_heard() -> None:
    claims = {0: claim(0), 1: claim(1), 2: claim(2)}
    assert decided(1, None, report(0, record(6, 3)), report(1, record(6, 3)), claims=claims) is None


def test_a_record_that_was_put_back_gives_way_to_what_replicas_know() -> None:
    assert decided(1, record(3, 1), report(0, record(5, 1))) == record(5, 1)


def test_two_records_of_one_epoch_become_a_third_over_both() -> None:
    found = decided(2, record(5, 2), report(0, record(5, 3)), report(1, record(5, 2)))
    assert found == record(6, 2, 2, 3)


def test_two_replicas_with_two_records_of_one_epoch_become_a_third_too() -> None:
    found = decided(3, None, report(0, record(5, 3, 4)), report(1, record(5, 2)))
    assert found == record(6, 3, 2, 3, 4)


def test_a_service_shrinks_at_once() -> None:
    assert decided(1, THREE, report(0, THREE)) == record(5, 1, 3)


def test_a_shrink_does_not_wait_for_the_resize_before_it() -> None:
    assert decided(1, record(4, 3, 2)) == record(5, 1, 2, 3)


@pytest.mark.parametrize(
    ("reporting", "size"),
    [((), None), ((1,), 2), ((2,), None), ((1, 2), 3), ((1, 3), 2), ((1, 2, 3, 4), 4)],
)
def test_a_service_grows_as_far_as_its_replicas_are_there(reporting: tuple[int, ...], size: int | None) -> None:
    expected = None if size is None else record(2, size, 1)
    assert decided(4, ONE, *[report(ordinal, None) for ordinal in reporting]) == expected


def test_a_replica_whose_model_is_still_loading_does_not_join_others() -> None:
    found = seen(ONE, report(1, None))
    loading = replace(found, pods=(replica(1, ready=False),))
    assert next_record(service(2), loading, 2) is None
    assert next_record(service(2), found, 2) == record(2, 2, 1)


def test_a_member_that_is_away_does_not_stop_the_growth() -> None:
    assert decided(4, THREE, report(3, None)) == record(5, 4, 3)


@pytest.mark.parametrize("found", [{"pods": ()}, {"live": 1}], ids=["its pod is being deleted", "it is to go"])
def test_a_replica_that_is_about_to_go_is_not_counted(found: dict[str, Any]) -> None:
    assert decided(2, ONE, report(1, None), **found) is None


@pytest.mark.parametrize(("room", "size"), [("", None), ("1", None), ("2", 2), ("3", 3), ("many", None)])
def test_where_volumes_go_with_replicas_the_wish_for_more_is_written_first(room: str, size: int | None) -> None:
    gone = any_service(replicas=3, state={"volume": {"size": "1Gi"}, "retention": {"whenScaled": "Delete"}})
    found = seen(ONE, report(1, None), report(2, None))
    live = stateful_set("v1", replicas=3, marks={names.ANNOTATION_ROOM: room} if room else {})
    written = replace(found, children={**found.children, ObjectKey("StatefulSet", gone.name): live})
    assert next_record(gone, written, 3) == (None if size is None else record(2, size, 1))


def test_a_replica_that_comes_back_must_have_the_store_it_left_with() -> None:
    kept = record(5, 1, 3)
    assert decided(3, kept, report(1, kept, "x", clean=False), report(2, kept)) is None


def test_a_store_that_was_given_up_never_becomes_a_member_again() -> None:
    kept = record(5, 1, lost=["b"])
    assert decided(2, kept, report(1, kept, "b", clean=False)) is None


CLEAN = [report(ordinal, record(5, 1, 3)) for ordinal in range(3)]


def test_a_resize_is_settled_when_all_are_clean() -> None:
    assert decided(1, record(5, 1, 3), *CLEAN) == record(6, 1)


@pytest.mark.parametrize("without", [0, 1, 2])
def test_it_is_not_settled_without_the_word_of_each(without: int) -> None:
    reports = [each for each in CLEAN if each.ordinal != without]
    assert decided(1, record(5, 1, 3), *reports) is None


@pytest.mark.parametrize("ordinal", [0, 1, 2])
@pytest.mark.parametrize("says", ["unclean", "older", "other"])
def test_it_is_not_settled_by_another_word(ordinal: int, says: str) -> None:
    other = {
        "unclean": report(ordinal, record(5, 1, 3), clean=False, foreign=1),
        "older": report(ordinal, record(4, 1, 3)),
        "other": report(2 - ordinal, record(5, 1, 3)),
    }[says]
    reports = {each.ordinal: each for each in CLEAN} | {ordinal: other}
    if ordinal == 1 and says == "other":
        reports[1] = report(0, record(5, 1, 3))
    found = observed(stateful_set("v1", replicas=3), members=Members(record=record(5, 1, 3), reports=reports))
    assert next_record(service(1), found, 1) is None


def test_another_size_goes_before_settling() -> None:
    assert decided(2, record(5, 1, 3), *CLEAN) == record(6, 2, 1, 3)


def test_a_store_that_no_record_names_is_named() -> None:
    kept = record(4, 2, stores="a")
    assert decided(2, kept, report(0, kept), report(1, kept)) == record(5, 2)


def test_sessions_beyond_all_that_is_known_are_brought_back() -> None:
    kept = record(5, 1)
    found = decided(1, kept, report(0, kept), report(3, kept, clean=False, foreign=2))
    assert found == Record(6, 1, (4,), {0: "a", 3: "d"})


def test_nothing_is_written_when_all_is_as_it_should_be() -> None:
    assert decided(3, THREE, *[report(ordinal, THREE) for ordinal in range(3)]) is None


# --- giving up


def test_a_member_goes_on_with_its_new_store_when_the_old_one_is_given_up() -> None:
    found = decided(3, THREE, report(1, THREE, "x", clean=False), abandon="b")
    assert found == record(5, 3, stores="axc", lost=["b"])


@pytest.mark.parametrize(
    "there",
    [
        {"reports": ()},
        {"reports": (report(1, THREE),)},
        {"reports": (report(1, THREE, "y", clean=False),), "lost": ("y",)},
    ],
    ids=["silent", "alive", "with another store that was given up"],
)
def test_a_member_s_store_is_not_given_up_without_another_one(there: dict[str, Any]) -> None:
    kept = record(4, 3, lost=there.get("lost", ()))
    reports = [Report(each.ordinal, each.store, 1, kept, each.clean) for each in there["reports"]]
    assert decided(3, kept, *reports, abandon="b") is None


@pytest.mark.parametrize(
    ("found", "given_up"),
    [
        ({"live": 1, "pods": ()}, True),
        ({"live": 3, "pods": ()}, False),
        ({"live": 1, "pods": (2,)}, False),
        ({"live": 1, "pods": (), "ending": (replica(2),)}, False),
    ],
    ids=["taken away", "about to come", "silent", "being deleted"],
)
def test_a_stranded_store_is_given_up_when_nothing_runs_with_it(found: dict[str, Any], given_up: bool) -> None:
    kept = record(5, 1, 3)
    expected = record(6, 1, 3, lost=["c"]) if given_up else None
    assert decided(1, kept, abandon="c", **found) == expected


def test_what_was_given_up_counts_as_clean() -> None:
    kept = record(6, 1, 3, lost=["c"])
    reports = [report(ordinal, kept) for ordinal in range(2)]
    assert decided(1, kept, *reports) == Record(7, 1, (), {0: "a"}, ("c",))


def test_a_store_in_place_of_one_that_was_given_up_is_named() -> None:
    kept = record(6, 1, 3, lost=["c"])
    assert decided(1, kept, report(2, kept, "x", clean=False)) == record(7, 1, 3, stores="abx", lost=["c"])


def test_nothing_is_given_up_while_a_service_that_was_applied_again_has_no_pods_yet() -> None:
    left = record(5, 1, 3)
    found = Members(record=left, reports={0: report(0, left)}, abandon="b")
    assert next_record(service(1), observed(members=found), 1) is None
    assert next_record(service(1), observed(stateful_set("v1", replicas=3), members=found), 1) is None
    assert next_record(service(1), observed(stateful_set("v1"), members=found), 1) == replace(
        left, epoch=6, lost=("b",)
    )


def test_what_is_given_up_already_is_done() -> None:
    assert decided(3, record(5, 3, stores="axc", lost=["b"]), abandon="b") is None


# --- how many


@pytest.mark.parametrize(
    ("asked", "scaled_by", "size", "wanted"),
    [
        (1, "", 8, 8),
        (1, "kubectl", 8, 8),
        (5, "", 8, 8),
        (1, HPA, 8, 2),
        (5, HPA, 8, 5),
        (9, "", 8, 9),
        (99, "", 8, 10),
        (1, "", None, 2),
        (12, "", 12, 10),
        (1, "kubectl", 12, 10),
    ],
    ids=[
        *("re-applied", "by hand", "replaced", "autoscaler, below its minimum", "autoscaler", "up", "above", "first"),
        *("a lower maximum", "a lower maximum and another count"),
    ],
)
def test_under_an_autoscaler_only_that_shrinks(asked: int, scaled_by: str, size: int | None, wanted: int) -> None:
    scaled = service(asked, scaling={"minReplicas": 2, "maxReplicas": 10, "cpu": {"target": 50}})
    kept = None if size is None else record(3, size)
    assert wanted_size(scaled, Members(record=kept, scaled_by=scaled_by)) == wanted


def test_without_an_autoscaler_the_spec_holds() -> None:
    assert wanted_size(service(2), Members(record=record(3, 8))) == 2
