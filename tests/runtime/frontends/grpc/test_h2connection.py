"""HTTP/2 by its rules: RFC 9113, and what peers have been seen to do against servers."""

import struct

import pytest

from mooring_runtime.frontends.grpc import frames
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.frames import Code, frame
from tests.support.grpc_line import PATH, Line

GOAWAY, PING, SETTINGS, WINDOW_UPDATE = frames.GOAWAY, frames.PING, frames.SETTINGS, frames.WINDOW_UPDATE
WAIT = "/test.Service/Wait"


def kinds(line: Line) -> list[int]:
    return [each.kind for each in line.frames()]


# --- the beginning


def test_the_server_says_its_settings_and_acknowledges_ours() -> None:
    line = Line(greet=False)
    line.send(frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 10}))
    settings, window, acknowledged = line.frames()
    told = dict(struct.iter_unpack(">HI", settings.payload))
    assert told[frames.INITIAL_WINDOW_SIZE] == 4 * 2**20
    assert told[frames.MAX_CONCURRENT_STREAMS] == 1024
    assert (window.kind, window.stream, window.number) == (WINDOW_UPDATE, 0, 16 * 2**20 - 65535)
    assert (acknowledged.kind, acknowledged.flags) == (SETTINGS, frames.ACK)


@pytest.mark.parametrize("cut", range(1, 24, 5))
def test_the_preface_may_come_in_pieces(cut: int) -> None:
    line = Line(greet=False)
    line.send(frames.PREFACE[:cut])
    line.send(frames.PREFACE[cut:] + frames.settings({}))
    line.call(1, b"hello")
    assert line.answer(1).messages == [b"hello"]


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r!", b"\x16\x03\x01", b"P!"])
def test_who_speaks_something_else_is_told_so(start: bytes) -> None:
    line = Line(greet=False)
    line.send(start)
    [goaway] = [each for each in line.frames() if each.kind == GOAWAY]
    assert b"this port speaks gRPC" in goaway.payload
    assert line.transport.closed


@pytest.mark.parametrize(
    "first", [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, frames.ACK, 0), frame(frames.DATA, 1, 1, b"")]
)
def test_the_first_frame_must_be_settings(first: bytes) -> None:
    line = Line(greet=False)
    line.send(frames.PREFACE + first)
    assert line.end == Code.PROTOCOL_ERROR


def test_every_split_of_the_bytes_gives_the_same() -> None:
    whole = Line()
    request = frame(frames.HEADERS, 4, 1, whole.block()) + frame(frames.DATA, 1, 1, framed(b"split"))
    for cut in range(1, len(request)):
        line = Line()
        line.send(request[:cut])
        line.send(request[cut:])
        assert line.answer(1).messages == [b"split"], cut


# --- frames


