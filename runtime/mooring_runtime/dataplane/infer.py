"""The one path of a request, whatever protocol brought it: admit -> schedule -> backend -> reply.

A front end gives a function that decodes its bytes and one that takes the answer; everything that decides, counts and
refuses stands here. All of it happens on the event loop; only the run itself may be on the model's thread.
"""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mooring_runtime.dataplane.check import check
from mooring_runtime.dataplane.observer import Observer, Watch
from mooring_runtime.dataplane.outcomes import Decode, Reply, count_failure, failure
from mooring_runtime.errors import (
    InferenceFailed,
    ModelNotReady,
    QueueFull,
    RequestError,
    Unavailable,
)
from mooring_runtime.errors.sessions import BadSession
from mooring_runtime.messages import NONE, Array, Fitted, InferRequest, InferResponse, ModelMetadata, Tensor
from mooring_runtime.metrics import Aims
from mooring_runtime.repository import Model, Repository, State
from mooring_runtime.scheduling import ALONE, LEAST_QUEUE, Job, Run, Ticket

if TYPE_CHECKING:  # What keeps sessions is imported where they are kept: it takes its time at the start, and memory.
    from mooring_runtime.dataplane.sessions import Sessions
    from mooring_runtime.dataplane.steps import Step

log = logging.getLogger(__name__)

_GONE: dict[str, Array] = {}
"""The tensors of a request that has ended. It lets go of them and of its front end, which holds it as a ticket: else
both would stay until the collector of cycles comes by."""
_new = tuple.__new__
"""Makes a named tuple in half the time that its constructor takes."""


