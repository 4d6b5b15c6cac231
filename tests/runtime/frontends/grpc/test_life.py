"""Time limits of a gRPC connection, and its end when the server stops."""

from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.frontends.grpc import frames
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.frames import Code
from mooring_runtime.frontends.http.parser import Limits
from tests.support.grpc_line import Line

WAIT, TALK = "/test.Service/Wait", "/test.Service/Talk"

LIMITS = Limits(header_timeout=1, body_timeout=2, idle_timeout=5, write_timeout=3)


def times(line: Line, seconds: float, step: float = 0.25) -> None:
    for _ in range(int(seconds / step)):
        line.pass_time(step)


def test_who_does_not_greet_is_cut_off() -> None:
    line = Line(limits=LIMITS, greet=False)
    times(line, 0.75)
    assert not line.transport.closed
    times(line, 1)
    assert line.end == Code.SETTINGS_TIMEOUT


def test_headers_that_do_not_go_on_end_the_connection() -> None:
    line = Line(limits=LIMITS)
    times(line, 3)
    line.send(frames.frame(frames.HEADERS, 0, 1, b"\x83"))
    times(line, 2)
    assert line.end == Code.SETTINGS_TIMEOUT


def test_a_message_that_does_not_go_on_ends_its_call() -> None:
    line = Line(limits=LIMITS)
    line.open(1)
    line.data(1, b"\0\0", end=False)
    line.call(3, b"x", WAIT)
    times(line, 1.5)
    assert list(line.connection.streams) == [1, 3]
    times(line, 1.5)
    assert line.answer(1).status == GrpcCode.DEADLINE_EXCEEDED
    assert list(line.connection.streams) == [3], "who waits for us has all the time"


def test_a_slow_message_that_goes_on_has_time() -> None:
    line = Line(limits=LIMITS)
    line.open(1)
    for _ in range(20):
        line.data(1, bytes(1), end=False) if _ else line.data(1, b"\0\0\1\0\0", end=False)
        line.data(1, bytes(1024), end=False)
        times(line, 0.5)
    assert 1 in line.connection.streams


def test_what_came_quickly_pays_for_no_long_silence() -> None:
    line = Line(limits=LIMITS)
    line.open(1)
    line.data(1, b"\0\0\1\0\0", end=False)
    times(line, 0.5)
    for _ in range(3):
        line.data(1, bytes(16000), end=False)
    times(line, 1.5)
    assert 1 in line.connection.streams
    times(line, 2.5)
    assert 1 not in line.connection.streams


def test_a_conversation_may_rest_between_messages() -> None:
    line = Line(limits=LIMITS)
    line.open(1, TALK)
    line.data(1, framed(b"x"), end=False)
    times(line, 10)
    assert 1 in line.connection.streams
    assert not line.transport.closed


def test_a_resting_connection_is_closed() -> None:
    line = Line(limits=LIMITS)
    line.call(1, b"x")
    times(line, 4)
    assert not line.transport.closed
    times(line, 2)
    assert line.end == Code.NO_ERROR


def test_who_gives_no_window_loses_its_call() -> None:
    line = Line(limits=LIMITS)
    line.settings({frames.INITIAL_WINDOW_SIZE: 0})
    line.call(1, b"x")
    times(line, 2)
    line.window(1, 1)  # It goes on, by a byte.
    times(line, 2)
    assert 1 in line.connection.streams
    times(line, 2)
    assert line.answer(1).reset == Code.CANCEL


def test_who_reads_nothing_is_cut_off() -> None:
    line = Line(limits=LIMITS)
    line.transport.unsent = 100
    line.connection.pause_writing()
    times(line, 2)
    line.transport.unsent = 50
    times(line, 2)
    assert not line.transport.aborted
    times(line, 2)
    assert line.transport.aborted


def test_who_is_silent_during_a_call_is_asked_and_then_given_up() -> None:
    line = Line()
    line.call(1, b"x", WAIT)
    line.frames()
    times(line, 62, 1)
    [ping] = line.frames()
    assert (ping.kind, ping.flags) == (frames.PING, 0)
    line.send(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
    times(line, 62, 1)
    assert not line.transport.aborted
    times(line, 30, 1)
    assert line.transport.aborted


# --- the end of the server


def test_draining_tells_clients_and_answers_what_they_ask_meanwhile() -> None:
    line = Line()
    line.call(1, b"x", WAIT)
    line.frames()
    line.connection.drain()
    goaway, ping = line.frames()
    assert int.from_bytes(goaway.payload[:4], "big") == 2**31 - 1
    line.call(3, b"it had not read that yet")
    assert line.answer(3).status == 0
    line.send(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
    [last] = line.frames()
    assert (last.kind, int.from_bytes(last.payload[:4], "big")) == (frames.GOAWAY, 3)
    line.call(5, b"asked after all")
    assert line.answer(5).data == b""
    assert not line.transport.closed
    line.echo.waiting[0][0].reply(framed(b"done"))
    assert line.answer(1).messages == [b"done"]
    assert line.transport.closed


def test_who_comes_while_we_drain_is_served_once() -> None:
    line = Line()
    line.shared.closing = True
    line.call(1, b"x")
    found = line.frames()
    assert [each.kind for each in found if each.stream == 0] == [frames.GOAWAY, frames.PING]
    assert any(each.ends and each.stream == 1 for each in found)


def test_stopping_ends_conversations_and_idle_connections() -> None:
    idle, talking = Line(), Line()
    talking.open(1, TALK)
    talking.data(1, framed(b"x"), end=False)
    for line in (idle, talking):
        line.connection.finish()
        assert line.transport.closed
    assert talking.answer(1).status == 0


# --- age


def test_an_old_connection_takes_new_calls_no_longer_and_goes_on_with_those_that_run() -> None:
    line = Line(limits=LIMITS, max_age=30)
    line.open(1, TALK)
    line.data(1, framed(b"x"), end=False)
    line.frames()
    times(line, 25, 1)
    assert not line.frames(), "it is young"
    times(line, 10, 1)
    goaway, ping = line.frames()
    assert (goaway.kind, int.from_bytes(goaway.payload[:4], "big")) == (frames.GOAWAY, 2**31 - 1)
    line.call(3, b"it had not read that yet")
    assert line.answer(3).status == 0
    line.send(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
    times(line, 20, 1)
    assert not line.transport.closed
    line.data(1, framed(b"last"), end=True)
    assert line.answer(1).messages == [b"last"]
    assert line.transport.closed


def test_an_old_connection_that_rests_is_closed_when_its_client_has_read_so() -> None:
    line = Line(limits=Limits(idle_timeout=1000), max_age=100)
    times(line, 115, 1)
    *_, ping = line.frames()
    assert not line.transport.closed
    line.send(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
    assert line.end == Code.NO_ERROR
    assert line.transport.closed


def test_without_an_age_no_connection_is_old() -> None:
    line = Line(limits=Limits(idle_timeout=10_000))
    times(line, 5000, 10)
    assert not line.frames()
