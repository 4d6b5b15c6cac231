"""Messages of gRPC as they travel, and the header blocks around them. Pure."""

import zlib
from collections import deque
from urllib.parse import quote_from_bytes

from mooring_runtime.errors import BodyTooLarge, InvalidRequest, RequestError, UnknownEncoding
from mooring_runtime.frontends.grpc.frames import literal
from mooring_runtime.frontends.grpc.h2send import Part
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import SessionCall, SessionInfo

_STATUS_200 = b"\x88"
"""`:status: 200` by its place in the static table."""
HEAD = _STATUS_200 + literal(b"content-type", b"application/grpc")
"""The headers of every answer."""
DONE = literal(b"grpc-status", b"0")
"""The trailers of an answer that went well."""
_ACCEPTS = literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
_LONGEST_TEXT = 2048
"""Characters of a status message: clients limit their trailers to 8 KiB, and each character may take three."""
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
WINDOW_BITS = {b"gzip": 31, b"deflate": 15}
"""Compressions that are read, as zlib tells them apart."""
_UNPACKED_OF = 2**16
"""Bytes of a compressed message that are unpacked before the next ones."""
_UNPACKED_AT_ONCE = 2**20
"""Bytes unpacked between two looks at the limit."""
_SMALL_PIECE = 4096
"""Bytes below which a piece of a message takes more memory alone than together with others."""


class Reader:
    """Cuts messages out of what arrives: `size` bytes are here, `need` must be for the next one, `total` ever came."""

    __slots__ = ("_at", "_limit", "_pieces", "need", "size", "total")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: deque[bytes | bytearray] = deque()
        self._at = 0
        """Bytes of the first piece that were taken: to copy the rest for each message would take for ever."""
        self.size = self.total = 0
        self.need = 5

    def feed(self, data: bytes) -> None:
        """Add bytes; small pieces are put together, each would take more memory than it holds."""
        pieces = self._pieces
        self.size += len(data)
        self.total += len(data)
        if len(data) >= _SMALL_PIECE or not pieces:
            pieces.append(data)
        elif isinstance(pieces[-1], bytearray) and len(pieces[-1]) < 16 * _SMALL_PIECE:
            pieces[-1] += data
        else:
            pieces.append(bytearray(data))

    def check(self) -> bool:
        """Whether a message is whole. Raises BodyTooLarge as soon as its length is known."""
        if self.size < self.need:
            return False
        if self.need == 5:
            pieces, at = self._pieces, self._at
            while len(pieces[0]) - at < 5:
                pieces.appendleft(pieces.popleft()[at:] + pieces.popleft())
                self._at = at = 0
            length = int.from_bytes(pieces[0][at + 1 : at + 5], "big")
            if length > self._limit:
                raise BodyTooLarge(
                    f"a message of {length} bytes, the limit is {self._limit} (MOORING_GRPC_MAX_MESSAGE_BYTES)"
                )
            self.need = length + 5
        return self.size >= self.need

    def next(self) -> bytes | None:
        """The next message with its five bytes, when it is whole. Raises BodyTooLarge."""
        if not self.check():
            return None
        need, self.need = self.need, 5
        self.size -= need
        pieces, at = self._pieces, self._at
        first = pieces[0]
        end = at + need
        if end < len(first):
            self._at = end
            return bytes(first[at:end])
        self._at = 0
        if not self.size:
            whole = bytes(first if len(pieces) == 1 else b"".join(pieces))
            pieces.clear()
            return whole[at:]
        taken = []
        while need:
            piece = pieces.popleft()
            left = len(piece) - at
            if left > need:
                pieces.appendleft(piece)
                self._at = at + need
            taken.append(memoryview(piece)[at : at + need])
            need -= min(left, need)
            at = 0
        return b"".join(taken)


def framed(message: Part) -> bytes:
    """A message with the five bytes before it."""
    return b"".join((b"\0", len(message).to_bytes(4, "big"), message))


def head_of(info: SessionInfo) -> bytes:
    """The headers of the answer to a step of a session."""
    return HEAD + b"".join([literal(name.lower(), value) for name, value in sessions.headers(info)])


def trailers(error: RequestError, call: SessionCall | None = None, *, begun: bool = False) -> bytes:
    """The header block of a call's end: the code, the words, and the cause for machines.

    To a step of a session, `call`, it tells more, see `sessions.about`; `begun`: the data plane had it.
    """
    text = str(error)[:_LONGEST_TEXT]
    block = [
        literal(b"grpc-status", b"%d" % error.grpc_code),
        literal(b"grpc-message", quote_from_bytes(text.encode(errors="replace"), _PLAIN).encode()),
        literal(b"mooring-cause", error.cause.encode()),
    ]
    for name, value in sessions.about(error, call, begun=begun).items():
        if name != "cause":
            block.append(literal(b"mooring-%b" % name.encode(), sessions.in_header(str(value))))
    if isinstance(error, UnknownEncoding):
        block.append(_ACCEPTS)
    return b"".join(block)


def unpacked(framed_message: bytes, bits: int, limit: int) -> bytes:
    """A compressed message as if it had come plain.

    Raises InvalidRequest, and BodyTooLarge as soon as more than `limit` bytes are unpacked.
    """
    unpacker = zlib.decompressobj(bits)
    packed = memoryview(framed_message)[5:]
    pieces = [b""]
    size = 0
    try:
        for start in range(0, len(packed), _UNPACKED_OF):  # In parts, since zlib copies what it leaves of each.
            rest: bytes | memoryview = packed[start : start + _UNPACKED_OF]
            piece = b""
            while not unpacker.eof and (rest or len(piece) == _UNPACKED_AT_ONCE):
                piece = unpacker.decompress(rest, _UNPACKED_AT_ONCE)
                rest = unpacker.unconsumed_tail
                size += len(piece)
                if size > limit:
                    raise BodyTooLarge(
                        f"a message of over {limit} bytes when unpacked, the limit "
                        "(the lower of MOORING_MAX_BODY_BYTES and MOORING_GRPC_MAX_MESSAGE_BYTES)"
                    )
                pieces.append(piece)
    except zlib.error as error:
        raise InvalidRequest(f"a compressed message cannot be unpacked: {error}") from None
    if not unpacker.eof:
        raise InvalidRequest("a compressed message ends too early")
    pieces[0] = b"\0" + size.to_bytes(4, "big")
    return b"".join(pieces)
