"""A step of a session on its way: a turn of its session's queue, then a job of its model's.

    submit -> turn of the session -> decided: stored reply | refused | run with its state -> commit -> reply

Whatever happens, a step ends once, by `_end`: its turn is given back and its client is told. Steps of different
sessions share runs; two of one session never do, for the second has no turn before the first is committed.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, cast

from mooring_runtime.dataplane.carriers import carrier, fits
from mooring_runtime.dataplane.check import check
from mooring_runtime.dataplane.outcomes import Reply, count_failure, failure
from mooring_runtime.dataplane.states import asked, joined, parted
from mooring_runtime.dataplane.telling import Telling
from mooring_runtime.dataplane.together import land_together
from mooring_runtime.errors import Cancelled, InferenceFailed, QueueTimeout, RequestError
from mooring_runtime.errors.sessions import BadSession, SessionError
from mooring_runtime.messages import (
    Array,
    Fitted,
    InferRequest,
    InferResponse,
    ModelMetadata,
    SessionCall,
)
from mooring_runtime.repository.models import State as ModelState
from mooring_runtime.scheduling import ALONE, Batcher, Job, Run
from mooring_runtime.sessions import steps
from mooring_runtime.sessions.copies import Kept, Phase, State, StoredReply, kept_replies
from mooring_runtime.sessions.elsewhere import Passed
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.keys import Key

if TYPE_CHECKING:
    from mooring_runtime.dataplane.sessions import Sessions

log = logging.getLogger(__name__)

_new = tuple.__new__
"""See `infer`."""
_GONE = "the client hung up before its request ran"
_PLAIN = (False, False, False, None, None)
"""What a call says, beside the id, of the next step of a session that is there."""


class Step(Telling):
    """One request for a step; see `looking.Step` for what the holder knows of it."""

    answers_later = keeps_results = True
    needs_state = True
    proved = 0
    rows = 1
    epoch = 0
    """Under which it creates its session; 0: it does not."""
    metadata: ModelMetadata
    own_outputs: int
    """How many of `outputs` are the client's."""
    plain = fresh = False
    """`plain`: the call names its session and nothing else. `fresh`: it has just come, and `model`, `metadata` and
    `fitted` are what the data plane has found for it."""
    _digest: bytes | None = None

    def __init__(
        self, sessions: "Sessions", name: str, request: InferRequest | Fitted, call: SessionCall, reply: Reply
    ) -> None:
        """Raises BadSession for a call that cannot be meant."""
        if call[1:] == _PLAIN:
            self.plain = True
        else:
            steps.check(call)
        self.sessions = sessions
        self.name = name
        self.call = call
        self.key = _new(Key, (name, call.id))
        self.reply = reply
        self.id = request.id
        if type(request) is Fitted:
            self.fitted = request
            return
        assert type(request) is InferRequest
        self.request = request
        if request.priority:
            self.level = request.priority
        if request.timeout:
            self.timeout = request.timeout

    def submit(self) -> None:
        """Have it applied."""
        if self.deadline != math.inf:
            # The batcher watches over those that wait for a run alone, and the step before this one may take long.
            left = self.deadline - self.sessions.plane.clock()
            self.waits = asyncio.get_running_loop().call_later(max(0.0, left), self._late)
        self.fresh = True
        self.sessions.holder.submit(self)
        self.fresh = False

    def _asked(self) -> InferRequest:
        """The whole request."""
        if self.request is None:
            assert self.fitted is not None
            self.request = self.fitted.whole(self.metadata)
        return self.request

    def _late(self) -> None:
        """Its timeout has passed; one that has its turn is the batcher's to watch."""
        if self.entry is None and self.batcher is None and self.sessions.holder.withdraw(self):
            waited = self.sessions.plane.clock() - self.arrived
            self.fail(
                QueueTimeout(f"the request waited {waited:.3g} s and its timeout passed before its session was free")
            )

    # --- what the holder asks and tells

    @property
    def digest(self) -> bytes:
        """See `steps.digest_of`."""
        if self._digest is None:
            fitted = self.fitted
            if fitted is not None and len(fitted.feeds) == 1:
                [(name, array)] = fitted.feeds.items()
                self._digest = steps.digest_of_one(name, self.metadata.inputs[name].datatype, array)
            else:
                self._digest = steps.digest_of(self._asked().inputs)
        return self._digest

    def passed(self) -> Passed:
        """The request, for another replica."""
        deadline = None
        if self.timeout is not None:
            deadline = asyncio.get_running_loop().time() + self.deadline - self.sessions.plane.clock()
        return Passed(self.name, self.version, self._asked(), deadline)

    def answer(self, response: InferResponse) -> None:
        """Another replica has answered."""
        self._end(response)

    def refuse(self, error: RequestError) -> None:
        """There is no answer, and the step has no turn."""
        self._end(error)

    def begin(self, entry: Entry) -> None:
        """Its turn has come."""
        holder = self.sessions.holder
        if self.cancelled:
            holder.table.done(entry)
            self._end(Cancelled(_GONE))
            return
        self.entry = entry
        try:
            if self.fresh and self.plain and self._goes_on(entry):
                return
            decided = holder.decide(entry, self)
            if decided is None:
                self._look_again()
                return
            verdict, self.epoch = decided
            if type(verdict) is StoredReply:
                self._repeat(entry, verdict)
                return
            assert isinstance(verdict, steps.Life)
            self.life = verdict
            self._prepare(entry)
        except RequestError as error:
            if entry.rewound and isinstance(error, SessionError) and error.cause == "rewound":
                holder.told_rewound(entry, partial(self._end, error))
            else:
                self._end(error)
        except Exception as error:  # Its turn must not stay taken: nobody could use the session again.
            log.exception("a step of model '%s' has failed before its run", self.name)
            self._end(InferenceFailed(f"model '{self.name}': {type(error).__name__}: {error}"))

    def _goes_on(self, entry: Entry) -> bool:
        """Launch the next step of a session that stands here, as nearly all are; false: there is more to decide."""
        copy, fitted, metadata = entry.copy, self.fitted, self.metadata
        schema = metadata.state
        if copy is None or fitted is None or schema is None or not entry.state or entry.rewound:
            return False
        if copy.phase is not Phase.HELD or copy.end is not None or copy.fingerprint != schema.fingerprint:
            return False
        if fitted.rows != 1 and metadata.batched:
            return False
        self.ran_by = metadata.version
        self._launch(self.model.batcher, fitted, entry.state)
        return True

    def _look_again(self) -> None:
        entry, self.entry = self.entry, None
        assert entry is not None
        self.sessions.holder.seek_again(self)  # First: the next one may look again at once, and would overtake it.
        self.sessions.holder.table.done(entry)

    # --- running

    def _prepare(self, entry: Entry) -> None:
        """Choose who runs it, and hand it over."""
        copy = entry.copy if self.life is steps.Life.GO_ON and entry.state else None
        repository, converter = self.sessions.repository, None
        model = repository.find(self.name, self.version)
        if copy is not None and not fits(model, copy.fingerprint):
            model, converter = carrier(repository, self.name, self.version, copy)
        batcher = model.batcher
        metadata = batcher.metadata
        fitted = check(metadata, self._asked())
        if metadata.batched and fitted.rows != 1:
            raise BadSession(
                f"model '{self.name}' keeps state: a step takes one sample, and this request has {fitted.rows}",
                session=self.call.id or None,
                step=self.call.step,
            )
        self.model, self.metadata, self.ran_by = model, metadata, metadata.version
        if copy is None:
            self._launch(batcher, fitted, ())
        elif converter is None:
            self._launch(batcher, fitted, entry.state)
        else:
            work = self.sessions.convert(self.name, converter, Kept(copy, entry.state))
            loop = asyncio.get_running_loop()
            work.add_done_callback(lambda done: loop.call_soon_threadsafe(self._converted, batcher, fitted, done))

    def _converted(self, batcher: Batcher, fitted: Fitted, done: "Future[State]") -> None:
        """The state of another version was made into one of this version's."""
        entry, error = self.entry, done.exception()
        assert entry is not None
        if self.cancelled:
            error = Cancelled(_GONE)
        try:
            if self.model.state is not ModelState.READY and not self.cancelled:
                self._prepare(entry)  # It was unloaded or loaded again meanwhile, and its batcher takes no more.
                return
            if error is None:
                self._launch(batcher, fitted, done.result())
        except Exception as raised:
            error = raised
        if error is not None:
            self.fail(error if isinstance(error, Exception) else InferenceFailed(str(error)))

    def _launch(self, batcher: Batcher, fitted: Fitted, state: State) -> None:
        metadata = self.metadata
        schema = metadata.state
        assert schema is not None
        self.digest  # noqa: B018 - now: a model may write into its inputs
        self.model.stats.input_bytes += fitted.size
        self.feeds, self.size = feeds, _ = joined(metadata, fitted, state)
        outputs = fitted.outputs
        self.own_outputs = len(outputs)
        self.outputs = asked(metadata, outputs)
        like = fitted.like
        if like is not ALONE and schema.grows:
            like = (like, *[feeds[pair.name].shape for pair in schema.pairs])
        self.like = like
        request = self.request
        if request is not None and request.parameters and metadata.takes_parameters:
            self.parameters, self.streamed, self.like = request.parameters, True, ALONE
        batcher.submit(self)

    def part(self, results: list[Array]) -> None:
        """The one answer of a model that takes parameters comes by `land`."""
        raise InferenceFailed(f"model '{self.name}' keeps state and gave several answers to one step")

    def land(self, results: list[Array], run: Run) -> None:
        """The run has ended: commit what it has made."""
        try:
            self._landed(results, run)
        except Exception as error:
            self.fail(error)

    def land_all(self, jobs: Sequence[Job], results: Sequence[list[Array]], run: Run) -> None:
        """See `together`."""
        land_together(self, cast("Sequence[Step]", jobs), results, run)

    def _landed(self, results: Sequence[Array], run: Run) -> None:
        self.run = run
        sessions, entry, metadata = self.sessions, self.entry, self.metadata
        schema = metadata.state
        assert entry is not None and schema is not None
        holder, call = sessions.holder, self.call
        now = sessions.ended(run)
        self.ran = sessions.ran
        answered, state, size = parted(metadata, self.outputs, self.own_outputs, results)
        self.answered = answered
        holder.room.check(self.key, size)
        goes_on = self.life is steps.Life.GO_ON
        there = entry.copy if not self.epoch else None
        made = _new(steps.Made, (metadata.version, schema.fingerprint, size, now, call.end))
        copy = steps.advance(there, self.life, made, self.epoch)
        stored = StoredReply(copy.step, self.digest, answered)
        replies = kept_replies(entry.replies, stored) if goes_on else (stored,)
        if there is not None and there.end is None and not goes_on:
            self.before = Kept(there, entry.state, entry.replies)
        self.kept = _new(Kept, (copy, () if call.end else state, replies))
        self.last = state if call.end else ()
        if not holder.write(entry, self.kept, self.written, creates=self.epoch):
            self._look_again()

    def written(self, error: RequestError | None) -> None:
        """What it has made is on disk, or is not to be."""
        stats, plane = self.model.stats, self.sessions.plane
        if error is not None:
            stats.failures["OTHER"] += 1
            stats.failed_seconds += plane.clock() - self.arrived
            self._end(error)
            return
        assert self.entry is not None and self.run is not None
        if self.entry.rewound:
            self.entry.rewound = False
        try:
            self._counted()
        except Exception:  # It is applied: whatever is wrong with the numbers, its client is told so.
            log.exception("cannot count a step of model '%s'", self.name)
        if self._tell(self._response(self.answered, self.kept.copy.step, self.metadata.version, repeat=False)):
            self.sessions.answered(stats, self.run, self.arrived)
        else:
            stats.failures["OTHER"] += 1
        self._leave()

    def _repeat(self, entry: Entry, stored: StoredReply) -> None:
        """It was applied before."""
        assert entry.copy is not None
        self.kept = Kept(entry.copy)
        self.begun = self.sessions.plane.clock()
        self.sessions.holder.stats.repeats[self.name] += 1
        if self.key in self.sessions.traces.watched:
            self._trace(entry.copy.size, "repeat", stored.step)
        self._end(self._response(stored.outputs, stored.step, entry.copy.version, repeat=True))

    # --- ending

    def fail(self, error: Exception | None) -> None:
        """The run gave nothing that can be kept."""
        told = failure(self.name, error)
        count_failure(self.model.stats, told)
        self.model.stats.failed_seconds += self.sessions.plane.clock() - self.arrived
        self._end(told)

    def cancel(self) -> None:
        """The client has hung up: what waits is withdrawn; what runs is applied, and nobody is told."""
        self.cancelled = True
        if self.batcher is not None:
            self.batcher.take_back(self)
        elif self.entry is None and self.sessions.holder.withdraw(self):
            self._end(Cancelled(_GONE))
