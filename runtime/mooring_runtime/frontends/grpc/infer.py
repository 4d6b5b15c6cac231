"""ModelInfer and ModelStreamInfer.

A client asks one model again and again, and between two requests mostly nothing changes but the elements of one raw
tensor at the end. What stands before it is then the same to the byte: it is kept with what it meant, so that the next
request is understood by comparing bytes. That takes a tenth of the time of parsing them.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from mooring_runtime.dataplane import DataPlane
from mooring_runtime.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InferenceFailed,
    QueueTimeout,
    RequestError,
    Unavailable,
    Unsupported,
)
from mooring_runtime.frontends.grpc import messages
from mooring_runtime.frontends.grpc.calls import Call
from mooring_runtime.frontends.grpc.envelopes import framed, head_of
from mooring_runtime.frontends.grpc.messages import FINAL, Input, Plan, Raw
from mooring_runtime.frontends.v2 import classification, sessions
from mooring_runtime.messages import (
    NONE,
    InferRequest,
    InferResponse,
    ModelMetadata,
    Parameter,
    SessionCall,
    Tensor,
)
from mooring_runtime.scheduling import Ticket

log = logging.getLogger(__name__)

_KNOWN = 256
"""Requests whose beginning is kept, one for each size of message."""
_KEPT_BYTES = 4096
"""The longest beginning that is kept."""
_AHEAD = 64
"""Requests of one stream that may wait for their answers; then no more are taken from it."""
_UNREAD = 2**20
"""Bytes of answers that wait for a client which does not take them, and above which no more of its requests are taken:
its own window stops it then."""
_BACKLOG = 64 * 2**20
"""Bytes of them above which its stream ends: what was asked before, or one request of a model that gives many answers,
may bring as much."""
_new = tuple.__new__
"""Makes named tuples without their own checks, which cost as much as decoding a small request."""
_CLOSING = b"triton_grpc_error"
"""Metadata by which a client asks that a failed request end the stream with its status."""


class _Known(NamedTuple):
    """A request that was understood before: all its bytes before the elements of its only input."""

    prefix: bytes
    plan: Plan
    input: Input


class Inference:
    """The two methods, on a data plane."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._known: dict[int, _Known] = {}

    def infer(self, call: Call, message: bytes) -> Ticket | None:
        """ModelInfer: answer one message. Raises InvalidRequest for what is no request."""
        asked = self.understand(message)
        asked.call = call
        return self._plane.infer(asked.plan.name, asked.plan.version, asked.decode, asked.reply)

    def converse(self, call: Call) -> "StreamInfer":
        """ModelStreamInfer: take many."""
        return StreamInfer(call, self)

    def submit(self, asked: "Asked", reply: Any) -> Ticket | None:
        """Hand a request of a stream to the data plane."""
        return self._plane.infer(asked.plan.name, asked.plan.version, asked.decode, reply)

    def understand(self, message: bytes) -> "Asked":
        """The request of a message with the five bytes before it. Raises InvalidRequest."""
        size = len(message)
        known = self._known.get(size)
        if known is not None and message.startswith(known.prefix):
            raw = message[len(known.prefix) :]
            return Asked(known.plan, None, (raw,), known.input)
        try:
            request, raws = messages.parse(memoryview(message)[5:])
            plan = messages.plan(request)
        except RequestError as error:
            raise self._plane.unread(error) from error.__cause__
        session = plan.asked.session
        if len(raws) == 1 and len(plan.inputs) == 1 and plan.id is None and (session is None or session.step is None):
            self._keep(message, plan, len(raws[0]), typed=request.inputs[0].HasField("contents"))
        return Asked(plan, request, raws)

    def _keep(self, message: bytes, plan: Plan, raw: int, *, typed: bool) -> None:
        """Remember what stands before the raw elements, if those are the message's last bytes and need no look."""
        (described,) = plan.inputs
        before = len(message) - raw
        count = 1
        for size in described.shape:
            count *= size
        if (
            typed
            or before > _KEPT_BYTES
            or described.datatype.name in {"BOOL", "BYTES"}
            or count * described.datatype.itemsize != raw
            or not raw
        ):
            return
        prefix = message[:before]
        if prefix.endswith(messages.field(messages.RAW_FIELD, memoryview(message)[before:])[0]):
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[len(message)] = _Known(prefix, plan, described)


