"""Compressed bodies, both ways: gzip and deflate. Pure.

`deflate` is the zlib format, as the standard says and tritonclient sends.
"""

import zlib

from mooring_runtime.errors import BodyTooLarge, MalformedHttp, UnknownEncoding
from mooring_runtime.frontends.http.messages import Part

_WINDOW = {b"gzip": zlib.MAX_WBITS | 16, b"x-gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}
_LEVEL = 1
"""Fastest: tensors of floats hardly shrink whatever the effort."""


class Inflater:
    """Decompresses one body as it arrives, and never makes more than `limit` bytes of it."""

    def __init__(self, coding: bytes, limit: int) -> None:
        """Raises UnknownEncoding for a `Content-Encoding` other than gzip and deflate."""
        window = _WINDOW.get(coding.strip().lower())
        if window is None:
            shown = coding.decode("latin-1")
            raise UnknownEncoding(f"Content-Encoding '{shown}' is not understood; send gzip, deflate or none")
        self._window = window
        self._stream = zlib.decompressobj(window)
        self._limit = limit
        self._left = limit
        self._started = False

    def feed(self, data: bytes) -> bytes:
        """The bytes that `data` adds. Raises BodyTooLarge past the limit, MalformedHttp for what is no such stream."""
        inflated = []
        while data:
            if self._stream.eof:  # gzip allows several members one after another.
                self._stream = zlib.decompressobj(self._window)
            try:
                piece = self._stream.decompress(data, self._left + 1)
            except zlib.error as error:
                raise MalformedHttp(f"the body is not what Content-Encoding says: {error}") from None
            self._left -= len(piece)
            if self._left < 0:
                raise BodyTooLarge(f"the body passes the limit of {self._limit} bytes when it is decompressed")
            inflated.append(piece)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        self._started = True
        return b"".join(inflated)

    def finish(self) -> None:
        """The body has ended. Raises MalformedHttp when the stream has not."""
        if self._started and not self._stream.eof:
            raise MalformedHttp("the compressed body ends too early")


def accepted(header: bytes) -> bytes | None:
    """The coding for a reply to a request with this `Accept-Encoding`: gzip, deflate, or None for neither."""
    weights: dict[bytes, float] = {}
    for item in header.lower().split(b","):
        name, _, parameters = item.partition(b";")
        weights[name.strip()] = _weight(parameters)
    rest = weights.get(b"*", 0.0)
    choices = [(weights.get(coding, rest), coding) for coding in (b"gzip", b"deflate")]
    best, coding = max(choices, key=lambda choice: choice[0])
    return coding if best > 0 else None


def _weight(parameters: bytes) -> float:
    key, _, value = parameters.strip().partition(b"=")
    if key.strip() != b"q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def deflate(coding: bytes, parts: tuple[Part, ...]) -> bytes:
    """All parts as one compressed body."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[coding])
    return b"".join([*map(stream.compress, parts), stream.flush()])
