import re
import ssl
from collections.abc import Callable

import pytest

from mooring_runtime.errors import MethodNotAllowed, QueueFull, RequestError
from mooring_runtime.frontends.http.messages import Reply, Request, Respond, error_reply
from mooring_runtime.frontends.http.parser import Limits
from tests.support.serving import Line, http

LIMITS = Limits(header_bytes=300, body_bytes=100, header_timeout=1, body_timeout=3, idle_timeout=60, write_timeout=5)


class Ticket:
    def __init__(self, cancelled: Callable[[], None]) -> None:
        self.cancel = cancelled


class Later:
    """A handler that answers when told to."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, Respond] = {}
        self.cancelled: list[bytes] = []

    def __call__(self, request: Request, respond: Respond) -> Ticket:
        self.waiting[request.target] = respond
        return Ticket(lambda: self.cancelled.append(request.target))

    def answer(self, target: bytes, status: int = 200) -> None:
        self.waiting.pop(target)(Reply(status, (target,)))


def echo(request: Request, respond: Respond) -> None:
    respond(Reply(200, (request.body or request.target,)))


def get(target: str, **headers: str) -> bytes:
    return http("GET", target, headers={name.encode(): value.encode() for name, value in headers.items()})


def bodies(received: bytes) -> list[bytes]:
    """The bodies of a stream of replies that all have a Content-Length."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        if head == b"HTTP/1.1 100 Continue":
            received = rest
            continue
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
        found.append(rest[:length])
        received = rest[length:]
    return found


def test_the_bytes_of_a_reply() -> None:
    line = Line(echo)
    line.send(get("/a"))
    assert line.received == b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n/a"
    assert not line.transport.closed


def test_requests_in_one_piece_are_answered_in_order() -> None:
    line = Line(echo)
    line.send(get("/1") + http("POST", "/2", b"two") + get("/3"))
    assert bodies(line.received) == [b"/1", b"two", b"/3"]


def test_a_late_answer_holds_back_those_behind_it() -> None:
    later = Later()
    line = Line(later)
    line.send(get("/1") + get("/2") + get("/3"))
    later.answer(b"/3")
    later.answer(b"/2")
    assert line.received == b""
    later.answer(b"/1")
    assert bodies(line.received) == [b"/1", b"/2", b"/3"]


def test_head_has_the_length_and_no_body() -> None:
    line = Line(echo)
    line.send(http("HEAD", "/abc"))
    assert line.received.endswith(b"Content-Length: 4\r\n\r\n")


def test_large_parts_are_written_one_after_another() -> None:
    parts = (b"a" * 50_000, memoryview(b"b" * 50_000))
    line = Line(lambda request, respond: respond(Reply(200, parts)))
    line.send(get("/"))
    assert bodies(line.received) == [b"a" * 50_000 + b"b" * 50_000]


@pytest.mark.parametrize(
    ("request_", "closes", "says"),
    [
        (get("/a"), False, None),
        (get("/a", Connection="close"), True, b"Connection: close"),
        (b"GET /a HTTP/1.0\r\n\r\n", True, b"Connection: close"),
        (b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False, b"Connection: keep-alive"),
    ],
)
def test_persistence(request_: bytes, closes: bool, says: bytes | None) -> None:
    line = Line(echo)
    line.send(request_)
    assert line.transport.closed == closes
    assert (b"Connection:" in line.received) == (says is not None)
    assert says is None or says in line.received


def test_nothing_after_the_last_request_is_handled() -> None:
    line = Line(echo)
    line.send(get("/1", Connection="close") + get("/2"))
    assert bodies(line.received) == [b"/1"]
    line.send(get("/3"))
    assert bodies(line.received) == [b"/1"]


