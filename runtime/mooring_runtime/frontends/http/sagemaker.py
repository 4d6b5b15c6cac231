"""The routes of a SageMaker container: `/ping` and `/invocations`. TorchServe has them too, with the same meaning."""

from datetime import UTC, datetime
from typing import Any

from mooring_runtime.frontends.http.any_body import AnyBody
from mooring_runtime.frontends.http.messages import Headers, Request, Respond, json_reply
from mooring_runtime.frontends.http.naming import Naming
from mooring_runtime.frontends.http.router import Found
from mooring_runtime.frontends.http.services import Route, Services
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import SessionCall, SessionInfo
from mooring_runtime.scheduling import Ticket
from mooring_runtime.sessions.keys import MINTED

_SESSION = b"x-amzn-sagemaker-session-id"
_OPEN = b"NEW_SESSION"
_NEVER = 253_402_300_799_000
"""The last second that has a date of four digits."""
_TARGET_MODEL = b"x-amzn-sagemaker-target-model"
_ARCHIVE = ".tar.gz"
"""What a multi-model endpoint's client names is the archive that holds the model."""


class SageMaker:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """The table of the protocol."""
        return [("GET", "/ping", self._ping), ("POST", "/invocations", self._invoke)]

    def _ping(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        reason = self._services.plane.not_ready()
        if reason is None:
            respond(json_reply(200, {"status": "Healthy"}))
        else:
            respond(json_reply(503, {"status": "Unhealthy", "error": f"not ready: {reason}"}))

    def _invoke(self, _found: Found[Any], request: Request, respond: Respond) -> Ticket | None:
        target = request.headers.get(_TARGET_MODEL, b"").decode(errors="replace")
        name = target.removesuffix(_ARCHIVE) if target else self._services.default_model()
        call = AnyBody(request, respond, _Session(request))
        return self._services.plane.infer(name, None, call.decode, call.reply)


class _Session(Naming):
    """The session in SageMaker's header, and what its platform wants to know of one that begins or ends."""

    def __init__(self, request: Request) -> None:
        """Raises BadSession."""
        given = request.headers.get(_SESSION)
        if given is None:
            call = None
        elif given == _OPEN:
            call = SessionCall("", new=True)
        else:
            call = sessions.named(meant(sessions.id_in_header("X-Amzn-SageMaker-Session-Id", given)))
        super().__init__(request.head, call)

    def headers(self, info: SessionInfo) -> Headers:
        told = super().headers(info)
        session = spelled(info.id)
        if self.call is not None and self.call.new:
            told += ((b"X-Amzn-SageMaker-New-Session-Id", b"%b; Expires=%b" % (session, _expiry(info.expires))),)
        if info.ended:
            told += ((b"X-Amzn-SageMaker-Closed-Session-Id", session),)
        return told


def spelled(session: str) -> bytes:
    """An id as SageMaker takes it: letters, digits and `-`. The dot of an id that we made becomes such a one."""
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
