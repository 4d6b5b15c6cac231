from dataclasses import asdict
from typing import Any

import orjson
import pytest

from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.frontends.http.session_answers import page_of, passed_back
from mooring_runtime.sessions.administration import Told
from mooring_runtime.sessions.copies import Copy, Phase
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.listing import Page, row_of

ROW = row_of(Key("m", "a"), Copy(Phase.HELD, 1), 2, 0, None)


def told(document: Any, status: int = 200) -> Told:
    return Told(status, "application/json", orjson.dumps(document))


def test_a_page_is_read_as_it_was_written() -> None:
    page = {"sessions": [asdict(ROW)], "next_page_token": None, "unanswered": []}
    assert page_of(told(page)) == Page((ROW,), more=False)
    assert page_of(told({**page, "next_page_token": "x"})) == Page((ROW,), more=True)


def test_a_newer_version_may_tell_more() -> None:
    row = {**asdict(ROW), "colour": "red"}
    assert page_of(told({"sessions": [row], "next_page_token": None, "more": 1})).rows == (ROW,)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (told({"error": "not you"}, 401), "it answers 401: not you"),
        (told([]), "no JSON object"),
        (Told(200, "text/html", b"<html>"), "another replica answers 200 with what is no JSON object"),
        (Told(200, "application/json", b"{"), "no JSON object"),
        (told({"sessions": [{}], "next_page_token": None}), "does not understand: 'model'"),
        (told({"sessions": 7, "next_page_token": None}), "does not understand"),
        (told({}), "does not understand: 'sessions'"),
        (SessionUnavailable("gone", "owner-down"), "gone"),
    ],
)
def test_what_is_no_page_is_told(answer: Told | BaseException, words: str) -> None:
    with pytest.raises(SessionUnavailable, match=words) as error:
        page_of(answer)
    assert error.value.cause == "owner-down"


def test_a_client_is_told_when_to_try_again() -> None:
    reply = passed_back(told({"error": "no"}, 503))
    assert (reply.status, reply.headers) == (503, ((b"Retry-After", b"1"),))
    assert passed_back(told({}, 409)).headers == ()
