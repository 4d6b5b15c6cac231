"""A simulated replica: the real table, membership, handoff, finding and holder, over a disk in memory that survives."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mooring_runtime.errors import RequestError
from mooring_runtime.messages import InferRequest, InferResponse, SessionCall, SessionInfo, Tensor
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.sessions import budget, steps
from mooring_runtime.sessions.copies import Copy, End, Kept, Phase, StoredReply, kept_replies
from mooring_runtime.sessions.elsewhere import Passed
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.finding import Finding
from mooring_runtime.sessions.handoff import Handoff, Point
from mooring_runtime.sessions.holder import Holder
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.passing import Step
from mooring_runtime.sessions.peers import Talk, Unanswered
from mooring_runtime.sessions.receiving import Receiver
from mooring_runtime.sessions.store import Change, Done, StoreFailed
from mooring_runtime.sessions.table import Table
from tests.support.memory_store import Commit, Disk, MemoryStore
from tests.support.simulation.network import SimulatedPeers

if TYPE_CHECKING:
    from tests.support.simulation.world import World

T = TypeVar("T")


class Forgetful(budget.Limits):
    """Sessions that have ended are forgotten soon, where that is allowed."""

    @property
    def remembered(self) -> int:
        return 1500


LIMITS = Forgetful()


class Volume(MemoryStore):
    """A store of which every commit is looked at; what a process that has crashed still does to it does nothing."""

    def __init__(self, disk: Disk, written: Callable[[Change, Kept | None], None]) -> None:
        super().__init__(disk)
        self._looked_at = written

    def _take(self, commit: Commit) -> None:
        if not self.dead:
            super()._take(commit)
        else:
            self._tell(commit.done, None)

    def _tell(self, done: Done, failed: StoreFailed | None) -> None:
        # Nothing ever happens any more in a process that has crashed; but what waits in it must end, or stay for ever.
        done(StoreFailed("it has crashed") if self.dead else failed)

    def crash(self) -> None:
        """As its base; see `_tell`."""
        waiting = list(self._waiting)
        super().crash()
        for commit in waiting:
            self._tell(commit.done, None)

    def _apply(self, change: Change) -> None:
        before = self.disk.kept.get(change.key)
        super()._apply(change)
        self._looked_at(change, before)

    def read(self, key: Key) -> Kept:
        """As its base, but a dead process reads nothing."""
        return self.disk.kept[key]


class AtOnce(ThreadPoolExecutor):
    """Runs in the caller's thread: virtual time knows no other threads."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Done when it returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Replica:
    """One ordinal: its disk, and the process that runs, if one does."""

    def __init__(self, world: "World", ordinal: int) -> None:
        self.world = world
        self.ordinal = ordinal
        self.disk = Disk()
        self.process: Process | None = None

    def start(self) -> None:
        """Run a process, unless one runs."""
        if self.process is None:
            self.process = Process(self)

    def crash(self) -> None:
        """End the process, wherever it is."""
        if self.process is not None:
            process, self.process = self.process, None
            process.end()


class Process:
    """A run of a replica."""

    def __init__(self, replica: Replica) -> None:
        self.replica, self.world, self.alive = replica, replica.world, True
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self.store = Volume(replica.disk, partial(self.world.judge.written, replica.ordinal))
        self.stats = SessionStats()
        self.table = Table(self.store, 2**30, self.stats)
        self.table._reader._thread = AtOnce(1)
        self.membership = Membership(self.table, replica.ordinal)
        self.talk = Talk(SimulatedPeers(self.world, self), self.membership)
        self.finding = Finding(self.membership, self.talk, self.stats)
        self.handoff = Handoff(self.membership, self.table, self.talk, self.finding.newer, self.stats)
        self.handoff.clock = self.now
        self.receiver = Receiver(
            self.membership,
            self.table,
            self.stats,
            lambda model, version, fingerprint: None,
            lambda idle: budget.arrived(idle, LIMITS, self.now()),
        )
        self.handoff.reached = self.receiver.reached = self.reached
        self.holder = Holder(self.table, self.finding, LIMITS, self.stats, self.now)
        self.holder.sweep.start()
        self.membership.start()
        self.handoff.start()

    def now(self) -> int:
        """Milliseconds; never 0."""
        return 1 + int(self.world.loop.time() * 1000)

    def reached(self, point: Point, key: Key) -> None:
        """A point of a handoff: it may be the last thing that this process does."""
        self.world.points[point] += 1
        if self.alive and self.world.chance(self.world.faults.crash_at.get(point, 0.0)):
            self.world.crashes[point] += 1
            self.world.crash(self.replica)

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Have this process do something for who has connected to it. Raises Unanswered when it ends before that."""
        task = self.world.loop.create_task(work)
        self._tasks[task] = None
        try:
            await asyncio.wait((task,))
        finally:
            self._tasks.pop(task, None)
        if task.cancelled():
            raise Unanswered("it has gone")
        return task.result()

    async def step(self, step: Step, *, passed_on: bool = False) -> InferResponse:
        """A client's request."""
        request = SimulatedStep(self, step, passed_on=passed_on)
        self.holder.submit(request)
        return await request.done

    def end(self) -> None:
        """Crash."""
        self.alive = False
        self.store.crash()
        for part in (self.handoff, self.finding, self.talk, self.membership):
            part.close()
        for task in self._tasks:
            task.cancel()
        self.world.spawn(self.holder.close())


