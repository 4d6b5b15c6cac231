"""The peer port: what other replicas and the operator say, as HTTP.

    PUT  /membership   a membership record; the answer is this replica's report        GET /membership: the report alone
    POST /step         a client's request that was passed on
    POST /absent       questions about sessions      POST /offer, /take: sessions that are handed over

Who speaks must show the token of MOORING_PEER_TOKEN_FILE. The envelope stands in headers: X-Mooring-From (the sender's
ordinal; the operator has none), X-Mooring-To and X-Mooring-Store (who is meant; another one answers 421), and
X-Mooring-Epoch (of the sender's record). A step is answered with 200 whatever becomes of it, and its outcome is in the
body: every other status says that nothing was done, but for 500.
"""

import asyncio
import logging
from typing import Final

from mooring_runtime.dataplane import DataPlane
from mooring_runtime.errors import InferenceFailed, InvalidRequest, RequestError
from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.frontends.http.answers import Later
from mooring_runtime.frontends.http.messages import OCTETS, Handler, Head, Reply, Request, Respond, answer, json_reply
from mooring_runtime.frontends.http.router import Router
from mooring_runtime.frontends.http.session_access import TokenFile
from mooring_runtime.messages import InferResponse
from mooring_runtime.scheduling import Ticket
from mooring_runtime.sessions import messages, passing
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.messages import Answer, Behind, Envelope
from mooring_runtime.sessions.receiving import Receiver

log = logging.getLogger(__name__)

FROM: Final = b"x-mooring-from"
TO: Final = b"x-mooring-to"
STORE: Final = b"x-mooring-store"
EPOCH: Final = b"x-mooring-epoch"


class Unauthorized(RequestError):  # noqa: N818 - named by what happened, as in `errors`
    """Who speaks has not shown the token. Nothing is done."""

    http_status = 401
    grpc_code = GrpcCode.UNAUTHENTICATED
    cause = "unauthorized"


class PeerHandler:
    """The handler of the peer port; `beyond` answers what is none of the messages, to those who have the token."""

    def __init__(
        self,
        plane: DataPlane,
        membership: Membership,
        receiver: Receiver,
        token: TokenFile,
        beyond: Handler | None = None,
    ) -> None:
        self._plane = plane
        self._membership = membership
        self._receiver = receiver
        self._token = token
        self._beyond = beyond
        self._later = Later()
        routes = [("POST", path, path) for path in messages.PATHS.values() if path != "/membership"]
        self._router: Router[str] = Router(
            ("PUT", "/membership", "/membership"), ("GET", "/membership", "report"), ("POST", "/step", "/step"), *routes
        )

    def __call__(self, request: Request, respond: Respond) -> Ticket | None:
        """Answer one message. Raises RequestError."""
        head = request.head
        found: tuple[str, bytes, Envelope] | None = head.route
        if found is None:
            found = head.route = self._read(head)
        path, given, envelope = found
        if not self._token.matches(given):
            raise Unauthorized("the peer port wants `Authorization: Bearer` with the token of MOORING_PEER_TOKEN_FILE")
        if path == "/step":
            return self._step(envelope, request, respond)
        if path == "report":
            self._later.answer(respond, self._report())
        elif path:
            self._later.answer(respond, self._answer(path, envelope, request.body))
        elif self._beyond is not None:
            head.route = None  # It keeps what it has found out in the same place.
            ticket = self._beyond(request, respond)
            head.route = found
            return ticket
        return None

    def _read(self, head: Head) -> tuple[str, bytes, Envelope]:
        """What a head says: the message's path (empty: none), the token, the envelope."""
        path = ""
        if self._beyond is None or not head.target.startswith(b"/v2/"):
            path = self._router.find(head.method, head.target).handler
        scheme, _, given = head.headers.get(b"authorization", b"").partition(b" ")
        envelope = Envelope(
            _number(head, EPOCH) or 0,
            _number(head, FROM),
            _number(head, TO),
            head.headers.get(STORE, b"").decode("latin-1"),
        )
        return path, given.strip() if scheme.lower() == b"bearer" else b"", envelope

    def _step(self, envelope: Envelope, request: Request, respond: Respond) -> Ticket | None:
        if self._receiver.behind(envelope):
            respond(answer((messages.encode_answer(Answer(self._membership.epoch, None, Behind())),)))
            return None
        try:
            step = passing.decode_step(request.body)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        epoch = ((EPOCH, b"%d" % self._membership.epoch),)

        def reply(outcome: InferResponse | RequestError) -> None:
            try:
                body = passing.encode_outcome(outcome)
            except Exception as error:  # Else the replica that asks, and its client, would wait for ever.
                log.exception("cannot write what became of a step of model '%s'", step.model)
                failure = InferenceFailed(f"cannot write the answer: {type(error).__name__}: {error}")
                failure.applied = outcome.applied if isinstance(outcome, RequestError) else "yes"
                body = passing.encode_outcome(failure)
            respond(answer((body,), OCTETS, epoch))

        asked = step.request
        if step.left is not None:
            asked = asked._replace(timeout=step.left if asked.timeout is None else min(step.left, asked.timeout))
        return self._plane.infer(step.model, step.version, lambda _: asked, reply, passed_on=True)

    async def _answer(self, path: str, envelope: Envelope, body: bytes) -> Reply:
        try:
            if path == messages.PATHS[messages.Take]:  # States are large, and each is checked.
                message = await asyncio.to_thread(messages.decode, path, body)
            else:
                message = messages.decode(path, body)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        return answer((messages.encode_answer(await self._receiver.answer(envelope, message)),))

    async def _report(self) -> Reply:
        return json_reply(200, messages.report_document(await self._membership.report()))


def _number(head: Head, name: bytes) -> int | None:
    value = head.headers.get(name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 15:
        raise InvalidRequest(f"header {name.decode()} is {value.decode('latin-1')!r}, it must be a whole number")
    return int(value)
