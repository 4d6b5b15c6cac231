from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.errors import (
    Cancelled,
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    ModelRefused,
    QueueFull,
    QueueTimeout,
    RequestError,
    UnknownModel,
)
from mooring_runtime.errors.sessions import BadSession, OutcomeUnknown, ReplyGone, SessionConflict
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import SessionCall, SessionInfo
from mooring_runtime.sessions.keys import session_id
from tests.support.serving import echo_metadata
from tests.support.stateful_plane import stateful_metadata

LARGEST = 2**64 - 1


def names() -> st.SearchStrategy[str]:
    """Ids that a client may choose."""
    text = st.text(st.characters(codec="utf-8", min_codepoint=0x20), min_size=1, max_size=20)
    return text.filter(lambda text: "\x7f" not in text and text not in ("0", "new"))


# --- what a request says


@pytest.mark.parametrize(
    ("parameters", "call"),
    [
        ({}, None),
        ({"sequence_id": 0, "sequence_start": False, "sequence_end": False}, None),
        ({"sequence_id": ""}, None),
        ({"sequence_id": "0"}, None),
        ({"sequence_id": 7}, SessionCall("7")),
        ({"sequence_id": "7"}, SessionCall("7")),
        ({"sequence_id": LARGEST}, SessionCall(str(LARGEST))),
        ({"sequence_id": "new"}, SessionCall("", new=True)),
        ({"sequence_id": "a b", "sequence_start": True, "sequence_end": True}, SessionCall("a b", True, True)),
        ({"sequence_start": True}, SessionCall("", start=True)),
        ({"sequence_id": "a", "sequence_step": 3}, SessionCall("a", step=3)),
        ({"sequence_id": "a", "sequence_step": "3"}, SessionCall("a", step=3)),
        ({"sequence_id": "a", "sequence_incarnation": str(LARGEST)}, SessionCall("a", incarnation=LARGEST)),
        ({"sequence_id": "a", "sequence_incarnation": 0}, SessionCall("a", incarnation=0)),
        ({"sequence_id": "a", "sequence_start": "True", "sequence_end": 0}, SessionCall("a", start=True)),
    ],
)
def test_parameters(parameters: dict[str, object], call: SessionCall | None) -> None:
    assert sessions.from_parameters(parameters) == call


@pytest.mark.parametrize(
    ("parameters", "cause", "words"),
    [
        ({"sequence_id": -1}, "bad-session", "session id -1 must be from 1"),
        ({"sequence_id": 2**64}, "bad-session", "must be from 1"),
        ({"sequence_id": 1.5}, "bad-session", "not float"),
        ({"sequence_id": True}, "bad-session", "not bool"),
        ({"sequence_id": [1]}, "bad-session", "not list"),
        ({"sequence_id": "a\n"}, "bad-session", "no control characters"),
        ({"sequence_id": "ä" * 101}, "bad-session", "at most 200 bytes"),
        ({"sequence_start": "yes"}, "bad-session", "sequence_start is 'yes', it must be true or false"),
        ({"sequence_end": 2}, "bad-session", "sequence_end is 2, it must be true or false"),
        ({"sequence_start": None, "sequence_step": 0}, "bad-step", "sequence_step is 0, it must be a whole number"),
        ({"sequence_step": 1.0}, "bad-step", "sequence_step is 1.0"),
        ({"sequence_step": True}, "bad-step", "sequence_step is True"),
        ({"sequence_step": "-3"}, "bad-step", "sequence_step is '-3'"),
        ({"sequence_step": 2**64}, "bad-step", "to 18446744073709551615"),
        ({"sequence_incarnation": "x"}, "bad-session", "sequence_incarnation is 'x'"),
    ],
)
def test_parameters_that_cannot_be_meant(parameters: dict[str, object], cause: str, words: str) -> None:
    with pytest.raises(BadSession) as caught:
        sessions.from_parameters(parameters)
    assert words in str(caught.value)
    assert (caught.value.cause, caught.value.applied) == (cause, "no")