FAULTS = [
    ("a frame too large", b"\x00\x40\x01\x00\x00\x00\x00\x00\x01" + bytes(16385), Code.FRAME_SIZE_ERROR),
    ("PING of 7 bytes", frame(PING, 0, 0, b"1234567"), Code.FRAME_SIZE_ERROR),
    ("PING on a stream", frame(PING, 0, 1, b"12345678"), Code.PROTOCOL_ERROR),
    ("SETTINGS on a stream", frame(SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"12345"), Code.FRAME_SIZE_ERROR),
    ("an acknowledgement with a payload", frame(SETTINGS, 1, 0, b"123456"), Code.FRAME_SIZE_ERROR),
    ("a push switch of 2", frames.settings({frames.ENABLE_PUSH: 2}), Code.PROTOCOL_ERROR),
    ("a window over 2^31-1", frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}), Code.FLOW_CONTROL_ERROR),
    ("a frame size too small", frames.settings({frames.MAX_FRAME_SIZE: 16383}), Code.PROTOCOL_ERROR),
    ("a frame size too large", frames.settings({frames.MAX_FRAME_SIZE: 2**24}), Code.PROTOCOL_ERROR),
    ("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, b"123"), Code.FRAME_SIZE_ERROR),
    ("WINDOW_UPDATE by 0", frames.window_update(0, 0), Code.PROTOCOL_ERROR),
    ("a window that overflows", frames.window_update(0, 2**31 - 1), Code.FLOW_CONTROL_ERROR),
    ("WINDOW_UPDATE on an idle stream", frames.window_update(7, 1), Code.PROTOCOL_ERROR),
    ("RST_STREAM of 5 bytes", frame(frames.RST_STREAM, 0, 1, b"12345"), Code.FRAME_SIZE_ERROR),
    ("RST_STREAM on an idle stream", frames.rst_stream(1, Code.CANCEL), Code.PROTOCOL_ERROR),
    ("RST_STREAM on stream 0", frames.rst_stream(0, Code.CANCEL), Code.PROTOCOL_ERROR),
    ("DATA on an idle stream", frame(frames.DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),
    ("DATA on stream 0", frame(frames.DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
    ("HEADERS on an even stream", frame(frames.HEADERS, 4, 2, b"\x83"), Code.PROTOCOL_ERROR),
    ("HEADERS on stream 0", frame(frames.HEADERS, 4, 0, b"\x83"), Code.PROTOCOL_ERROR),
    ("HEADERS with too much padding", frame(frames.HEADERS, 0xC, 1, b"\x09\x83"), Code.PROTOCOL_ERROR),
    ("HEADERS with half a priority", frame(frames.HEADERS, 0x24, 1, b"\0\0"), Code.FRAME_SIZE_ERROR),
    ("HEADERS that cannot be decoded", frame(frames.HEADERS, 4, 1, b"\xff\xff\xff\xff\x0f"), Code.COMPRESSION_ERROR),
    ("an index of nothing", frame(frames.HEADERS, 4, 1, b"\x80"), Code.COMPRESSION_ERROR),
    ("a table larger than ours", frame(frames.HEADERS, 4, 1, b"\x3f\xff\xff\x7f"), Code.COMPRESSION_ERROR),
    ("CONTINUATION of nothing", frame(frames.CONTINUATION, 4, 1, b"\x83"), Code.PROTOCOL_ERROR),
    ("headers not continued", frame(frames.HEADERS, 0, 1, b"\x83") + frame(PING, 0, 0, bytes(8)), Code.PROTOCOL_ERROR),
    (
        "headers continued elsewhere",
        frame(frames.HEADERS, 0, 1, b"\x83") + frame(frames.CONTINUATION, 4, 3, b"\x84"),
        Code.PROTOCOL_ERROR,
    ),
    ("PUSH_PROMISE", frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), Code.PROTOCOL_ERROR),
    ("PRIORITY on stream 0", frame(frames.PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
    ("PRIORITY of 4 bytes", frame(frames.PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    ("GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
]


@pytest.mark.parametrize(("data", "code"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_faults_of_the_connection(data: bytes, code: Code) -> None:
    line = Line()
    line.send(data)
    assert line.end == code
    line.send(frame(PING, 0, 0, b"12345678"))
    assert line.frames() == [], "nothing is answered after the end"


def test_what_means_nothing_is_ignored() -> None:
    line = Line()
    line.send(frame(frames.PRIORITY, 0, 1, bytes(5)) + frame(0xBE, 0xFF, 7, b"grease"))
    line.send(frames.settings({0x7A7A: 1, frames.HEADER_TABLE_SIZE: 0}))
    line.call(1, b"x")
    assert line.answer(1).messages == [b"x"]


def test_ping_is_answered() -> None:
    line = Line()
    line.send(frame(PING, 0, 0, b"12345678") + frame(PING, frames.ACK, 0, b"unasked!"))
    [pong] = line.frames()
    assert (pong.kind, pong.flags, pong.payload) == (PING, frames.ACK, b"12345678")


def test_padded_and_prioritised_headers_and_padded_data() -> None:
    line = Line()
    block = b"\x03" + bytes(5) + line.block() + bytes(3)
    line.send(frame(frames.HEADERS, 0x4 | 0x8 | 0x20, 1, block))
    line.send(frame(frames.DATA, 0x9, 1, b"\x02" + framed(b"padded") + bytes(2)))
    assert line.answer(1).messages == [b"padded"]


def test_headers_in_many_frames() -> None:
    line = Line()
    block = line.block(x_long="x" * 300)
    pieces = [block[start : start + 50] for start in range(0, len(block), 50)]
    line.send(frame(frames.HEADERS, 0, 1, pieces[0]))
    for piece in pieces[1:-1]:
        line.send(frame(frames.CONTINUATION, 0, 1, piece))
    line.send(frame(frames.CONTINUATION, frames.END_HEADERS, 1, pieces[-1]))
    line.data(1, framed(b"x"))
    assert line.answer(1).messages == [b"x"]


# --- streams


def test_numbers_of_streams_only_rise() -> None:
    line = Line()
    line.call(5, b"x")
    line.open(3)
    line.data(3, framed(b"late"))
    assert line.answer(3).data == b""
    line.call(7, b"y")
    assert line.answer(7).messages == [b"y"]


def test_data_after_the_end_resets_the_stream() -> None:
    line = Line()
    line.call(1, b"x", WAIT)
    line.data(1, b"more")
    assert line.answer(1).reset == Code.STREAM_CLOSED
    assert line.echo.cancelled == 1


def test_frames_for_a_stream_that_is_over_are_nothing() -> None:
    line = Line()
    line.call(1, b"x")
    line.window(1, 5)
    line.reset(1)
    line.data(1, b"late")
    assert GOAWAY not in kinds(line)


def test_trailers_end_a_request_and_headers_in_its_midst_break_it() -> None:
    line = Line()
    for stream, flags in ((1, 0x5), (3, 0x4)):
        line.open(stream)
        line.data(stream, framed(b"x"), end=False)
        line.send(frame(frames.HEADERS, flags, stream, bytes(line.encoder.encode([("x-sum", "1")]))))
        answer = line.answer(stream)
        assert answer.messages == ([b"x"] if stream == 1 else [])
        assert answer.reset == (None if stream == 1 else Code.PROTOCOL_ERROR)
    line.call(5, b"the table is still right", x_sum="1")
    assert line.answer(5).ended


def test_no_more_streams_than_allowed() -> None:
    line = Line()
    for number in range(1024):
        line.open(2 * number + 1)
    line.open(2049)
    assert line.answer(2049).reset == Code.REFUSED_STREAM
    line.data(1, framed(b"x"))
    assert line.answer(1).messages == [b"x"]
    line.call(2051, b"y")
    assert line.answer(2051).messages == [b"y"]


BAD_REQUESTS: list[list[tuple[str, str]]] = [
    [(":method", "POST"), (":scheme", "http")],
    [(":method", "POST"), (":path", PATH)],
    [(":method", "POST"), (":scheme", "http"), (":path", "")],
    [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":path", PATH)],
    [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":status", "200")],
    [(":method", "POST"), (":scheme", "http"), ("x", "1"), (":path", PATH)],
    [(":method", "POST"), (":scheme", "http"), (":path", PATH), ("X-Upper", "1")],
    [(":method", "POST"), (":scheme", "http"), (":path", PATH), ("connection", "close")],
    [(":method", "POST"), (":scheme", "http"), (":path", PATH), ("te", "gzip")],
    [(":method", "POST"), (":scheme", "http"), (":path", PATH), ("x", "a\r\nb")],
]


@pytest.mark.parametrize("fields", BAD_REQUESTS)
def test_malformed_requests_end_their_stream_only(fields: list[tuple[str, str]]) -> None:
    line = Line()
    line.send(frame(frames.HEADERS, 5, 1, bytes(line.encoder.encode(fields))))
    assert line.answer(1).reset == Code.PROTOCOL_ERROR
    line.call(3, b"x")
    assert line.answer(3).messages == [b"x"]


def test_equal_blocks_are_the_same_request_until_the_table_changes() -> None:
    line = Line()
    line.call(1, b"a")
    line.frames()
    indexed = line.block()
    assert min(indexed) >= 0x80
    for stream in (3, 5, 7):
        line.send(frame(frames.HEADERS, 4, stream, indexed))
        line.data(stream, framed(b"b"))
        assert line.answer(stream).messages == [b"b"]
    line.call(9, b"c", "/test.Service/Unknown")
    assert line.answer(9).status == 12
    line.send(frame(frames.HEADERS, 5, 11, indexed))  # The same bytes now point one entry further.
    assert line.answer(11).reset == Code.PROTOCOL_ERROR or line.answer(11).ended


# --- attacks


def flood(line: Line, data: bytes, times: int) -> int | None:
    for _ in range(times):
        line.send(data)
        if line.transport.closed:
            break
    return line.end


@pytest.mark.parametrize(
    "data",
    [
        frame(PING, 0, 0, b"12345678"),
        frames.settings({}),
        frames.window_update(0, 1),
        frame(frames.PRIORITY, 0, 1, bytes(5)),
        frame(0x77, 0, 0),
    ],
    ids=["ping", "settings", "window_update", "priority", "unknown"],
)
def test_floods_end_the_connection(data: bytes) -> None:
    assert flood(Line(), data, 3000) == Code.ENHANCE_YOUR_CALM


def test_empty_data_frames_end_the_connection() -> None:
    line = Line()
    line.open(1)
    assert flood(line, frame(frames.DATA, 0, 1, b""), 3000) == Code.ENHANCE_YOUR_CALM


def test_rapid_resets_end_the_connection() -> None:
    line = Line()
    for number in range(3000):
        line.call(2 * number + 1, b"x", WAIT)
        line.reset(2 * number + 1)
        if line.transport.closed:
            break
    assert line.end == Code.ENHANCE_YOUR_CALM
    assert 1000 < line.echo.cancelled < 2100


@pytest.mark.parametrize("fault", ["data", "trailers", "headers", "window", "no window"])
def test_making_us_reset_ends_the_connection(fault: str) -> None:
    """A stream that we reset because its client broke a rule makes room for the next, as its own reset does."""
    line = Line()
    line.call(1, b"x")
    indexed = line.block()
    line.frames()
    for number in range(3, 6003, 2):
        breaks = {
            "data": frame(frames.DATA, 0, number, b"more"),
            "trailers": frame(frames.HEADERS, 5, number, indexed),
            "headers": frame(frames.HEADERS, 4, number, indexed),
            "window": frames.window_update(number, 2**31 - 1),
            "no window": frames.window_update(number, 0),
        }
        ends = 0 if fault == "headers" else 1
        line.send(frame(frames.HEADERS, 4, number, line.block(WAIT)))
        line.send(frame(frames.DATA, ends, number, framed(b"x")) + breaks[fault])
        if line.transport.closed:
            break
    assert line.end == Code.ENHANCE_YOUR_CALM
    assert number > 1000


def test_work_and_time_pay_for_idle_frames() -> None:
    line = Line()
    for number in range(2500):
        line.send(frame(PING, 0, 0, b"12345678"))
        line.call(2 * number + 1, b"x")
    assert not line.transport.closed
    patient = Line()
    for _ in range(2500):
        patient.send(frame(PING, 0, 0, b"12345678"))
        patient.shared.now += 0.02
    assert not patient.transport.closed


def test_clients_that_measure_the_line_after_each_answer_stay() -> None:
    """Go's client sends the little window that an answer took, and a PING, after each."""
    line = Line()
    line.call(1, b"x")
    indexed = line.block()
    measured = frames.window_update(0, 7) + frame(PING, 0, 0, b"12345678")
    for number in range(1, 20_001):
        stream = 2 * number + 1
        line.send(frame(frames.HEADERS, 4, stream, indexed) + frame(frames.DATA, 1, stream, framed(b"x")) + measured)
        line.transport.written, line._read = b"", 0
    assert not line.transport.closed
    assert flood(line, frame(PING, 0, 0, b"12345678"), 3000) == Code.ENHANCE_YOUR_CALM


def test_clients_that_measure_the_line_in_a_conversation_stay() -> None:
    line = Line()
    line.open(1, "/test.Service/Talk")
    measured = frames.window_update(0, 7) + frames.window_update(1, 7) + frame(PING, 0, 0, b"12345678")
    for _ in range(5000):
        line.send(frame(frames.DATA, 0, 1, framed(b"x")) + measured)
    assert not line.transport.closed


def test_an_answer_taken_byte_by_byte_pays_for_no_updates() -> None:
    line = Line()
    line.settings({frames.INITIAL_WINDOW_SIZE: 0})
    line.call(1, bytes(10_000))
    assert flood(line, frames.window_update(1, 1), 3000) == Code.ENHANCE_YOUR_CALM


def test_a_block_without_end_is_cut_off() -> None:
    line = Line()
    line.send(frame(frames.HEADERS, 0, 1, b"\x83"))
    assert flood(line, frame(frames.CONTINUATION, 0, 1, bytes(1000)), 100) == Code.ENHANCE_YOUR_CALM
    empty = Line()
    empty.send(frame(frames.HEADERS, 0, 1, b"\x83"))
    assert flood(empty, frame(frames.CONTINUATION, 0, 1), 100) == Code.ENHANCE_YOUR_CALM


def test_a_bomb_of_headers_does_not_unfold() -> None:
    line = Line()
    big = bytes(line.encoder.encode([("x", "y" * 3000)]))
    line.send(frame(frames.HEADERS, 5, 1, line.block() + big + b"\xbe" * 10_000))
    assert line.end == Code.COMPRESSION_ERROR