def test_an_error_of_the_handler_is_the_reply_and_the_connection_goes_on() -> None:
    def refuse(request: Request, respond: Respond) -> None:
        raise QueueFull("no room")

    line = Line(refuse)
    line.send(get("/a"))
    assert line.received.startswith(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n")
    assert b"\r\nRetry-After: 1\r\n" in line.received
    assert bodies(line.received) == [b'{"error":"no room"}']
    assert not line.transport.closed


def test_the_wrong_method_is_told_the_right_one() -> None:
    reply = error_reply(MethodNotAllowed("no", "GET, HEAD"))
    assert (reply.status, reply.headers) == (405, ((b"Allow", b"GET, HEAD"),))


def test_a_fault_of_the_handler_is_a_500_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request, respond: Respond) -> None:
        raise ZeroDivisionError("one by zero")

    line = Line(fail)
    line.send(get("/a"))
    assert line.received.startswith(b"HTTP/1.1 500 ")
    assert bodies(line.received) == [b'{"error":"a fault of the server: ZeroDivisionError: one by zero"}']
    assert "cannot handle GET /a" in caplog.text


def test_what_is_no_http_is_answered_and_closed_so_that_the_answer_arrives() -> None:
    line = Line(echo, LIMITS)
    line.send(get("/1") + b"garbage\r\n\r\n")
    assert bodies(line.received)[0] == b"/1"
    assert b"this is not HTTP/1.1: " in bodies(line.received)[1]
    assert b"\r\nConnection: close\r\n" in line.received
    # Only our half is closed: a reset would take the answer from a client that is still sending.
    assert (line.transport.eof, line.transport.closed, line.transport.aborted) == (True, False, False)
    line.send(b"more garbage")
    line.pass_time(2)
    assert line.transport.aborted


def test_an_early_refusal_waits_for_the_answers_before_it() -> None:
    later = Later()
    line = Line(later, LIMITS)
    line.send(get("/1") + b"garbage\r\n\r\n")
    assert line.received == b""
    line.pass_time(100)
    later.answer(b"/1")
    assert len(bodies(line.received)) == 2
    assert line.transport.eof