class Asked:
    """One request: `decode` and `reply` are what the data plane calls, in this order."""

    __slots__ = ("_hurried", "_input", "_raws", "_request", "call", "metadata", "plan", "settled")

    call: Call

    def __init__(self, plan: Plan, request: Any, raws: Sequence[Raw], only: Input | None = None) -> None:
        self.plan = plan
        self._request = request
        self._raws = raws
        self._input = only
        self._hurried = False
        """It is the call's deadline that limits how long the request may wait."""
        self.metadata: ModelMetadata | None = None
        self.settled: SessionCall | Literal[False] | None = False
        """The step that it is, when the data plane has it; False: it has not, or the model keeps no state."""

    @property
    def session(self) -> SessionCall | None:
        """What it says of its session, as far as that is known."""
        return self.settled or self.plan.asked.session or self.call.head.session

    @property
    def begun(self) -> bool:
        """The data plane has it as a step."""
        return self.settled is not False

    def decode(self, metadata: ModelMetadata) -> InferRequest:
        """The request for this model. Raises InvalidRequest, Unsupported, BadSession."""
        call, session = self.call, self.plan.asked.session
        if metadata.state is None and session is None and call.head.session is None:
            return self._decode(metadata, None)
        try:
            session = sessions.settled(metadata, sessions.joined(call.head.session, session))
            request = self._decode(metadata, session)
        except RequestError as error:
            if metadata.state is not None and error.applied is None:
                error.applied = "no"
            raise
        self.settled = session
        if call.head.quick:
            call.session, call.begun = session, True
        return request

    def _decode(self, metadata: ModelMetadata, session: SessionCall | None) -> InferRequest:
        plan, only = self.plan, self._input
        self.metadata = metadata
        head = self.call.head
        if metadata.decoupled and head.quick:
            raise Unsupported(
                f"model '{metadata.name}' gives any number of answers to a request; ask it by ModelStreamInfer"
            )
        for output in plan.classes:
            classification.check(metadata, output)
        if only is not None:
            name, datatype, shape = only
            array: Any = np.ndarray(shape, datatype.dtype, self._raws[0])
            tensors: tuple[Tensor, ...] = (_new(Tensor, (name, datatype.name, array)),)
        else:
            tensors = messages.elements(plan, self._request, self._raws)
        parameters, priority, timeout, _ = plan.asked
        # The deadline of a stream is not that of each of its requests; it ends them all when it has passed.
        if head.timeout is not None and head.quick and (timeout is None or head.timeout < timeout):
            timeout = head.timeout
            self._hurried = True
        return _new(InferRequest, (tensors, plan.outputs, plan.id, parameters, priority, timeout, session))

    def reply(self, outcome: InferResponse | RequestError) -> None:
        """Answer a unary call."""
        call = self.call
        if isinstance(outcome, RequestError):
            if isinstance(outcome, QueueTimeout) and self._hurried:
                late = DeadlineExceeded(str(outcome))
                late.applied = None if self.session is None else "no"
                outcome = late
            call.session = self.session
            call.fail(outcome)
            return
        session = outcome.session
        try:
            if session is not None:
                call.reply(framed(self.encoded(outcome)), head_of(session))
                return
            body = None
            if outcome.id is None and not self.plan.classes:
                body = messages.write_plain(outcome)
            call.reply(framed(self.encoded(outcome)) if body is None else body)
        except RequestError as error:
            call.fail(sessions.unwritten(error, outcome))
        except Exception as error:  # Else the client would wait for ever.
            call.fault(error, None if session is None else "yes")

    def encoded(self, response: InferResponse, extra: Mapping[str, Parameter] = NONE) -> bytes:
        """The response as protobuf."""
        assert self.metadata is not None
        if response.session is not None:
            extra = {**extra, **sessions.parameters(response.session)}
        return messages.write(response, extra, self.plan.classes, self.metadata)


