"""The session of an HTTP request: its headers and its cookie, and what the headers of the reply say.

The cookie `mooring-session` is for browsers, which send it unasked: a model without state ignores it, and a request for
a `new` session is no step of the one in the cookie.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import BadSession
from mooring_runtime.frontends.http.messages import Head, Headers, Reply, error_reply
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import Fitted, InferRequest, ModelMetadata, SessionCall, SessionInfo

COOKIE = b"mooring-session"
Decode = Callable[[ModelMetadata], InferRequest | Fitted]
"""Reads a body; raises InvalidRequest. A part of the session may stand in `InferRequest.session`."""
_new = tuple.__new__
_USUAL = re.compile(rb"(?!0$|new$)[0-9A-Za-z._-]{1,100}")
_OTHERS = frozenset(sessions.HEADERS) - {b"x-mooring-session"} | {b"cookie"}
_NEXT = (False, False, False, None, None)
"""What a call says, beside the id, of the next step."""


class Named(NamedTuple):
    """What a head says of a session."""

    call: SessionCall | None
    """In its headers."""
    cookie: bytes = b""
    """The value of its cookie."""
    alone: bool = False
    """`call` is all that its requests say of their session, unless their bodies say more; it is not a new one."""


def of(head: Head) -> Named | None:
    """What a head says, found out once for all requests that share it. Raises BadSession."""
    found = head.session
    if found is False:
        name = head.headers.get(b"x-mooring-session")
        if name is not None and _USUAL.fullmatch(name) and _OTHERS.isdisjoint(head.headers):
            # As nearly all are; with many sessions there is a head for each.
            found = head.session = _new(Named, (_new(SessionCall, (name.decode(), *_NEXT)), b"", True))
            return found
        call = sessions.from_headers(head.headers)
        cookies = head.headers.get(b"cookie")
        cookie = b"" if cookies is None else _cookie(cookies)
        alone = call is not None and call.id != "" and not cookie
        found = head.session = Named(call, cookie, alone) if call is not None or cookie else None
    return found


def _cookie(cookies: bytes) -> bytes:
    """The value of ours in a Cookie header, or nothing."""
    for each in cookies.split(b";"):
        name, _, value = each.strip().partition(b"=")
        if name == COOKIE:
            return value
    return b""


def refusal(head: Head, error: RequestError, *, begun: bool = False) -> Reply:
    """The reply of an error to a request of which no more is known than its head; `begun`: perhaps it was a step."""
    try:
        named = of(head)
    except BadSession:
        named = None
    return error_reply(error, None if named is None else named.call, begun=begun)


class Naming:
    """The session of one request, from its head to its reply. `foreign`: what the headers of another protocol say."""

    __slots__ = ("_begun", "_cookie", "_foreign", "_head", "call")

    def __init__(self, head: Head, foreign: SessionCall | None = None) -> None:
        self._head: Head | None = head
        """None when all that the request says is known."""
        self._foreign = foreign
        self._begun = self._cookie = False
        self.call: SessionCall | None = None
        """What all of the request says of its session."""

    def decode(self, metadata: ModelMetadata, read: Decode) -> InferRequest | Fitted:
        """What `read` makes of the request, as a step of the session that its parts name together.

        Raises what `read` does, and BadSession.
        """
        try:
            request = read(metadata)
        except RequestError as error:
            if metadata.state is not None and error.applied is None:
                error.applied = "no"
            raise
        return self.settled(metadata, request)

    def begin(self, call: SessionCall) -> None:
        """The data plane has the request, of whose session `call` is all that it says."""
        self.call, self._head, self._begun = call, None, True

    def settled(self, metadata: ModelMetadata, request: InferRequest | Fitted) -> InferRequest | Fitted:
        """The request, which was read, as a step of its session. Raises BadSession."""
        assert self._head is not None
        named = of(self._head)
        call = self._foreign if named is None else sessions.joined(named.call, self._foreign)
        if type(request) is InferRequest:
            call = sessions.joined(call, request.session)
        if metadata.state is None:
            sessions.settled(metadata, call)
            self._head = None
            return request
        cookie = b"" if named is None else named.cookie
        if cookie and not (call is not None and call.new):
            call = sessions.joined(call, sessions.named(sessions.id_in_header("the cookie mooring-session", cookie)))
        self.call = call = sessions.settled(metadata, call)
        self._head = None
        self._begun = True
        self._cookie = bool(cookie) or (call is not None and call.new)
        return _with(metadata, request, call)

    def tell(self, reply: Reply, info: SessionInfo | None) -> Reply:
        """The reply with what its headers say of the session."""
        return reply if info is None else reply._replace(headers=reply.headers + self.headers(info))

    @property
    def usual(self) -> bool:
        """Whether a reply tells nothing but what `sessions.usual` does."""
        return not self._cookie and type(self) is Naming

    def headers(self, info: SessionInfo) -> Headers:
        """What the headers of a reply say; the cookie is set for who uses it, and for who has asked for a new id."""
        told = sessions.headers(info)
        if not self._cookie:
            return told
        end = b"; Max-Age=0" if info.ended else b""
        cookie = b"%b=%b; Path=/; HttpOnly; SameSite=Lax%b" % (COOKIE, sessions.in_header(info.id), end)
        return (*told, (b"Set-Cookie", cookie))

    def refuse(self, error: RequestError) -> Reply:
        """The reply of an error."""
        return error_reply(error, self._known(), begun=self._begun)

    def about(self, error: RequestError) -> dict[str, str | int]:
        """What an error that has no reply of its own says for programs."""
        return sessions.about(error, self._known(), begun=self._begun)

    def _known(self) -> SessionCall | None:
        return self.call if self._head is None else self._said(self._head)

    def _said(self, head: Head) -> SessionCall | None:
        """What the head says of a request that was not decoded, or not to the end."""
        try:
            named = of(head)
        except BadSession:
            return self._foreign
        return self._foreign if named is None or named.call is None else named.call


def _with(metadata: ModelMetadata, request: InferRequest | Fitted, call: SessionCall | None) -> InferRequest:
    """The request with its session. What was read quickly says nothing but tensors, and becomes a whole request."""
    if type(request) is InferRequest:
        found: InferRequest = _new(InferRequest, (*request[:6], call))
        return found
    assert type(request) is Fitted
    return request.whole(metadata)._replace(session=call)