class DataPlane:
    """Takes requests for the models of `repository`, as many as `aims` let wait."""

    def __init__(
        self,
        repository: Repository,
        aims: Aims = Aims(),  # noqa: B008 - immutable
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._repository = repository
        self._aims = aims
        self._free = LEAST_QUEUE if aims.bounded else aims.limit
        """As many requests may be pending whatever bound holds."""
        self.clock = clock
        self.observer: Observer | None = None
        """Who watches single requests; None: nobody does."""
        self.pending = 0
        """Requests admitted and not yet answered."""
        self.draining = False
        """The process is about to stop: not ready, and still serving."""
        self.held: str | None = None
        """Why the server is not ready although its models are: other workers are not."""
        self.stuck: str | None = None
        """Why the server is not live: a run that does not end."""
        self.unopened: str | None = None
        """Why the server is not ready: what it needs beside its models is not there yet."""
        self.misfit: Callable[[], str | None] = lambda: None
        """Why the server is not ready: it has the wrong volume, and refuses other replicas' sessions, too."""
        self.sessions: Sessions | None = None
        """The steps of models that keep state; None until their store is open, and where there is none."""

    def infer(
        self, name: str, version: str | None, decode: Decode, reply: Reply, *, passed_on: bool = False
    ) -> Ticket | None:
        """Answer one request by `reply`, now or later; the ticket, when there is one, takes it back meanwhile.

        The bound is checked before the body is decoded, so that a server with too much to do refuses cheaply.
        `passed_on`: another replica has sent it, and it goes nowhere else; it may be answered `NotHere`. It was counted
        as received there, where its client came to: twice, it would be taken for twice the load.
        """
        arrived = self.clock()
        watch = None if self.observer is None else self.observer.arrived(name)
        try:
            model = self._repository.asked(name, version)
        except RequestError as error:
            self._refuse(error, watch, version or "", reply)
            return None
        stats = model.stats
        stats.received += not passed_on
        try:
            try:
                batcher = model.batcher
            except ModelNotReady as error:
                away: ModelNotReady | None = error
                metadata = self._stored_of(model, error)
            else:
                away, metadata = None, batcher.metadata
            if self.pending >= self._free:
                self._bound(model)
            request = decode(metadata)
            if metadata.state is None:
                flight: _Flight | Step = _Flight(self, model, metadata, request, reply)
            else:
                flight = self._step(metadata, request, reply)
                flight.model, flight.metadata, flight.version = model, metadata, version
                flight.passed_on = passed_on
                if away is not None and not flight.sessions.holder.answers(flight.key, flight.call):
                    raise away
        except RequestError as error:
            stats.rejected[error.cause] += 1
            stats.failures["REJECTED"] += 1
            self._refuse(error, watch, model.version, reply)
            return None
        flight.arrived = arrived
        if watch is not None:
            flight.watch = watch
        if flight.timeout is not None:
            flight.deadline = arrived + flight.timeout
        self.pending += 1
        if type(flight) is _Flight:
            stats.input_bytes += flight.size
            batcher.submit(flight)
        else:
            flight.submit()  # type: ignore[union-attr]
        return flight

    def _bound(self, model: Model) -> None:
        """Raise QueueFull where one request more would wait too long."""
        if self.pending >= self._aims.limit:
            what = f"model '{model.name}' has {self.pending} requests waiting"
            raise QueueFull(f"{what}, as many as MOORING_QUEUE allows")
        batcher = model.running
        if batcher is None or not self._aims.bounded:
            return
        waiting, _ = batcher.load()
        if waiting >= batcher.capacity.bound():
            raise QueueFull(
                f"model '{model.name}' has {waiting} requests waiting, which take half of MOORING_LATENCY_TARGET; send "
                "less or add replicas, or set MOORING_QUEUE to let more wait"
            )

    def _refuse(self, error: RequestError, watch: Watch | None, version: str, reply: Reply) -> None:
        """Nobody has begun with the request."""
        if self.observer is not None and watch is not None:
            self.observer.ended(watch, version, None, None)
        reply(self.unread(error))

    def _stored_of(self, model: Model, away: ModelNotReady) -> ModelMetadata:
        """What a model takes that does not serve now: a step that it has applied before is answered all the same, by
        what is stored. Raises `away` for one of which nothing is.
        """
        if self.sessions is None or model.told is None or model.told.state is None:
            raise away
        return model.told

    def unread(self, error: RequestError) -> RequestError:
        """The error of a request that nobody has begun with. Where sessions are kept every client is told so: the
        session may be named in a body that nobody read; who is not told must take its step for applied perhaps.
        """
        if error.applied is None and (self.sessions is not None or self.unopened is not None):
            error.applied = "no"
        return error

    def _step(self, metadata: ModelMetadata, request: InferRequest | Fitted, reply: Reply) -> "Step":
        """The step that a request for a model with state is. Raises BadSession, Unavailable."""
        session = request.session
        if session is None:
            raise BadSession(
                f"model '{metadata.name}' keeps state, so a request must name a session: by the parameter sequence_id "
                "(with sequence_start in its first step), or by the header X-Mooring-Session, where `new` begins one"
            )
        if self.sessions is None:
            raise Unavailable("the volume of the sessions is not open yet")
        return self.sessions.step(metadata.name, request, session, reply)

    def metadata(self, name: str, version: str | None) -> ModelMetadata:
        """What a model takes and gives. Raises UnknownModel, ModelNotReady."""
        return self._repository.find(name, version).metadata

    def models(self) -> list[str]:
        """The names of all models, ready or not."""
        return self._repository.names()

    def require_ready(self, name: str, version: str | None) -> None:
        """Raise UnknownModel, or ModelNotReady with the reason."""
        model = self._repository.find(name, version)
        if model.state is not State.READY:
            raise model.refusal()

    def not_ready(self) -> str | None:
        """Why this server is not ready; None when it is."""
        return (
            "the server is stopping"
            if self.draining
            else self.stuck or self._repository.not_ready() or self.unopened or self.misfit() or self.held
        )

    def not_live(self) -> str | None:
        """Why this server should be started anew; None when it is live."""
        return self.stuck


class _Flight(Job):
    """A request between admission and answer."""

    watch: Watch | None = None
    timeout: float | None = None
    landed = False
    """Its run has given an answer, which the front end could not write."""

    def __init__(
        self, plane: DataPlane, model: Model, metadata: ModelMetadata, request: InferRequest | Fitted, reply: Reply
    ) -> None:
        """Raises InvalidRequest when the model cannot take the request."""
        if type(request) is not Fitted:
            request = self._fit(metadata, request)  # type: ignore[arg-type]
        self.feeds, self.outputs, self.size, self.rows, self.like, self.id, _ = request
        if metadata.decoupled or self.parameters:
            self.streamed = True
            self.like = ALONE
        self.plane = plane
        self.stats = model.stats
        self.metadata = metadata
        self.reply: Reply | None = reply

    def _fit(self, metadata: ModelMetadata, request: InferRequest) -> Fitted:
        """Check the request, and keep what it asks for beside its tensors."""
        fitted = check(metadata, request)
        if request.priority:
            self.level = request.priority
        if request.timeout:
            self.timeout = request.timeout
        if request.parameters and (metadata.decoupled or metadata.takes_parameters):
            self.parameters = request.parameters
        return fitted

    def land(self, results: list[Array], run: Run) -> None:
        """The run has ended: answer. The batcher counts it. What the front end raises comes through; `fail` follows."""
        plane = self.plane
        plane.pending -= 1
        try:
            if self.watch is not None and plane.observer is not None:
                plane.observer.ended(self.watch, self.metadata.version, self.id, run)
            reply = self.reply
            if reply is not None:
                reply(self._response(results, True))
        except Exception:
            self.landed = True
            raise
        self.feeds, self.reply = _GONE, None

    def part(self, results: list[Array]) -> None:
        """One of several answers."""
        if self.reply is not None:
            self.reply(self._response(results, False))

    def _response(self, results: list[Array], final: bool) -> InferResponse:
        metadata, stats = self.metadata, self.stats
        specs = metadata.outputs
        tensors: tuple[Tensor, ...] = ()
        if results:
            stats.replies += 1
            for name, array in zip(self.outputs, results, strict=True):
                tensors += (_new(Tensor, (name, specs[name].datatype, array)),)
                stats.output_bytes += array.nbytes
        return _new(InferResponse, (metadata.name, metadata.version, tensors, self.id, NONE, final, None))

    def fail(self, error: Exception | None) -> None:
        """There is no answer, or no further one: count it and say why."""
        stats, told = self.stats, failure(self.metadata.name, error)
        if self.landed:  # So it no longer counts as pending, and was observed.
            stats.failures["OTHER"] += 1
        else:
            count_failure(stats, told)
        stats.failed_seconds += self.plane.clock() - self.arrived
        if not self.landed:
            self.plane.pending -= 1
            if self.watch is not None and self.plane.observer is not None:
                self.plane.observer.ended(self.watch, self.metadata.version, self.id, None)
        reply = self.reply
        self.feeds, self.reply = _GONE, None
        if reply is None:
            return
        try:
            reply(told)
        except Exception:  # Perhaps of its text. Without any answer the connection would stay open.
            log.exception("cannot tell a client of model '%s': %a", self.metadata.name, str(told))
            reply(InferenceFailed("the request has failed and the reason cannot be written; the server's log has it"))
