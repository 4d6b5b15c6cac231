"""Time runs against the client only while the server is the one that waits."""

import pytest

from mooring_runtime.frontends.http.parser import Limits
from tests.runtime.frontends.test_connection import LIMITS, Later, bodies, get
from tests.support.serving import Line, http


def test_the_time_for_a_head_stands_still_while_we_do_not_read() -> None:
    later = Later()
    line = Line(later, LIMITS)
    line.send(b"".join(get(f"/{i}") for i in range(40)) + b"GET /late HTT")
    assert not line.transport.reading
    line.pass_time(100)
    for i in range(8):
        later.answer(b"/%d" % i)
    assert not line.transport.reading
    line.pass_time(100)
    later.answer(b"/8")
    assert line.transport.reading
    assert len(bodies(line.received)) == 9
    line.pass_time(0.9)  # The limit begins anew: the client could not send the rest before.
    line.send(b"P/1.1\r\nHost: h\r\n\r\n")
    assert b"/late" in later.waiting
    for i in range(9, 40):
        later.answer(b"/%d" % i)
    later.answer(b"/late")
    assert bodies(line.received)[-1] == b"/late"


def test_a_head_that_does_not_arrive_when_we_read_again_is_refused() -> None:
    later = Later()
    line = Line(later, LIMITS)
    line.send(b"".join(get(f"/{i}") for i in range(40)) + b"GET /late HTT")
    line.pass_time(100)
    for i in range(40):
        later.answer(b"/%d" % i)
    line.pass_time(1.1)
    assert len(bodies(line.received)) == 41
    assert b"HTTP/1.1 408 " in line.received


def test_the_time_for_a_body_stands_still_while_the_client_reads_slowly() -> None:
    later = Later()
    line = Line(later, LIMITS)
    line.send(get("/1") + http("POST", "/2", b"body")[:-1])
    line.connection.pause_writing()
    line.pass_time(4)
    line.connection.resume_writing()
    line.pass_time(2.9)
    line.send(b"y")
    assert b"/2" in later.waiting


def test_the_time_for_a_body_stands_still_while_leave_to_send_is_due() -> None:
    later = Later()
    line = Line(later, LIMITS)
    line.send(get("/1") + b"POST /2 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    line.pass_time(100)
    later.answer(b"/1")
    assert line.received.endswith(b"/1HTTP/1.1 100 Continue\r\n\r\n")
    line.pass_time(2.9)
    line.send(b"abc")
    assert b"/2" in later.waiting


def upload(size: int) -> bytes:
    return b"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size


def test_what_has_arrived_at_once_gives_no_time_to_stall() -> None:
    line = Line(Later(), Limits(body_timeout=3))
    line.send(upload(10**6))
    for _ in range(5):
        line.pass_time(2)
        line.send(b"x" * 100_000)
    line.pass_time(2.9)
    assert line.received == b""
    line.pass_time(0.2)
    assert b"HTTP/1.1 408 " in line.received
    assert b"the body of the request did not arrive within 3 s, nor at 1 KiB a second" in line.received


def test_dripping_after_much_has_arrived_does_not_help() -> None:
    line = Line(Later(), Limits(body_timeout=3))
    line.send(upload(10**6) + b"x" * 500_000)
    for _ in range(8):
        assert line.received == b""
        line.send(b"x" * 128)
        line.pass_time(0.5)
    assert b"HTTP/1.1 408 " in line.received


@pytest.mark.parametrize("rest", [b"garbage\r\n\r\n", b""])
def test_a_refusal_that_waits_for_its_turn_is_not_cut_off(rest: bytes) -> None:
    later = Later()
    line = Line(later, LIMITS)
    line.send(get("/1") + b"GET /2 HTT" + rest)
    line.pass_time(2)
    line.pass_time(100)
    assert not line.transport.aborted
    later.answer(b"/1")
    assert len(bodies(line.received)) == 2
    line.pass_time(2)
    assert line.transport.aborted
