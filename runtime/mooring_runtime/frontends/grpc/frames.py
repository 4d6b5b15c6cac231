"""Frames of HTTP/2 (RFC 9113, section 6) as bytes, and the two ways in which a peer can be wrong. Pure."""

import struct
from collections.abc import Mapping
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = struct.Struct(">BHBBI")
"""Length (one byte and two), type, flags, stream."""
MAX_FRAME = 16384
"""Bytes of the largest frame that is taken: the protocol's own default, so that it need not be told."""
MAX_WINDOW = 2**31 - 1
"""Also the highest number of a stream; the bit above it is reserved, and is ignored."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)


class Code(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(Exception):  # noqa: N818 - the name says whose fault it is
    """The peer broke a rule after which nothing on this connection can be understood any more."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


class StreamFault(Exception):  # noqa: N818
    """The peer broke a rule of one stream."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    length = len(payload)
    return HEADER.pack(length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def settings(values: Mapping[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join([struct.pack(">HI", *pair) for pair in values.items()]))


def window_update(stream: int, increment: int) -> bytes:
    """Leave to send `increment` bytes more on `stream`, or on the connection where that is 0."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst_stream(stream: int, code: Code) -> bytes:
    """The end of a stream at once."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def goaway(last: int, code: Code, text: str = "") -> bytes:
    """The end of a connection; streams above `last` were not looked at."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + text.encode()[:256])


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Numbers and values in their order. Raises ConnectionFault for a length that is none of settings."""
    if len(payload) % 6:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    return list(struct.iter_unpack(">HI", payload))


def read_number(payload: bytes, what: str) -> int:
    """The four bytes of a WINDOW_UPDATE or RST_STREAM. Raises ConnectionFault for another length."""
    if len(payload) != 4:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"{what} of {len(payload)} bytes")
    return int.from_bytes(payload, "big")


def check_other(kind: int, stream: int, payload: bytes) -> None:
    """Hold a frame that means nothing to us against the rules: priorities and extensions are ignored.

    Raises ConnectionFault.
    """
    if kind in {PUSH_PROMISE, CONTINUATION}:
        raise ConnectionFault(Code.PROTOCOL_ERROR, f"a frame of type {kind} where none may be")
    if kind == PRIORITY and stream == 0:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "PRIORITY on stream 0")
    if kind == PRIORITY and len(payload) != 5:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding. Raises ConnectionFault when there is more of that."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(Code.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that no table remembers (RFC 7541, section 6.2.2): what is sent then needs no state."""
    return b"\x00" + _length(len(name)) + name + _length(len(value)) + value


def _length(length: int) -> bytes:
    """An integer with a prefix of seven bits, without Huffman's code."""
    if length < 127:
        return bytes((length,))
    rest = length - 127
    out = bytearray((127,))
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)
