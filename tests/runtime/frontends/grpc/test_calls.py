"""gRPC over HTTP/2 streams: messages, metadata, status, deadlines, the end."""

import asyncio
import gzip
import zlib

import pytest

from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.frontends.grpc import frames
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.frames import Code
from mooring_runtime.frontends.http.parser import Limits
from tests.support.grpc_line import Line

WAIT, TALK, FAULT = "/test.Service/Wait", "/test.Service/Talk", "/test.Service/Fault"


def packed(message: bytes) -> bytes:
    return b"\1" + len(message).to_bytes(4, "big") + message


async def rested(line: Line) -> None:
    """Let the event loop and its threads work until no call is open."""
    while line.connection.streams:  # noqa: ASYNC110 - the connection has no event for tests
        await asyncio.sleep(0)


# --- one message in, one out


def test_a_unary_call() -> None:
    line = Line()
    line.call(1, b"hello")
    answer = line.answer(1)
    assert answer.headers == {":status": "200", "content-type": "application/grpc"}
    assert answer.messages == [b"hello"]
    assert (answer.trailers, answer.reset) == ({"grpc-status": "0"}, None)


@pytest.mark.parametrize("cuts", [(1,), (4,), (5,), (6,), (3, 4, 9), tuple(range(1, 12))])
def test_a_message_may_come_in_any_pieces(cuts: tuple[int, ...]) -> None:
    line = Line()
    line.open(1)
    whole, start = framed(b"in pieces"), 0
    for cut in cuts:
        line.data(1, whole[start:cut], end=False)
        start = cut
    line.data(1, whole[start:])
    assert line.answer(1).messages == [b"in pieces"]


def test_an_empty_message_is_one() -> None:
    line = Line()
    line.call(1, b"")
    assert line.answer(1).messages == [b""]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "none was sent"),
        (b"\0\0\0", "a part of one was sent"),
        (b"\0\0\0\0\5abc", "a part of one was sent"),
        (framed(b"a") + framed(b"b"), "more was sent"),
        (framed(b"a") + b"\0", "more was sent"),
        (packed(b"x"), "grpc-encoding names no compression"),
    ],
)
def test_not_exactly_one_message(body: bytes, words: str) -> None:
    line = Line()
    line.open(1)
    line.data(1, body)
    answer = line.answer(1)
    assert answer.status == GrpcCode.INVALID_ARGUMENT
    assert words in answer.trailers["grpc-message"]


def test_headers_alone_are_no_request() -> None:
    line = Line()
    line.send(frames.frame(frames.HEADERS, 5, 1, line.block()))
    assert line.answer(1).status == GrpcCode.INVALID_ARGUMENT


def test_a_message_over_the_limit_is_refused_before_it_comes() -> None:
    line = Line(max_message=1000)
    line.open(1)
    line.data(1, b"\0" + (1001).to_bytes(4, "big"), end=False)
    answer = line.answer(1)
    assert answer.status == GrpcCode.RESOURCE_EXHAUSTED
    assert "a message of 1001 bytes, the limit is 1000" in answer.trailers["grpc-message"]
    assert answer.reset == Code.NO_ERROR, "the client need not send the rest"
    line.call(3, bytes(1001))
    assert line.answer(3).status == GrpcCode.RESOURCE_EXHAUSTED
    line.call(5, bytes(990))
    assert line.answer(5).status == GrpcCode.OK


def test_a_bug_is_the_servers_fault_and_only_that_calls(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    line.call(1, b"x", FAULT)
    answer = line.answer(1)
    assert answer.status == GrpcCode.INTERNAL
    assert "ZeroDivisionError" in answer.trailers["grpc-message"]
    assert "ZeroDivisionError" in caplog.text
    line.call(3, b"x")
    assert line.answer(3).status == GrpcCode.OK


# --- what the headers say


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "application/grpc;v=1"])
def test_content_types_of_grpc(kind: str) -> None:
    line = Line()
    line.call(1, b"x", content_type=kind)
    assert line.answer(1).messages == [b"x"]


@pytest.mark.parametrize("kind", ["application/json", "application/grpc-web", ""])
def test_who_does_not_speak_grpc_gets_a_status_of_http(kind: str) -> None:
    line = Line()
    line.call(1, b"x", content_type=kind)
    answer = line.answer(1)
    assert answer.trailers == {":status": "415"}
    block = line.encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", "/")])
    line.send(frames.frame(frames.HEADERS, 5, 3, bytes(block)))
    assert line.answer(3).trailers == {":status": "405"}


