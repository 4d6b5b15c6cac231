"""An HTTP request as a handler gets it, and the reply that it gives; how replies become bytes."""

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson

from mooring_runtime.dataplane.observer import Watch
from mooring_runtime.errors import MethodNotAllowed, RequestError
from mooring_runtime.frontends.shown import cut
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import SessionCall
from mooring_runtime.scheduling import Ticket

if TYPE_CHECKING:
    from mooring_runtime.frontends.http.naming import Named

JSON = b"application/json"
"""Exactly this, without a charset: the kserve client parses an error body only then."""
OCTETS = b"application/octet-stream"

Part = bytes | memoryview
Headers = tuple[tuple[bytes, bytes], ...]


class Head:
    """The head of a request. `headers` has lower-case names; of a repeated header the values stand with commas between.

    `keep_alive` false: the client sends no other request on this connection; `modern`: it speaks HTTP/1.1, not 1.0.
    Requests whose heads are byte for byte the same share one object, so nobody changes it; `route` is what the handler
    has found out about it, for the next time, `total` the bytes of such a request, and `session` the session that it
    names: False before that was looked at, None when there is none.
    """

    __slots__ = ("headers", "keep_alive", "method", "modern", "plain", "route", "session", "target", "total")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: dict[bytes, bytes],
        *,
        keep_alive: bool = True,
        modern: bool = True,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.keep_alive = keep_alive
        self.modern = modern
        self.plain = method != b"HEAD" and b"accept-encoding" not in headers
        """The answer is a body as it is."""
        self.route: Any = None
        self.session: Named | Literal[False] | None = False
        self.total = 0


class Request:
    """A complete request; `watch` is set where requests are watched."""

    __slots__ = ("body", "head", "watch")

    def __init__(self, head: Head, body: bytes) -> None:
        self.head = head
        self.body = body
        self.watch: Watch | None = None

    @property
    def method(self) -> bytes:
        """GET, POST and so on."""
        return self.head.method

    @property
    def target(self) -> bytes:
        """The path and what follows it, as sent."""
        return self.head.target

    @property
    def headers(self) -> dict[bytes, bytes]:
        """By lower-case name."""
        return self.head.headers

    @property
    def keep_alive(self) -> bool:
        """False: the client sends no other request on this connection."""
        return self.head.keep_alive

    @property
    def modern(self) -> bool:
        """The client speaks HTTP/1.1, not 1.0."""
        return self.head.modern


class Reply(NamedTuple):
    """What a handler answers. `body` is sent part after part; nobody may change a part afterwards."""

    status: int
    body: tuple[Part, ...] = ()
    content_type: bytes = JSON
    headers: Headers = ()
    more: bool = False
    """The handler will respond again, to the same request, with the next piece of the body; of those later replies only
    `body` and `more` count. The client gets each piece at once."""
    as_is: bool = False
    """Never compressed, whatever the client accepts."""
    lines: bytes = b""
    """More headers, as whole lines: quicker for those that each answer has."""

    def coded(self, coding: bytes, body: bytes) -> "Reply":
        """The same with its body as `coding` makes it."""
        headers = ((b"Content-Encoding", coding), (b"Vary", b"Accept-Encoding"))
        return self._replace(body=(body,), headers=self.headers + headers)


def answer(body: tuple[Part, ...], content_type: bytes = JSON, headers: Headers = (), lines: bytes = b"") -> Reply:
    """A reply of status 200, made in half the time that the constructor takes."""
    return tuple.__new__(Reply, (200, body, content_type, headers, False, False, lines))


Respond = Callable[[Reply], None]
"""Called once, or until a reply without `more`."""
Handler = Callable[[Request, Respond], Ticket | None]
"""Answers a request by its second argument, now or later; later it may have returned a ticket that takes it back."""


def json_reply(status: int, document: object, headers: Headers = ()) -> Reply:
    """A reply whose body is `document` as JSON; for all that is no answer of a model.

    It is not compressed: tritonclient.http.aio says that it accepts gzip, and understands it in answers to infer alone.
    """
    return Reply(status, (orjson.dumps(document),), JSON, headers, as_is=True)


_LONGEST_ERROR = 4096
"""Characters of the sentence that a client is told: it may name what the client itself called by millions of them."""


def error_reply(error: RequestError, call: SessionCall | None = None, *, begun: bool = False) -> Reply:
    """`{"error": message}` with the code of the error's class.

    To a step of a session, `call`, it tells more for programs, see `sessions.about`; `begun`: the data plane had it.
    """
    headers: Headers = ()
    if error.retry_after is not None:
        headers = ((b"Retry-After", str(error.retry_after).encode()),)
    if isinstance(error, MethodNotAllowed):
        headers = ((b"Allow", error.allowed.encode()),)
    document: dict[str, str | int] = {"error": cut(str(error), _LONGEST_ERROR)}
    document.update(sessions.about(error, call, begun=begun))
    return json_reply(error.http_status, document, headers)


_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus} | {499: b"Client Closed Request"}
_JOIN_BELOW = 64 * 1024
"""Bytes of a body below which copying it beside its head is cheaper than a second write."""
_heads: dict[tuple[int, bytes], bytes] = {}


class _Starts(dict[bytes, bytes]):
    """By content type: how an answer of status 200 begins, up to the number of its bytes."""

    def __missing__(self, content_type: bytes) -> bytes:
        start = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: " % content_type
        if len(self) < _MOST_TYPES:
            self[content_type] = start
        return start


_MOST_TYPES = 64
_OK = _Starts()


def render(reply: Reply, connection: bytes, date: bytes, *, head_only: bool) -> list[Part]:
    """The reply as parts to write, small ones joined. `connection` and `date` are whole header lines, or empty."""
    status, body, content_type, headers, _, _, lines = reply
    if status == 200 and not headers and len(body) == 1 and not head_only and len(body[0]) < _JOIN_BELOW:
        head = b"%b%d\r\n%b%b%b\r\n" % (_OK[content_type], len(body[0]), lines, connection, date)
        return [b"".join((head, body[0]))]
    start = _heads.get((status, content_type))
    if start is None:
        start = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: " % (
            status,
            _PHRASES.get(status, b"Unknown"),
            content_type,
        )
        _heads[status, content_type] = start
    extra = b"".join([*[b"%s: %s\r\n" % header for header in headers], lines])
    length = sum([len(part) for part in body])
    head = b"%s%d\r\n%s%s%s\r\n" % (start, length, extra, connection, date)
    if head_only:
        return [head]
    return [b"".join((head, *body))] if length < _JOIN_BELOW else [head, *body]


def render_head(reply: Reply, connection: bytes, date: bytes, *, chunked: bool) -> bytes:
    """The head of a reply that comes in pieces; not `chunked`, its end is that of the connection."""
    line = b"HTTP/1.1 %d %s\r\n" % (reply.status, _PHRASES.get(reply.status, b"Unknown"))
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    extra = b"".join([*[b"%s: %s\r\n" % header for header in reply.headers], reply.lines])
    return b"%sContent-Type: %s\r\n%s%s%s%s\r\n" % (line, reply.content_type, framing, extra, connection, date)


def render_piece(reply: Reply, *, chunked: bool) -> bytes:
    """One piece of a body; the last one ends it."""
    data = b"".join(reply.body)
    if not chunked:
        return data
    chunk = b"%x\r\n%s\r\n" % (len(data), data) if data else b""  # An empty chunk would be the end.
    return chunk if reply.more else chunk + b"0\r\n\r\n"
