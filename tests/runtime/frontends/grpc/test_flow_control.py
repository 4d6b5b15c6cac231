"""Windows, both ways: what a peer may send, and what it has not yet let us send."""

import pytest

from mooring_runtime.frontends.grpc import frames
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.frames import Code, frame
from tests.support.grpc_line import Line

TALK = "/test.Service/Talk"


def test_an_answer_waits_for_the_streams_window() -> None:
    line = Line()
    line.settings({frames.INITIAL_WINDOW_SIZE: 10})
    line.call(1, b"x" * 30)
    sent = line.answer(1)
    assert (len(sent.data), sent.ended) == (10, False)
    line.window(1, 20)
    sent = line.answer(1)
    assert (len(sent.data), sent.ended) == (20, False)
    line.window(1, 5)
    sent = line.answer(1)
    assert (len(sent.data), sent.ended, sent.status) == (5, True, 0)


def test_an_answer_waits_for_the_connections_window() -> None:
    line = Line(max_message=2**20)
    line.settings({frames.INITIAL_WINDOW_SIZE: 2**20})
    line.open(1)
    whole = framed(b"x" * 100_000)
    for start in range(0, len(whole), 16384):
        line.data(1, whole[start : start + 16384], end=start + 16384 >= len(whole))
    assert len(line.answer(1).data) == 65535
    line.call(3, b"y")
    assert line.answer(3).data == b""
    line.window(0, 2**20)
    after = line.frames()
    assert sum(len(each.payload) for each in after if each.stream == 1 and each.kind == 0) == len(whole) - 65535
    assert [each.stream for each in after if each.ends] == [1, 3]


def test_our_frames_keep_to_the_peers_size() -> None:
    line = Line()
    line.settings({frames.INITIAL_WINDOW_SIZE: 2**20})
    line.window(0, 2**20)
    whole = framed(b"x" * 50_000)
    for size, largest in ((16384, 16384), (40_000, 40_000), (2**24 - 1, len(whole))):
        line.settings({frames.MAX_FRAME_SIZE: size})
        stream = {16384: 1, 40_000: 3}.get(size, 5)
        line.open(stream)
        for start in range(0, len(whole), 16384):
            line.data(stream, whole[start : start + 16384], end=start + 16384 >= len(whole))
        assert max(len(each.payload) for each in line.frames() if each.kind == frames.DATA) == largest


def test_a_smaller_first_window_may_make_a_window_negative() -> None:
    line = Line()
    line.settings({frames.INITIAL_WINDOW_SIZE: 100})
    line.open(1, TALK)
    line.data(1, framed(b"x" * 200), end=False)
    assert len(line.answer(1).data) == 100
    line.settings({frames.INITIAL_WINDOW_SIZE: 0})  # The stream's is -100 now.
    line.window(1, 100)
    assert line.answer(1).data == b""
    line.window(1, 1)
    assert len(line.answer(1).data) == 1
    line.settings({frames.INITIAL_WINDOW_SIZE: 50})
    assert len(line.answer(1).data) == 50


def test_a_window_that_overflows_ends_its_stream() -> None:
    line = Line()
    line.open(1)
    line.window(1, 2**31 - 1)
    assert line.answer(1).reset == Code.FLOW_CONTROL_ERROR
    line.open(3)
    line.window(3, 0)
    assert line.answer(3).reset == Code.PROTOCOL_ERROR


def test_large_requests_are_given_window_as_they_come() -> None:
    line = Line(max_message=40 * 2**20)
    whole = framed(b"z" * (36 * 2**20))
    credit = {0: 16 * 2**20, 1: 4 * 2**20}
    line.open(1, "/test.Service/Wait")
    for start in range(0, len(whole), 16384):
        piece = whole[start : start + 16384]
        credit = {number: left - len(piece) for number, left in credit.items()}
        assert min(credit.values()) >= 0, "a window was not renewed in time"
        line.data(1, piece, end=start + 16384 >= len(whole))
        for each in line.frames():
            if each.kind == frames.WINDOW_UPDATE:
                credit[each.stream] += each.number
            assert each.kind != frames.GOAWAY
    assert credit[0] >= 8 * 2**20
    assert line.echo.waiting[0][1] == whole


@pytest.mark.parametrize("keeps", [True, False])
def test_more_than_the_window_is_refused(keeps: bool) -> None:
    """A conversation that is held gets no new window; `keeps`: the client respects that."""
    line = Line(max_message=2**30)
    line.open(1, TALK)
    line.data(1, framed(b"x"), end=False)
    line.echo.talks[0].call.hold()
    line.frames()
    size = 4 * 2**20 - 6 + (0 if keeps else 1)
    for start in range(0, size, 16384):
        line.data(1, bytes(min(16384, size - start)), end=False)
    found = line.frames()
    assert [each.number for each in found if each.kind == frames.RST_STREAM] == (
        [] if keeps else [Code.FLOW_CONTROL_ERROR]
    )
    assert line.echo.talks[0].aborts == (0 if keeps else 1)


def test_data_for_streams_that_are_over_counts_for_the_connection() -> None:
    line = Line()
    line.open(1)
    line.reset(1)
    line.frames()
    for _ in range(600):
        line.data(1, bytes(16384), end=False)
    updates = [each for each in line.frames() if each.kind == frames.WINDOW_UPDATE]
    assert {each.stream for each in updates} == {0}
    assert sum(each.number for each in updates) >= 600 * 16384 - 8 * 2**20


def test_nothing_is_written_while_the_socket_takes_nothing() -> None:
    line = Line()
    line.settings({frames.INITIAL_WINDOW_SIZE: 2**20})
    line.window(0, 2**20)
    line.open(1, TALK)
    line.frames()
    line.connection.pause_writing()
    assert not line.transport.reading
    talk = line.echo.talks
    line.connection.receive(frame(frames.DATA, 0, 1, framed(b"x" * 100)))
    assert len(talk) == 1
    assert line.answer(1).data == b""
    line.connection.resume_writing()
    assert line.transport.reading
    assert line.answer(1).messages == [b"x" * 100]


def sent_ahead(line: Line, stream: int, limit: int) -> int:
    """How much of an endless message a client can send that keeps to its window, up to `limit`."""
    credit, sent = 4 * 2**20, 5
    line.open(stream, "/test.Service/Wait")
    line.data(stream, b"\0" + (2**27).to_bytes(4, "big"), end=False)
    while sent < limit and credit - sent >= 2**14:
        line.data(stream, bytes(2**14), end=False)
        sent += 2**14
        credit += sum(
            each.number for each in line.frames() if each.kind == frames.WINDOW_UPDATE and each.stream == stream
        )
    return sent


def test_many_large_messages_come_one_after_the_other() -> None:
    line = Line(max_message=2**27)
    assert sent_ahead(line, 1, 60 * 2**20) >= 60 * 2**20
    assert sent_ahead(line, 3, 60 * 2**20) < 10 * 2**20, "both together would pass the limit"
    assert sent_ahead(line, 5, 60 * 2**20) < 5 * 2**20
    for _ in range(1024):  # The first one goes on,
        line.data(1, bytes(2**14), end=False)
    found = line.frames()
    assert {each.stream for each in found if each.kind == frames.WINDOW_UPDATE} == {0, 1}
    line.reset(1)  # and when it is over, the others do.
    assert {each.stream for each in line.frames() if each.kind == frames.WINDOW_UPDATE} == {3, 5}
