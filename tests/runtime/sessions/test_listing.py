"""The list of sessions: which, in which order, and that pages lose and repeat nothing."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.errors.sessions import BadSession
from mooring_runtime.sessions.copies import Copy, End, Phase
from mooring_runtime.sessions.keys import LONGEST_ID, Key
from mooring_runtime.sessions.listing import (
    MOST_ROWS,
    QUARANTINED,
    Page,
    Query,
    Row,
    Selection,
    instant,
    joined,
    key_of,
    query_of,
    row_of,
    state_of,
    token_of,
    torn_row,
)

HELD = Copy(Phase.HELD, 1, 7, 3)
ENDED = HELD._replace(end=End("expired", 5, 3))
MOVING = HELD._replace(phase=Phase.MOVING)
MOVED = Copy(Phase.MOVED, 1)
Copies = dict[Key, Copy]

keys = st.builds(Key, st.sampled_from(["m", "m2", "ä"]), st.text("ab\U0001f600", min_size=1, max_size=4))
replicas = st.lists(
    st.dictionaries(keys, st.sampled_from([HELD, ENDED, MOVING, MOVED]), max_size=12), min_size=1, max_size=3
)


def page_of(copies: Copies, query: Query, owner: int = 0) -> Page:
    selection = Selection(query)
    for key, copy in copies.items():
        selection.add(key, copy)
    found, more = selection.found()
    return Page(tuple(row_of(key, copy, owner, 0, None) for key, copy in found if copy is not None), more)


def walk(ask: Callable[[Query], Page], query: Query) -> list[Row]:
    """All pages, one after another."""
    rows: list[Row] = []
    for _ in range(100):
        page = ask(query)
        assert len(page.rows) <= query.limit
        rows += page.rows
        if page.token is None:
            return rows
        query = query._replace(after=key_of(page.token))
    raise AssertionError("the list has no end")


@given(replicas, st.integers(1, 5))
def test_pages_tell_each_session_once_and_in_order(found: list[Copies], limit: int) -> None:
    def ask(query: Query) -> Page:
        return joined((page_of(copies, query, owner) for owner, copies in enumerate(found)), query.limit)

    told = [row.key for row in walk(ask, Query(limit=limit))]
    assert told == sorted({key for copies in found for key, copy in copies.items() if copy is not MOVED})


@given(replicas)
def test_a_session_that_moves_is_told_by_who_has_it(found: list[Copies]) -> None:
    page = joined((page_of(copies, Query(), owner) for owner, copies in enumerate(found)), MOST_ROWS)
    for row in page.rows:
        if row.state == "moving":
            assert all(copies.get(row.key, MOVED) in (MOVING, MOVED) for copies in found)
        else:
            assert found[row.owner][row.key] in (HELD, ENDED)


def test_filters() -> None:
    copies = {Key("m", "a1"): HELD, Key("m", "a2"): ENDED, Key("m", "b"): MOVING, Key("n", "a3"): HELD}

    def ids(query: Query) -> list[str]:
        return [row.id for row in page_of(copies, query).rows]

    assert ids(Query()) == ["a1", "a2", "b", "a3"]
    assert ids(Query(model="n")) == ["a3"]
    assert ids(Query(state="active")) == ["a1", "a3"]
    assert ids(Query(state="ended")) == ["a2"]
    assert ids(Query(state="moving", model="m")) == ["b"]
    assert ids(Query(prefix="a")) == ["a1", "a2", "a3"]
    assert ids(Query(after=Key("m", "a2"))) == ["b", "a3"]


def test_what_has_left_is_not_told() -> None:
    assert state_of(MOVED) is None
    assert page_of({Key("m", "a"): MOVED}, Query()) == Page((), more=False)


def test_the_query_is_read_from_parameters() -> None:
    assert query_of({}) == Query()
    token = token_of(Key("m", "x"))
    parameters = {"model": "m", "state": "ended", "prefix": "a", "limit": "5", "page_token": token, "local": "true"}
    assert query_of(parameters) == Query("m", "ended", "a", 5, Key("m", "x"))
    assert query_of({"model": "", "state": "", "limit": "", "page_token": ""}) == Query()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"state": "sleepy"}, "state is 'sleepy': it must be one of active, ended, moving"),
        ({"limit": "0"}, "limit is '0': it must be a whole number from 1 to 1000"),
        ({"limit": "1001"}, "limit is '1001'"),
        ({"limit": "-1"}, "limit is '-1'"),
        ({"limit": "\u0663"}, "whole number"),
        ({"limit": "9" * 5000}, "limit is '999"),
        ({"page_token": "?"}, "page_token is '?': it must be the one of an earlier page"),
        ({"page_token": "gICA"}, "page_token is 'gICA'"),
    ],
)
def test_what_is_wrong_with_a_query_is_told(parameters: dict[str, str], words: str) -> None:
    with pytest.raises(BadSession, match=words.replace("?", r"\?")) as told:
        query_of(parameters)
    assert len(str(told.value)) < 300


@given(keys)
def test_a_token_stands_for_its_session(key: Key) -> None:
    assert key_of(token_of(key)) == key


def test_a_token_fits_into_an_address() -> None:
    assert len(token_of(Key("m" * 200, "x" * LONGEST_ID))) < 600
    assert token_of(Key("m", "\U0001f600~?>")).isascii()


def test_a_row_tells_ages_by_one_clock() -> None:
    copy = HELD._replace(incarnation=2**64 - 1, size=64, version="2", created=1000, last_used=3500)
    row = row_of(Key("m", "a"), copy, 4, 5000, 9000)
    assert row.incarnation == "18446744073709551615"
    assert (row.owner, row.step, row.bytes, row.version, row.state) == (4, 3, 64, "2", "active")
    assert (row.age_seconds, row.idle_seconds, row.expires_in_seconds) == (4.0, 1.5, 4.0)
    assert row.created == "1970-01-01T00:00:01.000Z"
    back = row_of(Key("m", "a"), copy, 4, 0, 0)  # A clock that was set back.
    assert (back.age_seconds, back.idle_seconds, back.expires_in_seconds) == (0.0, 0.0, 0.0)
    assert row_of(Key("m", "a"), ENDED, 4, 0, None).cause == "expired"


def test_times_are_in_utc() -> None:
    assert instant(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"


def test_what_was_set_aside_stands_in_the_list_as_that() -> None:
    key = Key("m", "a")
    for state, expected in ((None, [(key, None)]), (QUARANTINED, [(key, None)]), ("active", [])):
        selection = Selection(Query(state=state))
        selection.add(key, None)
        assert selection.found() == (expected, False)
    torn, good = torn_row(key, 1, "why"), row_of(key, HELD, 0, 0, None)
    assert (torn.state, torn.owner, torn.step, torn.cause) == ("quarantined", 1, None, "why")
    assert joined([Page((torn,), more=False), Page((good,), more=False)], 10).rows == (good,)
    assert joined([Page((torn,), more=False), Page((), more=False)], 10).rows == (torn,)
