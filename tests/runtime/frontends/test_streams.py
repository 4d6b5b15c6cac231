"""Answers in pieces: their framing, their place among other answers, and what ends them."""

import pytest

from mooring_runtime.frontends.http.messages import Reply, Request, Respond
from tests.support.serving import Line, http

SSE = b"text/event-stream"


class Stream:
    """A handler that answers piece by piece when told to."""

    def __init__(self) -> None:
        self.responds: dict[bytes, Respond] = {}
        self.cancelled: list[bytes] = []

    def __call__(self, request: Request, respond: Respond) -> "Ticket":
        self.responds[request.target] = respond
        return Ticket(self, request.target)

    def give(self, target: bytes, piece: bytes, *, more: bool = True) -> None:
        self.responds[target](Reply(200, (piece,), SSE, ((b"Cache-Control", b"no-cache"),), more=more))


class Ticket:
    def __init__(self, stream: Stream, target: bytes) -> None:
        self.stream, self.target = stream, target

    def cancel(self) -> None:
        self.stream.cancelled.append(self.target)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def line(stream: Stream) -> Line:
    return Line(stream)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%sCache-Control: no-cache\r\n%s\r\n"


def test_each_piece_leaves_at_once_as_a_chunk(stream: Stream, line: Line) -> None:
    line.send(http("GET", "/1"))
    stream.give(b"/1", b"one")
    head = HEAD % (b"Transfer-Encoding: chunked\r\n", b"")
    assert line.received == head + b"3\r\none\r\n"
    stream.give(b"/1", b"a second one")
    stream.give(b"/1", b"", more=True)
    stream.give(b"/1", b"!", more=False)
    assert line.received == head + b"3\r\none\r\nc\r\na second one\r\n1\r\n!\r\n0\r\n\r\n"
    assert line.logged == [(b"/1", 200, 16)]
    assert not line.transport.closed


def test_the_connection_goes_on_after_the_last_piece(stream: Stream, line: Line) -> None:
    line.send(http("GET", "/1") + http("GET", "/2"))
    stream.give(b"/2", b"second")
    stream.give(b"/2", b"", more=False)
    assert line.received == b""
    stream.give(b"/1", b"first")
    assert line.received.endswith(b"first\r\n")
    stream.give(b"/1", b"", more=False)
    assert line.received.count(b"200 OK") == 2
    assert line.received.endswith(b"6\r\nsecond\r\n0\r\n\r\n")


def test_an_http_1_0_client_reads_until_the_connection_ends(stream: Stream, line: Line) -> None:
    line.send(b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    stream.give(b"/1", b"one ")
    assert not line.transport.closed
    stream.give(b"/1", b"two", more=False)
    assert line.received == HEAD % (b"", b"Connection: close\r\n") + b"one two"
    assert line.transport.closed


def test_a_client_that_hangs_up_ends_the_run(stream: Stream, line: Line) -> None:
    line.send(http("GET", "/1"))
    stream.give(b"/1", b"one")
    line.connection.connection_lost(None)
    assert stream.cancelled == [b"/1"]
    stream.give(b"/1", b"two")
    assert b"two" not in line.received


def test_a_reader_that_falls_behind_is_cut_off_and_the_run_taken_back(stream: Stream, line: Line) -> None:
    line.send(http("GET", "/1"))
    stream.give(b"/1", b"x" * 17 * 2**20)  # One large piece is no reason: it had no chance to be read.
    line.transport.unsent = 17 * 2**20
    assert not line.transport.aborted
    stream.give(b"/1", b"y")
    assert line.transport.aborted
    assert stream.cancelled == [b"/1"]
    stream.give(b"/1", b"z")
    assert not line.received.endswith(b"z\r\n")


def test_pieces_that_wait_for_another_answer_are_bounded_too(stream: Stream, line: Line) -> None:
    line.send(http("GET", "/1") + http("GET", "/2"))
    for _ in range(17):
        stream.give(b"/2", b"x" * 2**20)
    assert not line.transport.aborted
    stream.give(b"/2", b"x")
    assert line.transport.aborted
    assert stream.cancelled == [b"/1", b"/2"]


def test_a_stalled_reader_is_cut_off_in_time(stream: Stream, line: Line) -> None:
    line.send(http("GET", "/1"))
    stream.give(b"/1", b"one")
    line.pass_time(3600)
    assert not line.transport.is_closing()  # The model may take its time.
    line.transport.unsent = 100_000
    line.connection.pause_writing()
    line.pass_time(61)
    assert line.transport.aborted