def test_unknown_methods_and_compressions() -> None:
    line = Line()
    line.call(1, b"x", "/test.Service/Nothing")
    answer = line.answer(1)
    assert (answer.status, answer.trailers["mooring-cause"]) == (GrpcCode.UNIMPLEMENTED, "unknown_path")
    line.call(3, b"x", grpc_encoding="snappy")
    answer = line.answer(3)
    assert answer.status == GrpcCode.UNIMPLEMENTED
    assert answer.trailers["grpc-accept-encoding"] == "identity,deflate,gzip"


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_messages(name: str, pack: "type[bytes]") -> None:
    line = Line(max_message=1000)
    for stream, message, status in ((1, b"y" * 1000, 0), (3, b"y" * 1001, 8)):
        line.open(stream, grpc_encoding=name)
        line.data(stream, packed(pack(message)))
        answer = line.answer(stream)
        assert answer.status == status
    for stream, bad in ((5, b"not packed"), (7, pack(b"y" * 500)[:-8])):
        line.open(stream, grpc_encoding=name)
        line.data(stream, packed(bad))
        assert line.answer(stream).status == GrpcCode.INVALID_ARGUMENT
    line.call(9, b"plain", grpc_encoding=name)
    assert line.answer(9).messages == [b"plain"]


@pytest.mark.parametrize("size", [1000, 1001])
def test_compressed_messages_are_bodies_as_others_are(size: int) -> None:
    line = Line(limits=Limits(body_bytes=1000))
    line.open(1, grpc_encoding="deflate")
    line.data(1, packed(zlib.compress(bytes(size))))
    answer = line.answer(1)
    assert answer.status == (GrpcCode.OK if size == 1000 else GrpcCode.RESOURCE_EXHAUSTED)
    line.call(3, bytes(size))
    assert line.answer(3).status == GrpcCode.OK


async def test_large_compressed_messages_are_unpacked_apart_and_stay_in_order() -> None:
    line = Line(max_message=2**22)
    line.settings({frames.INITIAL_WINDOW_SIZE: 2**30})
    line.window(0, 2**30)
    large = bytes(range(256)) * 4096
    body = packed(zlib.compress(large, 0)) + packed(zlib.compress(b"second")) + framed(b"third")
    line.open(1, TALK, grpc_encoding="deflate")
    for start in range(0, len(body), 16384):
        line.data(1, body[start : start + 16384], end=start + 16384 >= len(body))
    await rested(line)
    assert line.answer(1).messages == [large, b"second", b"third"]


@pytest.mark.parametrize("held", [False, True])
async def test_a_conversation_that_goes_on_waits_for_what_is_unpacked(held: bool) -> None:
    """An answer to an earlier message lets the conversation go on, which must not pass over the one being unpacked."""
    line = Line(max_message=2**22)
    line.settings({frames.INITIAL_WINDOW_SIZE: 2**30})
    line.window(0, 2**30)
    large = bytes(range(256)) * 1024
    body = framed(b"first") + packed(zlib.compress(large, 0)) + framed(b"third")
    line.open(1, TALK, grpc_encoding="deflate")
    for start in range(0, len(body), 16384):
        line.data(1, body[start : start + 16384], end=start + 16384 >= len(body))
    [talk] = line.echo.talks
    if held:
        talk.call.hold()
    talk.call.resume()
    assert not talk.call.done
    await rested(line)
    answer = line.answer(1)
    assert (answer.messages, answer.status) == ([b"first", large, b"third"], 0)


async def test_what_is_unpacked_does_not_let_a_held_conversation_go_on() -> None:
    line = Line(max_message=2**22)
    line.open(1, TALK, grpc_encoding="deflate")
    body = packed(zlib.compress(bytes(2**16 + 1), 0)) + framed(b"second")
    for start in range(0, len(body), 16384):
        line.data(1, body[start : start + 16384], end=start + 16384 >= len(body))
    [talk] = line.echo.talks
    talk.call.hold()
    while not talk.call.waiting:  # noqa: ASYNC110 - the first answer is larger than the window
        await asyncio.sleep(0)
    line.window(0, 2**30)
    line.window(1, 2**30)
    assert [len(message) for message in line.answer(1).messages] == [2**16 + 1]
    talk.call.resume()
    answer = line.answer(1)
    assert (answer.messages, answer.status) == ([b"second"], 0)


@pytest.mark.parametrize("timeout", ["1", "S", "1x", "123456789S", "-1S", "1.5S"])
def test_a_timeout_that_is_none(timeout: str) -> None:
    line = Line()
    line.call(1, b"x", grpc_timeout=timeout)
    assert line.answer(1).status == GrpcCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("timeout", "seconds"), [("1H", 3600), ("2M", 120), ("3S", 3), ("40m", 0.04), ("50u", 5e-5), ("6n", 6e-9)]
)
async def test_units_of_a_timeout(timeout: str, seconds: float) -> None:
    line = Line()
    line.call(1, b"x", WAIT, grpc_timeout=timeout)
    [(call, _)] = line.echo.waiting
    assert call.head.timeout == pytest.approx(seconds)
    line.reset(1)


