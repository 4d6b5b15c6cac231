"""In place of the data plane, for tests of what front ends say of sessions: keeps each step, and answers it as told."""

from collections.abc import Callable
from typing import Any

from mooring_runtime.dataplane import Decode, Reply
from mooring_runtime.errors import RequestError
from mooring_runtime.frontends.http.app import HttpApp
from mooring_runtime.frontends.http.messages import Reply as HttpReply
from mooring_runtime.frontends.http.services import Services
from mooring_runtime.messages import (
    NONE,
    Fitted,
    InferRequest,
    InferResponse,
    ModelMetadata,
    SessionCall,
    SessionInfo,
    StatePair,
    StateSchema,
    Tensor,
    Traits,
)
from mooring_runtime.scheduling import Ticket
from tests.support.serving import Line, Served, echo_metadata, http

MINTED = "2.abcdefghijklmnopqrstuvwxyz"
INCARNATION = 2**63 + 5
"""More than a reader of JSON that knows doubles alone can tell from its neighbours."""

Outcome = InferResponse | RequestError


def stateful_metadata(datatypes: tuple[str, ...] = ("FP32",), shape: tuple[int, ...] = (-1, 2)) -> ModelMetadata:
    """The echo model, which keeps a tensor of state that clients do not see."""
    pair = StatePair("state_in", "state_in", "state_out", "FP32", (1, 2))
    return echo_metadata(datatypes, shape).with_traits(Traits(state=StateSchema((pair,))))


def echoed(metadata: ModelMetadata, request: InferRequest) -> InferResponse:
    """The inputs as outputs, and the session as if this were the step that was asked for."""
    outputs = tuple(Tensor("out_" + each.name.removeprefix("in_"), *each[1:]) for each in request.inputs)
    call = request.session
    session = None
    if call is not None:
        session = SessionInfo(MINTED if call.new else call.id, call.step or 1, INCARNATION, ended=call.end)
    return InferResponse(metadata.name, metadata.version, outputs, request.id, NONE, True, session)


class StatefulPlane:
    """`refusal` comes before a request is decoded; `answer` is what becomes of one that was."""

    def __init__(self, metadata: ModelMetadata | None = None) -> None:
        self.told = metadata or stateful_metadata()
        self.refusal: RequestError | None = None
        self.answer: Callable[[InferRequest], Outcome] = lambda request: echoed(self.told, request)
        self.asked: list[InferRequest] = []

    def infer(self, name: str, version: str | None, decode: Decode, reply: Reply) -> Ticket | None:
        if self.refusal is not None:
            reply(self.refusal)
            return None
        try:
            request = decode(self.told)
        except RequestError as error:
            reply(error)
            return None
        if type(request) is Fitted:
            request = request.whole(self.told)
        assert type(request) is InferRequest
        self.asked.append(request)
        reply(self.answer(request))
        return None

    def unread(self, error: RequestError) -> RequestError:
        error.applied = error.applied or "no"
        return error

    @property
    def calls(self) -> list[SessionCall | None]:
        return [request.session for request in self.asked]

    def models(self) -> list[str]:
        return [self.told.name]


def services(plane: StatefulPlane) -> Services:
    """What front ends work on."""
    whole: Any = plane
    real = Served(plane.told).services
    return Services(whole, real.control, real.logs, real.traces)


class StatefulHttp:
    """The HTTP front end on a plane."""

    def __init__(self, metadata: ModelMetadata | None = None) -> None:
        self.plane = StatefulPlane(metadata)
        self.app = HttpApp(services(self.plane))
        self.line = Line(self.app)

    def ask(self, target: str, body: bytes, headers: dict[str, str | bytes] | None = None) -> HttpReply:
        """The reply to a POST; all of them come by one connection."""
        given = {
            name.encode(): text.encode() if isinstance(text, str) else text for name, text in (headers or {}).items()
        }
        before = len(self.line.replies)
        self.line.send(http("POST", target, body, given))
        [reply] = self.line.replies[before:]
        return reply
