"""Bytes to requests: httptools, and around it every limit and refusal that HTTP/1.1 asks of a server. No I/O.

Where the chunks of bytes are cut makes no difference to what comes out.

A client sends the same head again and again. The heads of plain requests (no chunks, no coding, nothing to expect) are
therefore kept with what they said, and a request that comes in one piece under a known head is not parsed at all.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import httptools

from mooring_runtime.errors import (
    BodyTooLarge,
    ExpectationFailed,
    HeadTooLarge,
    MalformedHttp,
    RequestError,
    UnknownTransferCoding,
)
from mooring_runtime.frontends.http.coding import Inflater
from mooring_runtime.frontends.http.messages import Head, Request

_HEAD_END = b"\r\n\r\n"
_RARE = frozenset({b"transfer-encoding", b"content-encoding", b"expect"})
_SESSION = b"\r\nX-Mooring-S"
_LINES = re.compile(rb"\r\n(X-Mooring-Session|X-Mooring-Step|X-Mooring-Incarnation): ([!-+\--~]{1,200})(?=\r\n[^ \t])")
"""Lines in which heads of one client differ: what is kept of those is also the rest. A client that numbers its steps
never sends the same head again, and would have those of the others forgotten."""
_LOWER = {name: name.lower() for name in (b"X-Mooring-Session", b"X-Mooring-Step", b"X-Mooring-Incarnation")}
_VARY = frozenset(_LOWER.values())
_KEPT = 1024
"""Heads that are known at once, of all connections; those of clients that never send the same one must not fill the
memory, so when there are more all are forgotten."""
_KEPT_BYTES = 1024
"""Of the largest head that is kept."""
_SMALL = 4096
"""Bytes of a piece of a body below which it joins the one before: an object for each chunk of two bytes would take
twenty times their memory."""


_BODY_RATE = 1024
"""Bytes that give a body a second more, so that one which goes on arriving faster has all the time that it needs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask of the server: sizes in bytes, times in seconds."""

    header_bytes: int = 32 * 2**10
    body_bytes: int = 64 * 2**20
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 620.0
    write_timeout: float = 60.0

    def body_ends(self, ends: float, arrived: int, now: float) -> float:
        """When a body must be there that had until `ends`, after `arrived` more bytes of it have come.

        Never more than the whole time from now, else what came quickly would pay for hours of silence.
        """
        return min(ends + arrived / _BODY_RATE, now + self.body_timeout)


class RequestParser:
    """Calls `on_request` with each complete request, `on_expect` where a client waits for leave to send its body.

    After a request that was the connection's last (`keep_alive` false), and after an error, nothing more is parsed.
    """

    def __init__(
        self,
        limits: Limits,
        on_request: Callable[[Request], None],
        on_expect: Callable[[], None],
        known: dict[bytes, Head] | None = None,
    ) -> None:
        """`known` holds the heads that parsers with the same limits have seen."""
        self._limits = limits
        self._known: dict[bytes, Head] = {} if known is None else known
        self._last: Head | None = None
        self._last_raw = b""
        """The known head that came last here, and its bytes."""
        self._complete: list[Head] = []
        """Heads of the requests that the bytes under way have completed."""
        self._on_request = on_request
        self._on_expect = on_expect
        self._parser = httptools.HttpRequestParser(self)
        self._over = False
        self.in_message = self.in_body = False
        self.expecting = False
        """The client waits for `100 Continue` before it sends the body."""
        self._unparsed = 0
        """Bytes fed since the last event: httptools keeps an unfinished line to itself, whatever its length."""
        self.stage = 0
        """Grows with every head and every body that begins: a limit of time starts anew."""
        self._forget()

    def _forget(self) -> None:
        self.in_body = self.expecting = False
        self.body_size = 0
        self._modern = True
        self._method = self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_size = 0
        self._body: list[bytes | bytearray] = []
        self._inflater: Inflater | None = None

    def feed(self, data: bytes | memoryview) -> None:
        """Parse on; what a request begins in is `bytes`. Raises the RequestError to answer before the connection is
        closed.
        """
        if self._over:
            return
        fresh = not self.in_message
        if fresh and type(data) is bytes and self.feed_known(data):
            return
        self._complete.clear()
        self._unparsed += len(data)
        try:
            self._feed(data)
            if self.in_message:
                # A header, trailer or chunk extension that never ends would otherwise be held without bound.
                self._bound_head(self._unparsed)
            elif fresh and len(self._complete) == 1 and type(data) is bytes:
                self._keep(self._complete[0], data)
        except RequestError:
            self._over = True
            self._body = []
            raise

    def feed_known(self, data: bytes) -> bool:
        """Take what is one whole request under a known head, and nothing else; false: it is something else."""
        if self._over or self.in_message:
            return False
        last, raw = self._last, self._last_raw
        if last is not None and last.total == len(data) and data.startswith(raw):
            self._on_request(Request(last, data[len(raw) :]))
            return True
        size = data.find(_HEAD_END) + 4
        known = self._known.get(data[:size])
        if known is None and _SESSION in data:
            known = self._varied(data, size)
        if known is None or known.total != len(data):
            return False
        self._last, self._last_raw = known, data[:size]
        self._on_request(Request(known, data[size:]))
        return True

    def _keep(self, head: Head, data: bytes) -> None:
        """Remember the head of a request that is just these bytes."""
        size = data.find(_HEAD_END) + 4
        if not head.keep_alive or size > _KEPT_BYTES or not _RARE.isdisjoint(head.headers):
            return
        if size + int(head.headers.get(b"content-length", b"0")) != len(data) or data.startswith((b"\r", b"\n")):
            # Empty lines before it, say: with them known, a line of a session could stand before the request's own.
            return
        if _SESSION in data:
            said = {name.lower(): value for name, value in _LINES.findall(data[:size])}
            # Else one of them is there twice, or in another form too, and stays in what is left.
            if said and said == {name: value for name, value in head.headers.items() if name in _VARY}:
                bare = _LINES.sub(b"", data[:size])
                headers = {name: value for name, value in head.headers.items() if name not in _VARY}
                rest = Head(head.method, head.target, headers, modern=head.modern)
                rest.route = head.route
                self._remember(bare, rest, len(data) - size)
        if b"x-mooring-step" not in head.headers:
            self._remember(data[:size], head, len(data) - size)

    def _remember(self, raw: bytes, head: Head, body: int) -> None:
        if len(self._known) >= _KEPT:
            self._known.clear()
        head.total = len(raw) + body
        self._known[raw] = head

    def _varied(self, data: bytes, size: int) -> Head | None:
        """The head of a request that differs from one that was seen in the lines of its session only: each session has
        other ones, and each numbered step.
        """
        raw = data[:size]
        bare = _LINES.sub(b"", raw) if size <= _KEPT_BYTES else raw
        known = self._known.get(bare)
        if known is None or known.total - len(bare) != len(data) - size:
            return None
        headers = known.headers.copy()
        for line, value in _LINES.findall(raw):
            name = _LOWER[line]
            if name in headers:
                return None
            headers[name] = value
        head = Head(known.method, known.target, headers, modern=known.modern)
        head.route = known.route
        if b"x-mooring-step" in headers:
            head.total = len(data)
        else:
            self._remember(raw, head, len(data) - size)
            self._known[bare] = known  # It must not be forgotten with those that are like it.
        return head

    def broken_request(self) -> Request:
        """What is known of the request under way, to answer an error with."""
        return Request(Head(self._method, self._target, self._headers, keep_alive=False, modern=self._modern), b"")

    def _feed(self, data: bytes | memoryview) -> None:
        """Parse on, declining every offer to change the protocol (curl's h2c) as if it had not been made.

        At an offer httptools stops after the head, so a new parser gets that head again without it. A loop over a
        view, for a piece may hold thousands of offers: recursion would overflow, and copies of the rest add up.
        """
        rest = memoryview(data)
        while (offset := self._parse(rest)) is not None:
            rest = rest[offset:]
            # Version and Connection stay: they say whether Host is required and whether the connection goes on.
            line = b"%s %s HTTP/%s\r\n" % (self._method, self._target, self._parser.get_http_version().encode())
            kept = [b"%s: %s\r\n" % item for item in self._headers.items() if item[0] != b"upgrade"]
            self._parser = httptools.HttpRequestParser(self)
            self._parse(b"".join([line, *kept, b"\r\n"]))

    def _parse(self, data: bytes | memoryview) -> int | None:
        """Hand `data` to httptools. Gives how much of it was read when it stopped at an offer to upgrade.

        Never called while an exception is handled: Python would put that one in place of the error's context.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return int(upgrade.args[0])
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, RequestError):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            if not self._over:  # Else: bytes after a request that said it was the last.
                raise MalformedHttp(f"this is not HTTP/1.1: {error}") from None
        return None

    # --- httptools' events; what one raises comes out of its feed_data as the context of a callback error

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._forget()
        self.in_message = True
        self._unparsed = 0
        self.stage += 1

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._unparsed = 0
        self._target += url
        self._head_size += len(url)
        self._bound_head(self._head_size)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or after the body a trailer."""
        self._unparsed = 0
        self._head_size += len(name) + len(value) + 4
        if self._head_size > self._limits.header_bytes:
            self._bound_head(self._head_size)
        if self.in_body:
            return
        name = name.lower()
        headers = self._headers
        headers[name] = b"%s, %s" % (headers[name], value) if name in headers else value

    def on_headers_complete(self) -> None:
        """Everything that can be refused without the body is refused here."""
        self.in_body = True
        self._unparsed = 0
        self.stage += 1
        headers = self._headers
        self._method = self._parser.get_method()
        self._modern = self._parser.get_http_version() != "1.0"
        host = headers.get(b"host")
        if self._modern and (host is None or b"," in host):
            raise MalformedHttp("an HTTP/1.1 request must have exactly one Host header")
        if self._method == b"CONNECT":
            raise MalformedHttp("CONNECT is for proxies, and this is none")
        if self._parser.should_upgrade():
            return  # _feed hands the same head in again, and only one of the two may give leave to send.
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._limits.body_bytes:
            raise BodyTooLarge(f"the body has {int(length)} bytes, the limit is {self._limits.body_bytes}")
        if not _RARE.isdisjoint(headers):
            self._rare_headers(headers)

    def _rare_headers(self, headers: dict[bytes, bytes]) -> None:
        transfer = headers.get(b"transfer-encoding")
        if transfer is not None and transfer.strip().lower() != b"chunked":
            shown = transfer.decode("latin-1")
            raise UnknownTransferCoding(f"Transfer-Encoding '{shown}' is not understood; send chunked or none")
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.strip().lower() != b"identity":
            self._inflater = Inflater(encoding, self._limits.body_bytes)
        if b"expect" in headers and self._modern:
            self._expect(headers[b"expect"])

    def on_chunk_header(self) -> None:
        """The end of the line that says how long the next chunk is."""
        self._unparsed = 0

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._unparsed = 0
        self.expecting = False
        self.body_size += len(data)
        if self.body_size > self._limits.body_bytes:
            raise BodyTooLarge(f"the body passes the limit of {self._limits.body_bytes} bytes")
        piece = data if self._inflater is None else self._inflater.feed(data)
        pieces = self._body
        if not pieces or len(piece) >= _SMALL:
            pieces.append(piece)
        elif type(pieces[-1]) is bytearray:
            pieces[-1] += piece
        else:
            pieces.append(bytearray(piece))

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        if self._over or self._parser.should_upgrade():
            return  # _feed hands the same head in again.
        if self._inflater is not None:
            self._inflater.finish()
        pieces = self._body
        body = pieces[0] if len(pieces) == 1 and type(pieces[0]) is bytes else b"".join(pieces)
        self._body = []
        self.in_message = self.in_body = self.expecting = False
        keep_alive = self._parser.should_keep_alive()
        self._over = not keep_alive
        head = Head(self._method, self._target, self._headers, keep_alive=keep_alive, modern=self._modern)
        self._complete.append(head)
        self._on_request(Request(head, body))

    # --- checks

    def _bound_head(self, size: int) -> None:
        if size > self._limits.header_bytes:
            raise HeadTooLarge(
                f"request line, headers and trailers pass the limit of {self._limits.header_bytes} bytes"
            )

    def _expect(self, value: bytes) -> None:
        if value.strip().lower() != b"100-continue":
            raise ExpectationFailed(f"Expect '{value.decode('latin-1')}' is not understood; send 100-continue or none")
        self.expecting = True
        self._on_expect()