def test_headers() -> None:
    assert sessions.from_headers({b"host": b"a"}) is None
    assert sessions.from_headers({b"x-mooring-session": b"new"}) == SessionCall("", new=True)
    assert sessions.from_headers({b"x-mooring-session": b""}) is None
    assert sessions.from_headers({b"x-mooring-session": b"0"}) is None
    whole = {
        b"x-mooring-session": b"a%20%C3%A4",
        b"x-mooring-session-start": b"true",
        b"x-mooring-session-end": b"TRUE",
        b"x-mooring-step": b"12",
        b"x-mooring-incarnation": b"9",
    }
    assert sessions.from_headers(whole) == SessionCall("a ä", True, True, False, 12, 9)
    assert sessions.from_headers({b"x-mooring-session": "ä".encode()}) == SessionCall("ä")


@pytest.mark.parametrize(
    ("header", "value", "cause"),
    [
        (b"x-mooring-session", b"a, b", "bad-session"),
        (b"x-mooring-session", b"%ff", "bad-session"),
        (b"x-mooring-session", b"a%0Ab", "bad-session"),
        (b"x-mooring-session", b"a" * 201, "bad-session"),
        (b"x-mooring-session-end", b"perhaps", "bad-session"),
        (b"x-mooring-step", b"0", "bad-step"),
        (b"x-mooring-step", b"1, 1", "bad-step"),
        (b"x-mooring-step", b"", "bad-step"),
        (b"x-mooring-step", "²".encode("latin-1"), "bad-step"),
        (b"x-mooring-incarnation", b"0x1", "bad-session"),
    ],
)
def test_headers_that_cannot_be_meant(header: bytes, value: bytes, cause: str) -> None:
    with pytest.raises(BadSession, match=r"(?i)x-mooring|session id") as caught:
        sessions.from_headers({header: value})
    assert caught.value.cause == cause


@given(names())
def test_an_id_comes_out_of_a_header_as_it_went_in(session: str) -> None:
    text = sessions.in_header(session)
    assert all(0x20 < byte < 0x7F and byte not in b',;"\\' for byte in text)
    assert sessions.id_in_header("h", text) == session
    if len(session.encode()) <= 200:
        assert sessions.named(session) == SessionCall(session)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda each: st.lists(each, max_size=2),
)
HEADERS = tuple(
    f"x-mooring-{name}".encode() for name in ("session", "session-start", "session-end", "step", "incarnation")
)


@given(st.dictionaries(st.sampled_from(sorted(sessions.PARAMETERS)), ANYTHING))
def test_whatever_parameters_say_is_a_session_or_is_told(parameters: dict[str, object]) -> None:
    with suppress(BadSession):
        call = sessions.from_parameters(parameters)
        assert call is None or call.new or session_id(call.id) == (call.id or None)


@given(st.dictionaries(st.sampled_from(HEADERS), st.binary(max_size=9) | st.sampled_from([b"7", b"true", b"new"])))
def test_whatever_headers_say_is_a_session_or_is_told(given_headers: dict[bytes, bytes]) -> None:
    with suppress(BadSession):
        call = sessions.from_headers(given_headers)
        assert call is None or call.new or session_id(call.id) == (call.id or None)


A, B = SessionCall("a"), SessionCall("b")


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (None, None, None),
        (A, None, A),
        (None, A, A),
        (A, A, A),
        (A, SessionCall("", start=True, step=3), SessionCall("a", start=True, step=3)),
        (SessionCall("", end=True, incarnation=5), A, SessionCall("a", end=True, incarnation=5)),
        (SessionCall("a", step=2), SessionCall("a", True, step=2), SessionCall("a", True, step=2)),
        (SessionCall("", new=True), SessionCall("", new=True, step=1), SessionCall("", new=True, step=1)),
    ],
)
def test_two_places_say_it_together(
    first: SessionCall | None, second: SessionCall | None, found: SessionCall | None
) -> None:
    assert sessions.joined(first, second) == found


@pytest.mark.parametrize(
    ("first", "second", "cause"),
    [
        (A, B, "bad-session"),
        (A, SessionCall("", new=True), "bad-session"),
        (SessionCall("a", step=1), SessionCall("", step=2), "bad-step"),
        (SessionCall("a", incarnation=0), SessionCall("", incarnation=2), "bad-session"),
    ],
)
def test_two_places_that_differ(first: SessionCall, second: SessionCall, cause: str) -> None:
    for one, other in ((first, second), (second, first)):
        with pytest.raises(BadSession) as caught:
            sessions.joined(one, other)
        assert caught.value.cause == cause


