import struct

import pytest

from tests.bench.runtime.exchange import ExchangeError, GrpcExchange, HttpExchange, http_request
from tests.bench.runtime.wire import Body

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-A: b\r\n\r\nbody"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def answer(stream: int, message: bytes = b"\0\0\0\0\x02hi") -> bytes:
    return frame(1, 4, stream, b"\x88") + frame(0, 0, stream, message) + frame(1, 5, stream, b"\x88")


def test_a_request_as_it_goes_over_the_wire() -> None:
    assert http_request(80, "/p", Body(b"abc", (("Content-Type", "t"),))) == (
        b"POST /p HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Length: 3\r\nContent-Type: t\r\n\r\nabc"
    )


@pytest.mark.parametrize("cut", range(1, len(REPLY)))
def test_http_in_two_pieces(cut: int) -> None:
    exchange = HttpExchange(b"")
    assert exchange.feed(REPLY[:cut]) is None
    assert exchange.feed(REPLY[cut:]) is True
    assert exchange.body == b"body"
    assert exchange.headers["x-a"] == "b"
    assert exchange.feed(REPLY) is True


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nbod\r\n1\r\ny\r\n0\r\n\r\n"


@pytest.mark.parametrize("cut", range(1, len(CHUNKS)))
def test_chunks_in_two_pieces(cut: int) -> None:
    exchange = HttpExchange(b"")
    assert exchange.feed(CHUNKS[:cut]) is None
    assert exchange.feed(CHUNKS[cut:]) is True
    assert exchange.body == b"body"


def test_http_errors() -> None:
    assert HttpExchange(b"").feed(REPLY.replace(b"200 OK", b"503 No")) is False
    with pytest.raises(ExchangeError, match="without a length"):
        HttpExchange(b"").feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("cut", range(1, len(answer(1))))
def test_grpc_in_two_pieces(cut: int) -> None:
    exchange = GrpcExchange(80, b"m")
    exchange.call()
    assert exchange.feed(answer(1)[:cut]) is None
    assert exchange.feed(answer(1)[cut:]) is True
    assert exchange.body == b"\0\0\0\0\x02hi"


def test_grpc_calls_are_short_after_the_first() -> None:
    exchange = GrpcExchange(80, b"m")
    first, second, third = exchange.call(), exchange.call(), exchange.call()
    assert b"ModelInfer" in first
    assert b"ModelInfer" not in second
    assert len(second) == len(third) == 9 + 6 + 9 + 1
    assert (first[5:9], second[5:9], third[5:9]) == (b"\0\0\0\1", b"\0\0\0\3", b"\0\0\0\5")


def test_grpc_errors_come_without_a_message() -> None:
    exchange = GrpcExchange(80, b"m")
    assert exchange.feed(frame(1, 5, 1, b"\x88")) is False
    assert exchange.feed(frame(3, 0, 1, b"\0\0\0\0")) is False
    with pytest.raises(ExchangeError, match="goes away"):
        exchange.feed(frame(7, 0, 0, b"\0" * 8))


def test_settings_and_pings_are_answered() -> None:
    exchange = GrpcExchange(80, b"m")
    assert exchange.feed(frame(4, 0, 0, b"") + frame(6, 0, 0, b"12345678") + frame(4, 1, 0, b"")) is None
    assert exchange.out == frame(4, 1, 0, b"") + frame(6, 1, 0, b"12345678")


def test_padding_is_taken_off() -> None:
    exchange = GrpcExchange(80, b"m")
    assert exchange.feed(frame(0, 1 | 8, 1, b"\x02" + b"\0\0\0\0\0" + b"\0\0")) is True
    assert exchange.body == b"\0\0\0\0\0"


def test_the_window_of_the_server_is_kept() -> None:
    exchange = GrpcExchange(80, b"m" * 40_000)
    exchange.call()
    with pytest.raises(ExchangeError, match="window"):
        exchange.call()
    exchange.feed(frame(8, 0, 0, struct.pack(">I", 40_000)))
    exchange.call()
