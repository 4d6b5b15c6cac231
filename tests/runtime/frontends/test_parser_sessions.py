"""Heads that differ in their session only: known once one of them was read, and never read otherwise than anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.errors import RequestError
from mooring_runtime.frontends.http.messages import Head, Request
from mooring_runtime.frontends.http.parser import Limits, RequestParser

Seen = list[tuple[bytes, dict[bytes, bytes], bytes, bool]]


def seen_by(known: dict[bytes, Head], *requests: bytes) -> Seen:
    """What a parser makes of requests that come one by one."""
    seen: Seen = []

    def keep(request: Request) -> None:
        seen.append((request.target, dict(request.headers), request.body, request.modern))

    parser = RequestParser(Limits(), keep, lambda: None, known)
    for request in requests:
        try:
            parser.feed(request)
        except RequestError as error:
            seen.append((type(error).__name__.encode(), {}, b"", False))
            break
    return seen


def post(*lines: bytes, body: bytes = b"abc") -> bytes:
    """A request with these lines among its headers."""
    return b"\r\n".join([b"POST /a HTTP/1.1", b"Host: h", *lines, b"Content-Length: %d" % len(body), b"", body])


_LINES = st.sampled_from(
    (
        b"X-Mooring-Session: 5",
        b"X-Mooring-Session: 6",
        b"X-Mooring-Session: a,b",
        b"X-Mooring-Session:  7",
        b"x-mooring-session: 5",
        b"X-Mooring-Session: ",
        b"X-Mooring-Session: 5\r\n folded",
        b"X-Mooring-Session: 5\r\n\tfolded",
        b"X-Mooring-Step: 5",
        b"X-Mooring-Step: 12",
        b"X-Mooring-Incarnation: 99",
        b"X-Other: 1",
        b"Expect: 100-continue",
        b"Connection: close",
    )
)
_REQUESTS = st.builds(
    lambda lines, body: post(*lines, body=body), st.lists(_LINES, max_size=4), st.sampled_from((b"", b"abc", b"xyz"))
)


@given(st.lists(_REQUESTS, max_size=8))
def test_a_head_whose_like_was_seen_is_read_as_by_the_parser(requests: list[bytes]) -> None:
    known: dict[bytes, Head] = {}
    for request in [*requests, *requests]:
        assert seen_by(known, request) == seen_by({}, request)


def test_sessions_and_numbered_steps_share_what_is_kept() -> None:
    known: dict[bytes, Head] = {}
    for number in range(1, 3000):
        line = b"X-Mooring-Session: %d" % number
        [found] = seen_by(known, post(line, b"X-Mooring-Step: %d" % (number + 7)))
        assert found[1][b"x-mooring-session"] == b"%d" % number
        assert found[1][b"x-mooring-step"] == b"%d" % (number + 7)
    assert list(known) == [post(body=b"abc")[:-3]]


@pytest.mark.parametrize("line", [b"X-Mooring-Session: %d", b"X-Other: 1\r\nX-Mooring-Session: %d"])
def test_the_rest_of_them_is_not_forgotten_with_many_sessions(line: bytes) -> None:
    known: dict[bytes, Head] = {}
    for number in range(5000):
        seen_by(known, post(line % number))
        assert len(known) <= 1024
        assert any(b"Session" not in raw for raw in known)


def test_what_the_handler_found_out_of_a_head_is_found_out_once() -> None:
    known: dict[bytes, Head] = {}
    heads: list[Head] = []

    def handle(request: Request) -> None:
        heads.append(request.head)
        if request.head.route is None:
            request.head.route = len(heads)

    for number in range(3):
        RequestParser(Limits(), handle, lambda: None, known).feed(post(b"X-Mooring-Session: %d" % number))
    assert [head.route for head in heads] == [1, 1, 1]
    assert len({id(head) for head in heads}) == 3


@pytest.mark.parametrize("empty", [b"\r\n", b"\r\n\r\n", b"\n"])
def test_a_line_of_a_session_before_the_request_is_refused_whatever_was_seen(empty: bytes) -> None:
    known: dict[bytes, Head] = {}
    seen_by(known, empty + post())
    lines = b"\r\nX-Mooring-Session: 5\r\nX-Mooring-Step: 2"
    for request in (lines + empty + post(), empty[:-2] + lines + b"\r\n" + post()):
        assert seen_by(known, request) == seen_by({}, request)