def test_what_is_settled_for_a_model() -> None:
    stateful, stateless = stateful_metadata(), echo_metadata()
    for call in (None, A, SessionCall("", new=True, step=1), SessionCall("a", step=9, incarnation=3)):
        assert sessions.settled(stateful, call) == call
    assert sessions.settled(stateless, None) is None
    wrong: list[tuple[Any, SessionCall, str, str]] = [
        (stateless, A, "bad-session", "session 'a' cannot be used: model 'echo' keeps no state"),
        (stateless, SessionCall("", end=True), "bad-session", "a session cannot be used"),
        (stateful, SessionCall("", start=True), "bad-session", "does not name it"),
        (stateful, SessionCall("", step=1), "bad-session", "does not name it"),
        (stateful, SessionCall("", new=True, step=2), "bad-step", "is step 1, not 2"),
        (stateful, SessionCall("", new=True, incarnation=2), "bad-session", "no incarnation yet"),
    ]
    for metadata, call, cause, words in wrong:
        with pytest.raises(BadSession, match=words) as caught:
            sessions.settled(metadata, call)
        assert caught.value.cause == cause


# --- what an answer says


def test_what_answers_tell() -> None:
    plain = SessionInfo("a,b", 4, LARGEST)
    assert sessions.headers(plain) == (
        (b"X-Mooring-Session", b"a%2Cb"),
        (b"X-Mooring-Step", b"4"),
        (b"X-Mooring-Incarnation", b"18446744073709551615"),
    )
    assert sessions.parameters(plain) == {
        "sequence_id": "a,b",
        "sequence_step": 4,
        "sequence_incarnation": "18446744073709551615",
    }
    rare = plain._replace(repeat=True, durable=0, ended=True)
    assert sessions.headers(rare)[3:] == (
        (b"X-Mooring-Repeat", b"true"),
        (b"X-Mooring-Durable-Step", b"0"),
        (b"X-Mooring-Session-End", b"true"),
    )
    assert sessions.parameters(rare).items() - sessions.parameters(plain).items() == {
        ("sequence_repeat", True),
        ("sequence_durable_step", 0),
        ("sequence_end", True),
    }


@pytest.mark.parametrize(
    ("error", "begun"),
    [
        (InferenceFailed("f"), "unknown"),
        (DeadlineExceeded("d"), "unknown"),
        (RequestError("r"), "unknown"),
        (InvalidRequest("i"), "no"),
        (ModelRefused("m"), "no"),
        (UnknownModel("u"), "no"),
        (QueueFull("q"), "no"),
        (QueueTimeout("q"), "no"),
        (Cancelled("c"), "no"),
        (BadSession("b"), "no"),
        (ReplyGone("r"), "yes"),
        (OutcomeUnknown("o"), "unknown"),
    ],
)
def test_whether_a_step_was_applied_is_guessed_by_nobody(error: RequestError, begun: str) -> None:
    assert sessions.applied(error, begun=True) == begun
    assert sessions.applied(error, begun=False) == (error.applied or "no")
    error.applied = "yes"
    assert sessions.applied(error, begun=False) == "yes"


def test_what_errors_tell_programs() -> None:
    call = SessionCall("a", step=7)
    assert sessions.about(QueueFull("q"), None, begun=True) == {}
    assert sessions.about(QueueFull("q"), call, begun=True) == {
        "cause": "queue_full",
        "applied": "no",
        "session": "a",
        "step": 7,
    }
    assert sessions.about(SessionConflict("c", session="a", step=7, expected=5), None, begun=True) == {
        "cause": "gap",
        "applied": "no",
        "session": "a",
        "step": 7,
        "expected": 5,
    }
    # The owner knows better than the request: of `new` the id, of a step without a number the number.
    told = sessions.about(ReplyGone("r", session="b", step=2), SessionCall("", new=True), begun=True)
    assert told == {"cause": "reply-gone", "applied": "yes", "session": "b", "step": 2}
    failed = InferenceFailed("f")
    failed.applied = "no"
    assert sessions.about(failed, None, begun=True) == {"cause": "backend", "applied": "no"}