async def test_a_deadline_ends_the_call_and_takes_it_back() -> None:
    line = Line()
    line.call(1, b"x", WAIT, grpc_timeout="1m")
    await rested(line)
    answer = line.answer(1)
    assert answer.status == GrpcCode.DEADLINE_EXCEEDED
    assert line.echo.cancelled == 1
    line.echo.waiting[0][0].reply(framed(b"too late"))
    assert line.frames() == []


async def test_a_deadline_runs_from_the_beginning_of_the_call() -> None:
    line = Line()
    line.open(1, WAIT, grpc_timeout="1m")
    line.data(1, framed(b"half")[:6], end=False)
    await rested(line)
    answer = line.answer(1)
    assert (answer.status, answer.reset) == (GrpcCode.DEADLINE_EXCEEDED, Code.NO_ERROR)
    assert line.echo.waiting == []


@pytest.mark.parametrize("path", [WAIT, TALK])
def test_a_deadline_of_nothing_has_passed(path: str) -> None:
    line = Line()
    line.call(1, b"x", path, grpc_timeout="0n")
    answer = line.answer(1)
    assert (answer.status, answer.messages) == (GrpcCode.DEADLINE_EXCEEDED, [])
    assert line.echo.waiting == []


async def test_a_deadline_is_forgotten_with_its_call() -> None:
    line = Line()
    line.open(1, WAIT, grpc_timeout="1m")
    line.reset(1)
    line.call(3, b"x", grpc_timeout="1m")
    assert line.answer(3).status == GrpcCode.OK
    await asyncio.sleep(0.01)
    assert line.frames() == []


def test_a_reset_takes_the_call_back() -> None:
    line = Line()
    line.call(1, b"x", WAIT)
    line.reset(1)
    assert line.echo.cancelled == 1
    line.echo.waiting[0][0].reply(framed(b"nobody reads this"))
    assert line.frames() == []


def test_a_lost_connection_takes_its_calls_back() -> None:
    line = Line()
    line.call(1, b"x", WAIT)
    line.call(3, b"x", WAIT)
    line.open(5, TALK)
    line.data(5, framed(b"x"), end=False)
    line.connection.connection_lost(None)
    assert line.echo.cancelled == 2
    assert line.echo.talks[0].aborts == 1
    assert line.shared.empty.is_set()


# --- conversations


def test_a_conversation() -> None:
    line = Line()
    line.open(1, TALK)
    line.data(1, framed(b"one") + framed(b"two")[:6], end=False)
    first = line.answer(1)
    assert (first.messages, first.ended) == ([b"one"], False)
    line.data(1, framed(b"two")[6:], end=False)
    assert line.answer(1).messages == [b"two"]
    line.data(1, framed(b"three"))
    last = line.answer(1)
    assert (last.messages, last.status) == ([b"three"], 0)


def test_a_conversation_that_is_held_waits_and_goes_on() -> None:
    line = Line()
    line.open(1, TALK)
    line.data(1, framed(b"one"), end=False)
    call = line.echo.talks[0].call
    call.hold()
    line.data(1, framed(b"two") + framed(b"three"))
    assert line.answer(1).messages == [b"one"]
    call.resume()
    answer = line.answer(1)
    assert (answer.messages, answer.status) == ([b"two", b"three"], 0)


async def test_many_small_messages_leave_others_their_turn() -> None:
    line = Line()
    sent = [b"%d" % number for number in range(1000)]
    line.open(1, TALK)
    line.data(1, b"".join(map(framed, sent)))
    found = line.answer(1).messages
    assert found == sent[:64]
    await asyncio.sleep(0)
    line.call(3, b"another's")
    [call] = line.connection.streams.values()
    assert call.id == 1
    await rested(line)
    answer = line.answer(1)
    assert answer.messages[:64] == sent[64:128]
    assert (answer.messages[-1], answer.status) == (sent[-1], 0)
    assert found + answer.messages == sent


async def test_small_messages_whose_turn_has_not_come_are_nobodys_when_the_call_is_over() -> None:
    line = Line()
    line.open(1, TALK)
    line.data(1, framed(b"x") * 1000)
    line.reset(1)
    assert len(line.answer(1).messages) == 64
    await asyncio.sleep(0)
    assert line.frames() == []


def test_a_conversation_that_ends_within_a_message() -> None:
    line = Line()
    line.open(1, TALK)
    line.data(1, framed(b"one") + b"\0\0")
    assert line.answer(1).status == GrpcCode.INVALID_ARGUMENT
    assert line.echo.talks[0].aborts == 1
