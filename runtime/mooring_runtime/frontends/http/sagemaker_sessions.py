"""SageMaker's sessions: their header, what the platform is told of them, and requests that only open or close one.

The platform routes by ids that the container makes, and takes ids of letters, digits and `-` alone. So it gets the dot
of an id that we made as such a one.
"""

import time
from datetime import UTC, datetime
from urllib.parse import quote

import orjson

from mooring_runtime.errors.sessions import BadSession
from mooring_runtime.frontends.http.messages import Head, Headers, Reply, Request, Respond, json_reply
from mooring_runtime.frontends.http.naming import Naming
from mooring_runtime.frontends.http.router import Router
from mooring_runtime.frontends.http.services import Answer, Route, Services
from mooring_runtime.frontends.http.session_access import Access, Right
from mooring_runtime.frontends.http.session_paths import NoSessions
from mooring_runtime.frontends.shown import shown
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import SessionCall, SessionInfo
from mooring_runtime.scheduling import Ticket
from mooring_runtime.sessions.keys import MINTED

HEADER = b"x-amzn-sagemaker-session-id"
_OPEN, _CLOSE = "NEW_SESSION", "CLOSE"
_WISH = "requestType"
_LONGEST_WISH = 256
"""Bytes of a body that is nothing but a wish, with room for spaces."""
_NEVER = 253_402_300_799_000
"""The last second that has a date of four digits."""


class SageMakerNaming(Naming):
    """The session of a request in SageMaker's header."""

    def __init__(self, request: Request) -> None:
        """Raises BadSession."""
        super().__init__(request.head, named(request))

    def headers(self, info: SessionInfo) -> Headers:
        """See `Naming`, and what the platform wants to know of a session that begins or ends."""
        return super().headers(info) + told(info, new=self.call is not None and self.call.new)


def named(request: Request) -> SessionCall | None:
    """What SageMaker's header says. Raises BadSession."""
    given = request.headers.get(HEADER)
    if given is None:
        return None
    if given == _OPEN.encode():
        return SessionCall("", new=True)
    return sessions.named(meant(sessions.id_in_header("X-Amzn-SageMaker-Session-Id", given)))


def told(info: SessionInfo, *, new: bool) -> Headers:
    """What the platform is told."""
    session = spelled(info.id)
    found: Headers = ()
    if new:
        found += ((b"X-Amzn-SageMaker-New-Session-Id", b"%b; Expires=%b" % (session, _expiry(info.expires))),)
    if info.ended:
        found += ((b"X-Amzn-SageMaker-Closed-Session-Id", session),)
    return found


def spelled(session: str) -> bytes:
    """An id as SageMaker takes it."""
    return sessions.in_header(session.replace(".", "-", 1) if MINTED.fullmatch(session) else session)


def meant(session: str) -> str:
    """The id that `spelled` was given."""
    dotted = session.replace("-", ".", 1)
    return dotted if MINTED.fullmatch(dotted) else session


def _expiry(expires: int | None) -> bytes:
    """`expires` milliseconds since 1970, in the one form that the platform takes; it must be told one."""
    if expires is None or expires >= _NEVER:
        return b"9999-12-31T23:59:59Z"
    return datetime.fromtimestamp(expires // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


# --- requests without a step


def wish_of(request: Request) -> str | None:
    """`NEW_SESSION` or `CLOSE`, where the body is `{"requestType": ...}` and nothing else; None for a step.

    Raises BadSession for another wish.
    """
    if HEADER not in request.headers or len(request.body) > _LONGEST_WISH or _WISH.encode() not in request.body:
        return None
    try:
        document = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return None
    if type(document) is not dict or list(document) != [_WISH]:
        return None
    wish = document[_WISH]
    if type(wish) is not str or wish not in (_OPEN, _CLOSE):
        raise BadSession(f"{_WISH} is {shown(wish)}, it must be {_OPEN} or {_CLOSE}")
    return wish


class Desk:
    """Opens and closes sessions by the routes of /v2/sessions, at whatever replica they are."""

    def __init__(self, services: Services) -> None:
        self._routes: Router[Answer] = Router(*_table(services))

    def answer(self, wish: str, model: str, request: Request, respond: Respond) -> Ticket | None:
        """Do what is wished. Raises BadSession where the header does not fit it, and what the routes raise."""
        call = named(request)
        opens = wish == _OPEN
        if call is None or call.new != opens:
            fits = f"be {_OPEN}" if opens else "name the session"
            raise BadSession(f"{_WISH} is {wish}, so X-Amzn-SageMaker-Session-Id must {fits}")
        if opens:
            target, body = b"/v2/sessions", orjson.dumps({"model": model})
        else:
            target, body = b"/v2/sessions/%b/end?model=%b" % (_in_path(call.id), _in_path(model)), b""

        def done(reply: Reply) -> None:
            respond(_opened_or_closed(reply, opens=opens) if reply.status in (200, 201) else reply)

        found = self._routes.find(b"POST", target)
        return found.handler(found, Request(Head(b"POST", target, {}), body), done)


def _table(services: Services) -> list[Route]:
    if services.sessions is None:
        return NoSessions().routes()
    from mooring_runtime.frontends.http.sessions import Sessions  # noqa: PLC0415 - see `session_paths`

    # Who may take the steps of a session may also begin and end it, without the token of the API.
    return Sessions(services.sessions, Access(Right.FULL, None)).routes()


def _in_path(text: str) -> bytes:
    return quote(text, safe="").encode()


def _opened_or_closed(reply: Reply, *, opens: bool) -> Reply:
    document = orjson.loads(b"".join(reply.body))
    left = document["expires_in_seconds"]
    expires = None if left is None else round((time.time() + left) * 1000)
    info = SessionInfo(document["id"], document["step"], int(document["incarnation"]), ended=not opens, expires=expires)
    headers = sessions.headers(info) + told(info, new=opens)
    return json_reply(200, {"session": document["id"], "state": document["state"]}, headers)
