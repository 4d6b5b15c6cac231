"""When the operator of the fault tests writes another record."""

from typing import Any

import pytest

from mooring_runtime.sessions.record import Record
from tests.faults.membership import Operator


def operator(record: Record, wanted: int, stores: int = 3) -> Operator:
    made = Operator([0, 0, 0], "token", record)
    made.wanted = wanted
    made.stores = {ordinal: f"store-{ordinal}" for ordinal in range(stores)}
    return made


def report(epoch: int, *, clean: bool = True) -> dict[str, Any]:
    return {"clean": clean, "record": {"epoch": epoch}}


NAMED = {ordinal: f"store-{ordinal}" for ordinal in range(3)}


def test_a_resize_is_written_at_once_and_waits_for_no_earlier_one() -> None:
    made = operator(Record(4, 3, (1,)), 2)
    assert made.following([None, None, None]) == Record(5, 2, (1, 3), NAMED)


def test_nobody_becomes_a_member_who_has_not_been_seen() -> None:
    assert operator(Record(1, 1), 3, stores=2).following([report(1)]) is None


@pytest.mark.parametrize(
    "reports",
    [
        [report(2), report(2), None],
        [report(2), report(2), report(1)],
        [report(2), report(2), report(2, clean=False)],
        [report(2), report(2), {"clean": True, "record": None}],
    ],
)
def test_the_past_stays_until_everybody_in_it_is_clean_under_this_record(reports: list[dict[str, Any] | None]) -> None:
    made = operator(Record(2, 2, (3,)), 2)
    assert made.following(reports) is None
    assert made.following([report(2)] * 3) == Record(3, 2, (), {0: "store-0", 1: "store-1"})


def test_a_settled_record_stays() -> None:
    assert operator(Record(3, 3), 3).following([report(3)] * 3) is None
