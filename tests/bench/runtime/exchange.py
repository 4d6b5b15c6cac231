"""One request after the other on one connection, without I/O: bytes to send, and what received bytes mean.

For the open-loop generator, which must be quick, and for the probe. An exchange carries the same request each time.
"""

import struct
from dataclasses import dataclass, field
from typing import Protocol

from tests.bench.runtime.wire import RPC, Body

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME = struct.Struct(">HBBBI")
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_LARGEST_WINDOW = 2**31 - 1
_FIRST_WINDOW = 65535
_CHUNKED = -1
"""In the place of a length."""


class ExchangeError(Exception):
    """The other end broke the protocol, or cannot be talked to in this plain way."""


class Exchange(Protocol):
    """A client of one connection."""

    body: bytes
    """The last answer."""
    headers: dict[str, str]
    """Its headers in small letters; empty for gRPC."""
    out: bytes
    """What must be sent because of what came, such as the answer to a ping; whoever sends it empties it."""

    def opening(self) -> bytes:
        """What a new connection sends first."""

    def call(self) -> bytes:
        """The next request."""

    def feed(self, data: bytes) -> bool | None:
        """None while the answer is not whole; then whether it tells success. Raises ExchangeError."""


@dataclass
class HttpExchange:
    """HTTP/1.1, with a length or in chunks."""

    request: bytes
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    out: bytes = b""
    _buffer: bytes = b""
    _lengths: dict[bytes, int] = field(default_factory=dict)

    def opening(self) -> bytes:
        """Nothing."""
        return b""

    def call(self) -> bytes:
        """The request."""
        return self.request

    def feed(self, data: bytes) -> bool | None:
        """See `Exchange`."""
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            head = data[:end]
            length = self._lengths.get(head)  # Most answers have the head of the one before, and parsing costs.
            if length is None:
                length = self._parse(head)
            body = _join_chunks(data[end + 4 :]) if length == _CHUNKED else data[end + 4 :]
            if body is not None and len(body) >= length:
                self.body, self._buffer = body, b""
                return head.startswith(b"HTTP/1.1 200")
        self._buffer = data
        return None

    def _parse(self, head: bytes) -> int:
        lines = head.decode("latin-1").split("\r\n")[1:]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        try:
            chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
            length = _CHUNKED if chunked else int(self.headers["content-length"])
        except (KeyError, ValueError) as error:
            raise ExchangeError(f"an answer without a length: {head[:200]!r}") from error
        if len(self._lengths) < 1000:
            self._lengths[head] = length
        return length


def _join_chunks(data: bytes) -> bytes | None:
    """The body of chunks without trailers; None while it is not whole."""
    pieces: list[bytes] = []
    at = 0
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end].partition(b";")[0], 16)
        at = end + 2 + size + 2
        if len(data) < at:
            return None
        if size == 0:
            return b"".join(pieces)
        pieces.append(data[end + 2 : at - 2])
    return None


def http_request(port: int, path: str, body: Body) -> bytes:
    """A POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body.data)}"]
    lines += [f"{name}: {value}" for name, value in body.headers]
    return "\r\n".join([*lines, "", ""]).encode() + body.data


class GrpcExchange:
    """Unary gRPC over cleartext HTTP/2, one call at a time.

    The header fields enter the other end's table with the first call and are six bytes from then on, as in any client.
    What this end may receive is never used up in a run; what it may send is counted.
    """

    def __init__(self, port: int, message: bytes) -> None:
        self.body = self.out = b""
        self.headers: dict[str, str] = {}
        self._message = message
        self._first = _first_block(f"127.0.0.1:{port}")
        self._stream = -1
        self._buffer = b""
        self._data: list[bytes] = []
        self._window = _FIRST_WINDOW

    def opening(self) -> bytes:
        """Preface, settings and a receive window that lasts."""
        settings = struct.pack(">HIHI", 2, 0, 4, _LARGEST_WINDOW)
        more = struct.pack(">I", _LARGEST_WINDOW - _FIRST_WINDOW)
        return _PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, more)

    def call(self) -> bytes:
        """Headers and message on a new stream."""
        if self._window < len(self._message):
            raise ExchangeError("the server does not open its flow-control window again")
        self._window -= len(self._message)
        self._stream += 2
        block = self._first if self._stream == 1 else b"\x83\x86\xc1\xc0\xbf\xbe"
        data = _frame(_DATA, _END_STREAM, self._stream, self._message)
        return _frame(_HEADERS, _END_HEADERS, self._stream, block) + data

    def feed(self, data: bytes) -> bool | None:
        """See `Exchange`; success is an answer with a message, for an error comes without one."""
        if self._buffer:
            data = self._buffer + data
        at, done = 0, None
        while len(data) - at >= 9:
            high, low, kind, flags, stream = _FRAME.unpack_from(data, at)
            end = at + 9 + (high << 8 | low)
            if end > len(data):
                break
            ended = self._take(kind, flags, stream, data[at + 9 : end])
            done = done if ended is None else ended
            at = end
        self._buffer = data[at:]
        return done

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> bool | None:
        if kind == _DATA:
            self._data.append(payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self.out += _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            self.out += _frame(_PING, _ACK, 0, payload)
        elif kind == _WINDOW and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == _GOAWAY:
            raise ExchangeError(f"the server goes away: {payload!r}")
        ends = kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM)
        if not ends:
            return None
        self.body, self._data = b"".join(self._data), []
        return kind != _RESET and len(self.body) >= 5


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


def _first_block(authority: str) -> bytes:
    """The header fields of the first call; path, authority, content-type and te become entries 65 to 62."""
    fields = [(b"\x44", RPC.encode()), (b"\x41", authority.encode()), (b"\x5f", b"application/grpc")]
    block = b"\x83\x86" + b"".join(key + bytes([len(value)]) + value for key, value in fields)
    return block + b"\x40\x02te\x08trailers"