class SimulatedStep:
    """`holder.Step`: what the data plane does, with a model that writes its inputs down."""

    needs_state = True

    def __init__(self, process: Process, step: Step, *, passed_on: bool) -> None:
        call = step.request.session
        assert call is not None
        self.process, self.request, self.call, self.passed_on = process, step, call, passed_on
        self.key = Key(step.model, call.id)
        self.proved, self.cancelled = 0, False
        self.done: asyncio.Future[InferResponse] = process.world.loop.create_future()

    @property
    def value(self) -> int:
        """The input."""
        return int(self.request.request.inputs[0].array[0])

    @property
    def digest(self) -> bytes:
        return steps.digest_of([(name, datatype, array) for name, datatype, array in self.request.request.inputs])

    def passed(self) -> Passed:
        return Passed(self.request.model, self.request.version, self.request.request, None)

    def answer(self, response: InferResponse) -> None:
        if not self.done.done():
            self.done.set_result(response)

    def refuse(self, error: RequestError) -> None:
        if self.process.alive and not self.done.done():
            self.done.set_exception(error)

    def begin(self, entry: Entry) -> None:
        if not self.process.alive:
            return
        holder, table = self.process.holder, self.process.table
        try:
            found = holder.decide(entry, self)
        except RequestError as error:
            table.done(entry)
            self.refuse(error)
            return
        if found is None:
            table.done(entry)
            holder.seek(self)
            return
        verdict, epoch = found
        if isinstance(verdict, StoredReply):
            assert entry.copy is not None
            response = self._response(verdict.outputs, entry.copy, verdict.step, repeat=True)
            table.done(entry)
            self.answer(response)
            return
        world = self.process.world
        world.loop.call_later(
            world.random.random() * world.scenario.run, self._ran, entry, verdict is steps.Life.CREATE, epoch
        )

    def _ran(self, entry: Entry, creates: bool, epoch: int) -> None:
        if not self.process.alive:
            return
        now = self.process.now()
        before = entry.copy
        if creates or before is None:
            before = Copy(Phase.HELD, epoch, steps.new_incarnation(), created=now)
            log: list[int] = []
            replies: tuple[StoredReply, ...] = ()
        else:
            log, replies = entry.state[0].array.tolist(), entry.replies
        tensor = Tensor("log", "INT64", np.array([*log, self.value], np.int64))
        number = before.step + 1
        end = End("ended", now, number) if self.call.end else None
        copy = before._replace(step=number, last_used=now, end=end, size=tensor.array.nbytes)
        kept = Kept(copy, (tensor,), kept_replies(replies, StoredReply(number, self.digest, (tensor,))))

        def written(error: RequestError | None) -> None:
            if not self.process.alive:
                return
            self.process.table.done(entry)
            if error is None:
                self.answer(self._response((tensor,), copy, number))
            else:
                self.refuse(error)

        try:
            if not self.process.holder.write(entry, kept, written, creates=epoch if creates else 0):
                self.process.table.done(entry)
                self.process.holder.seek(self)
        except RequestError as error:
            self.process.table.done(entry)
            self.refuse(error)

    def _response(self, outputs: tuple[Tensor, ...], copy: Copy, number: int, *, repeat: bool = False) -> InferResponse:
        info = SessionInfo(self.key.session, number, copy.incarnation, repeat, ended=copy.end is not None)
        return InferResponse("m", "1", outputs, session=info)


def request(call: SessionCall, value: int) -> Step:
    """A client's request with one number in it."""
    return Step("m", None, InferRequest((Tensor("x", "INT64", np.array([value])),), session=call), None)