def test_leave_to_send_is_given() -> None:
    line = Line(echo)
    line.send(b"POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert line.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    line.send(b"abc")
    assert bodies(line.received) == [b"abc"]


def test_leave_to_send_waits_for_the_answers_before_it() -> None:
    later = Later()
    line = Line(later)
    line.send(get("/1") + b"POST /2 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert line.received == b""
    later.answer(b"/1")
    assert line.received.endswith(b"/1HTTP/1.1 100 Continue\r\n\r\n")


def test_a_body_that_is_too_long_is_refused_before_it_is_sent() -> None:
    line = Line(echo, LIMITS)
    line.send(b"POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n")
    assert line.received.startswith(b"HTTP/1.1 413 ")
    assert line.transport.eof


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (b"GET /a HT", 1),
        (b"GET /a HTTP/1.1\r\nHost: h\r\nX", 1),
        (b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", 3),
    ],
)
def test_a_slow_request_is_given_up(sent: bytes, seconds: float) -> None:
    line = Line(echo, LIMITS)
    line.send(sent)
    line.pass_time(seconds - 0.5)
    assert line.received == b""
    line.pass_time(0.6)
    assert line.received.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"of the request did not arrive within" in line.received
    assert line.transport.eof


def test_dripping_does_not_help() -> None:
    line = Line(echo, LIMITS)
    for byte in b"GET /a HTTP/1.1\r\n":
        line.send(bytes([byte]))
        line.pass_time(0.1)
    assert b"408" in line.received


def test_a_long_body_that_comes_fast_enough_is_taken() -> None:
    line = Line(echo, Limits(body_timeout=3))
    line.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 20480\r\n\r\n")
    for _ in range(10):
        line.send(b"x" * 2048)
        line.pass_time(1.5)
    assert bodies(line.received) == [b"x" * 20480]


def test_a_connection_made_ahead_of_need_may_rest_as_long_as_a_used_one() -> None:
    line = Line(echo, LIMITS)
    line.pass_time(59)
    assert not line.transport.closed
    line.send(get("/a"))
    line.pass_time(0.1)
    assert line.received.startswith(b"HTTP/1.1 200 OK\r\n")
    unused = Line(echo, LIMITS)
    unused.pass_time(61)
    assert unused.transport.closed
    assert unused.received == b""


def test_a_connection_at_rest_is_closed_without_a_word() -> None:
    line = Line(echo, LIMITS)
    line.send(get("/a"))
    line.pass_time(59)
    assert not line.transport.closed
    line.pass_time(2)
    assert line.transport.closed
    assert bodies(line.received) == [b"/a"]


def test_a_long_run_is_not_cut_off() -> None:
    later = Later()
    line = Line(later, LIMITS)
    line.send(get("/a"))
    line.pass_time(1000)
    later.answer(b"/a")
    assert bodies(line.received) == [b"/a"]
    line.pass_time(61)
    assert line.transport.closed


def test_a_client_that_does_not_read_is_not_read_from() -> None:
    line = Line(echo, LIMITS)
    line.transport.unsent = 1000
    line.connection.pause_writing()
    assert not line.transport.reading
    line.connection.resume_writing()
    assert line.transport.reading


def test_a_client_that_reads_slowly_is_served_and_one_that_stops_is_cut_off() -> None:
    line = Line(echo, LIMITS)
    line.transport.unsent = 1000
    line.connection.pause_writing()
    for _ in range(3):
        line.transport.unsent -= 100
        line.pass_time(6)
        assert not line.transport.aborted
    line.pass_time(6)
    assert line.transport.aborted


def test_a_client_that_asks_faster_than_it_is_answered_is_not_read_from() -> None:
    later = Later()
    line = Line(later)
    line.send(b"".join(get(f"/{number}") for number in range(40)))
    assert not line.transport.reading
    for number in range(40):
        later.answer(f"/{number}".encode())
    assert line.transport.reading
    assert len(bodies(line.received)) == 40


def test_hanging_up_takes_back_what_waits() -> None:
    later = Later()
    line = Line(later)
    line.send(get("/1") + get("/2"))
    line.connection.connection_lost(None)
    assert later.cancelled == [b"/1", b"/2"]
    assert line.shared.connections == set()
    assert line.shared.empty.is_set()
    later.answer(b"/1")
    assert line.received == b""


def test_a_client_that_only_stops_sending_still_gets_what_runs() -> None:
    later = Later()
    line = Line(later)
    line.send(get("/1"))
    assert line.connection.eof_received() is True
    assert later.cancelled == [b"/1"]
    later.answer(b"/1")
    assert bodies(line.received) == [b"/1"]
    assert line.transport.closed


def test_a_client_that_stops_sending_over_tls_is_gone() -> None:
    line = Line(Later())
    line.transport.told["sslcontext"] = ssl.create_default_context()
    line.send(get("/1"))
    assert line.connection.eof_received() is False


def test_a_client_that_stops_sending_and_awaits_nothing_is_gone() -> None:
    line = Line(echo)
    line.send(get("/1") + b"GET /2")
    assert line.connection.eof_received() is False


def test_closing_ends_each_connection_with_its_next_answer() -> None:
    later = Later()
    line = Line(later)
    line.send(get("/1"))
    line.shared.closing = True
    line.connection.finish()
    assert not line.transport.closed
    later.answer(b"/1")
    assert b"\r\nConnection: close\r\n" in line.received
    assert line.transport.closed


def test_closing_lets_a_request_that_is_being_sent_come_in() -> None:
    line = Line(echo)
    line.send(http("POST", "/a", b"abc")[:-1])
    line.shared.closing = True
    line.connection.finish()
    assert not line.transport.closed
    line.send(b"c")
    assert bodies(line.received) == [b"abc"]
    assert line.transport.closed


def test_closing_closes_what_rests() -> None:
    line = Line(echo)
    line.send(get("/1"))
    line.connection.finish()
    assert line.transport.closed


def test_every_request_error_has_a_phrase() -> None:
    def every(root: type[RequestError]) -> list[type[RequestError]]:
        return [root] + [each for child in root.__subclasses__() for each in every(child)]

    later = Later()
    for each in every(RequestError):
        line = Line(later)
        line.send(get("/"))
        later.answer(b"/", each.http_status)
        assert re.match(rb"HTTP/1.1 \d{3} (?!Unknown)[A-Z][A-Za-z ]+\r\n", line.received)


def test_compression_only_when_it_pays_and_is_asked_for() -> None:
    line = Line(lambda _request, respond: respond(Reply(200, (b"x" * 5000,))))
    line.send(get("/", **{"Accept-Encoding": "gzip"}))
    assert b"\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\n" in line.received
    small = Line(echo)
    small.send(get("/", **{"Accept-Encoding": "gzip"}))
    assert b"Content-Encoding" not in small.received