class StreamInfer:
    """One ModelStreamInfer: requests as they come, answers as they are ready, each with the id of its request."""

    def __init__(self, call: Call, inference: Inference) -> None:
        self._call = call
        self._inference = inference
        self._closing = call.head.metadata.get(_CLOSING, b"").lower() == b"true"
        self._waiting: dict[int, Ticket | None] = {}
        self._count = 0
        self._ended = self._stopping = False

    def message(self, message: bytes) -> None:
        """One request; a failure is told in its answer, and does not end the stream."""
        self._count += 1
        number = self._count
        try:
            asked = self._inference.understand(message)
        except RequestError as error:
            self._fail(error, None)
            return
        asked.call = self._call
        self._waiting[number] = None
        ticket = self._inference.submit(asked, partial(self._reply, number, asked))
        if number in self._waiting:
            self._waiting[number] = ticket
            if len(self._waiting) >= _AHEAD:
                self._call.hold()

    def taken(self) -> None:
        """The client has read: go on with its requests when there is room for their answers."""
        if self._call.held and len(self._waiting) < _AHEAD // 2 and self._call.waiting <= _UNREAD // 2:
            self._call.resume()

    def ended(self) -> None:
        """No more requests come: end when the last one is answered."""
        self._ended = True
        if not self._waiting:
            self._call.finish()

    def stopping(self) -> None:
        """The server stops: the stream ends with the answers that are due."""
        self._stopping = True
        if not self._waiting:
            self._call.fail(Unavailable("the server is stopping; open the stream anew"))

    def aborted(self) -> None:
        """The call is over: take back what waits."""
        self._ended = True
        tickets = [ticket for ticket in self._waiting.values() if ticket is not None]
        self._waiting.clear()
        for ticket in tickets:
            ticket.cancel()

    def _reply(self, number: int, asked: Asked, outcome: InferResponse | RequestError) -> None:
        if number not in self._waiting:
            return
        if isinstance(outcome, RequestError) or outcome.final:
            del self._waiting[number]
        if isinstance(outcome, RequestError):
            self._fail(outcome, asked)
        else:
            try:
                self._answer(asked, outcome)
            except RequestError as error:
                self._fail(sessions.unwritten(error, outcome), asked)
            except Exception as error:
                log.exception("cannot write an answer of model '%s'", asked.plan.name)
                failure = InferenceFailed(f"cannot write the answer: {type(error).__name__}: {error}")
                self._fail(sessions.unwritten(failure, outcome), asked)
        if self._call.done:
            return
        if self._waiting:
            pass
        elif self._ended:
            self._call.finish()
        elif self._stopping:
            self.stopping()
        self.taken()

    def _answer(self, asked: Asked, response: InferResponse) -> None:
        assert asked.metadata is not None
        decoupled = asked.metadata.decoupled
        if decoupled and response.final and not response.outputs and not asked.plan.empty_final:
            return
        extra = {FINAL: response.final} if decoupled or asked.plan.empty_final else NONE
        self._send(messages.field(2, asked.encoded(response, extra)))

    def _fail(self, error: RequestError, asked: Asked | None) -> None:
        """Tell of a failure. What a program is told of a step of a session stands in JSON at the end of the words, for
        clients give no more of a failure to their users, and in the parameters of the response."""
        call = self._call
        if self._closing:
            if asked is not None:
                call.session, call.begun = asked.session, asked.begun
            call.fail(error)
            return
        words, told = str(error), b""
        if asked is not None and asked.plan.id:
            told = b"".join(messages.field(3, asked.plan.id.encode()))
        session, begun = (call.head.session, False) if asked is None else (asked.session, asked.begun)
        about = sessions.about(error, session, begun=begun)
        if about:
            words = f"{words} {orjson.dumps(about).decode()}"
            told += messages.parameters_text({f"mooring_{name}": value for name, value in about.items()})
        self._send((*messages.field(1, words.encode(errors="replace")), *messages.field(2, told)))

    def _send(self, parts: Sequence[Raw]) -> None:
        call = self._call
        call.send(framed(b"".join(parts)))
        if call.waiting > _BACKLOG:
            call.fail(BodyTooLarge(f"over {_BACKLOG} bytes of answers wait, which the client does not take"))
        elif call.waiting > _UNREAD:
            call.hold()
