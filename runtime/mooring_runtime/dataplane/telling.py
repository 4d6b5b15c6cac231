"""What a step tells, and whom: its client, those who count and those who trace. The base of `steps.Step`."""

import asyncio
import logging
from typing import TYPE_CHECKING

from mooring_runtime.dataplane.observer import Watch
from mooring_runtime.dataplane.outcomes import Reply, tell
from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionError
from mooring_runtime.messages import NONE, Array, Fitted, InferRequest, InferResponse, SessionCall, SessionInfo, Tensor
from mooring_runtime.repository import Model
from mooring_runtime.scheduling import Job, Run
from mooring_runtime.sessions import steps
from mooring_runtime.sessions.copies import Copy, Kept, Phase, State
from mooring_runtime.sessions.encoding import state_digest
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.trace import TracedStep

if TYPE_CHECKING:
    from mooring_runtime.dataplane.sessions import Sessions

log = logging.getLogger(__name__)

_new = tuple.__new__
"""See `infer`."""
_RELEASED = InferRequest(())
"""Of a step that has ended: its tensors are let go of at once, though its front end may hold it for longer."""
_NOTHING: dict[str, Array] = {}
_HANDED_ON = Kept(Copy(Phase.HELD, 0, 0))
"""The same for what it has made."""


class Telling(Job):
    """A step, so far as others are told of it."""

    sessions: "Sessions"
    name: str
    """Of the model."""
    key: Key
    call: SessionCall
    reply: Reply | None
    """None: the client was told."""
    id: str | None
    timeout: float | None = None
    passed_on = False
    """Another replica has passed it on."""
    watch: Watch | None = None
    version: str | None = None
    """The one that the request names."""
    entry: Entry | None = None
    """Of its session, while it has its turn."""
    life: steps.Life = steps.Life.GO_ON
    before: Kept | None = None
    """The life that ends by it."""
    ran_by = ""
    """The version that runs it."""
    model: Model
    request: InferRequest | None = None
    """None: `fitted` says it all."""
    fitted: Fitted | None = None
    """The request as the front end has held it against the model; None: it was not."""
    kept: Kept
    """What it makes of its session."""
    answered: tuple[Tensor, ...] = ()
    """The client's part of what its run gave."""
    begun = ran = 0.0
    """When its turn came, of one that was applied before; and when its run ended, by the data plane's clock."""
    run: Run | None = None
    waits: asyncio.TimerHandle | None = None
    """Ends it when its timeout passes before its turn."""
    last: State = ()
    """The state with which it has ended its session."""

    # --- that it was applied

    def _counted(self) -> None:
        """Tell whom it concerns that it was applied."""
        sessions, copy, key = self.sessions, self.kept.copy, self.key
        holder, stats = sessions.holder, self.model.stats
        holder.stats.steps[self.name] += 1
        if self.life is not steps.Life.GO_ON:
            holder.stats.created[self.name] += 1
            if self.before is not None:
                holder.restarted(key, self.before)
        if copy.end is not None:
            holder.ended(key, self.kept._replace(state=self.last))
        stats.replies += 1
        stats.output_bytes += self.kept.replies[-1].size
        if key in sessions.traces.watched:
            self._trace(copy.size, "applied", copy.step)

    def _response(self, outputs: tuple[Tensor, ...], step: int, version: str, *, repeat: bool) -> InferResponse:
        holder, copy, entry = self.sessions.holder, self.kept.copy, self.entry
        assert entry is not None
        ended, limits = copy.end is not None and step == copy.step, holder.limits
        durable = entry.durable if limits.lazy else None
        expires = copy.last_used + limits.ttl if limits.ttl and copy.end is None else None
        info = _new(SessionInfo, (self.key.session, step, copy.incarnation, repeat, durable, ended, expires))
        return _new(InferResponse, (self.name, version, outputs, self.id, NONE, True, info))

    def _trace(self, size: int, outcome: str, number: int) -> None:
        run, begun, ran, committed, digest = self.run, self.begun, 0.0, 0.0, b""
        if run is not None:
            begun, ran, committed = run.started, run.infer, self.sessions.plane.clock() - self.ran
            digest = state_digest(self.kept.state)
        now = self.sessions.holder.now()
        traced = TracedStep(number, now, begun - self.arrived, ran, committed, size, digest, outcome)
        self.sessions.traces.applied(self.key, traced)

    # --- that it has ended

    def _end(self, outcome: InferResponse | RequestError) -> None:
        """Tell the client, and give the turn back."""
        self._tell(outcome)
        self._leave()

    def _tell(self, outcome: InferResponse | RequestError) -> bool:
        """Whether the client was told what it is to be told."""
        reply, self.reply = self.reply, None
        plane = self.sessions.plane
        if self.waits is not None:
            self.waits.cancel()
            self.waits = None
        if reply is None:
            return False
        plane.pending -= 1
        if self.watch is not None and plane.observer is not None:
            plane.observer.ended(self.watch, self.ran_by or self.version or "", self.id, self.run)
        if isinstance(outcome, RequestError):
            self._count(outcome)
        return tell(self.name, reply, outcome)

    def _leave(self) -> None:
        """Let go of everything, and give the turn back."""
        entry, self.entry = self.entry, None
        self.feeds, self.request, self.fitted = _NOTHING, _RELEASED, None
        self.kept, self.before, self.last, self.answered = _HANDED_ON, None, (), ()
        if entry is not None:
            self.sessions.holder.table.done(entry)

    def _count(self, error: RequestError) -> None:
        if error.applied is None:
            error.applied = "no"
        # Who has passed it on tells its client, and counts it, or tries another replica: each refusal is counted once.
        if isinstance(error, SessionError) and not self.passed_on:
            self.sessions.holder.stats.refused[self.name, error.cause] += 1
        if self.key.session:
            self.sessions.traces.failed(self.key, error, self.call.step)
