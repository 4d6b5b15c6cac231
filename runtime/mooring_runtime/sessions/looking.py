"""Finds the session of a step that is not here, and passes the step on.

Every session that is looked for has a lane, so that the steps of one client do not overtake each other on the way. Who
holds a session answers for it; who should hold it asks the others, and says that nobody does only when all have said
so. A step goes to another replica only as long as it is sure that nothing was done with it before.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

from mooring_runtime.errors import Cancelled, QueueTimeout, RequestError
from mooring_runtime.errors.sessions import OutcomeUnknown, SessionUnavailable
from mooring_runtime.messages import InferResponse, SessionCall
from mooring_runtime.sessions.copies import Copy, Phase
from mooring_runtime.sessions.elsewhere import At, Elsewhere, NotHere, Passed
from mooring_runtime.sessions.entries import Turn
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.table import Table

MOVE_WAIT = 0.15
"""Seconds that a request waits for the end of a move."""
_ASK_AGAIN = 0.02
"""Seconds between two questions to a replica that says that the session is moving."""
TRIES = 4
"""Replicas that are asked for one request, at most: sessions may move meanwhile, but not that often."""


class Step(Turn, Protocol):
    """A request for a step, on its way."""

    key: Key
    call: SessionCall
    passed_on: bool
    """Another replica has passed it on: it is answered here or refused, and goes nowhere else."""
    proved: int
    """The epoch under which every other replica has said that it does not hold the session; 0: nobody was asked."""
    cancelled: bool
    """Nobody waits for the answer any more."""

    @property
    def digest(self) -> bytes:
        """See `steps.digest_of`."""

    def passed(self) -> Passed:
        """The request, to be passed on."""

    def answer(self, response: InferResponse) -> None:
        """Another replica has answered."""

    def refuse(self, error: RequestError) -> None:
        """There is no answer. The step is not in a queue."""


class Absent(NamedTuple):
    """Every other replica has said that it does not hold the session."""

    epoch: int
    """Under which they said so."""


class Looking:
    """The steps of one replica that are looked for."""

    def __init__(self, table: Table, elsewhere: Elsewhere) -> None:
        self._table = table
        self._elsewhere = elsewhere
        self.lanes: dict[tuple[Key, bool], deque[Step]] = {}
        """By session, and whether the steps were passed on to us; the first step of each is on its way. Those of our
        own clients may wait for another replica. If steps that were passed on waited behind them, and theirs behind
        ours there, none would ever come to an end: so they have lanes of their own.
        """
        self._again: dict[tuple[Key, bool], deque[Step]] = {}
        """Those of a lane that had their turn in vain. What stands behind them in the queue of the session must not be
        decided before they are."""
        self._proved: dict[Key, int] = {}
        """The epochs under which all others have said that they do not have these sessions. Only the place of a session
        may create it, so that stays true for as long as the record does."""
        self._tasks: set[asyncio.Task[None]] = set()

    def still(self, epoch: int) -> bool:
        """Whether what was decided under `epoch` may be done now."""
        try:
            return self._elsewhere.record().epoch == epoch
        except RequestError:
            return False

    def copy(self, key: Key) -> Copy | None:
        """What is here of a session."""
        entry = self._table.get(key)
        return None if entry is None else entry.copy

    def seek(self, step: Step) -> None:
        """Find out who holds the session of a step, behind those that are being looked for already."""
        which = (step.key, step.passed_on)
        lane = self.lanes.get(which)
        if lane is None:
            lane = self.lanes[which] = deque((step,))
            self._spawn(self._serve(*which, lane))
        elif lane[0] is step:  # It is being looked for, had its turn, and stays the first.
            lane.insert(1, step)
        else:
            lane.append(step)

    def seek_again(self, step: Step) -> None:
        """`seek`, of a step whose turn has come in vain: those behind it in the queue go behind it."""
        self.seek(step)
        again = self._again.setdefault((step.key, step.passed_on), deque())
        if again and again[0] is step:
            again.insert(1, step)
        else:
            again.append(step)

    def overtakes(self, step: Step) -> bool:
        """Whether a step that came before this one looks for the session again."""
        again = self._again.get((step.key, step.passed_on))
        return again[0] is not step if again else False

    def withdraw(self, step: Step) -> bool:
        """Take back a step that waits behind others of its lane; whether it did."""
        lane = self.lanes.get((step.key, step.passed_on))
        if lane is None or step is lane[0] or step not in lane:
            return False
        lane.remove(step)
        again = self._again.get((step.key, step.passed_on))
        if again is not None and step in again:
            again.remove(step)
        return True

    async def _serve(self, key: Key, passed_on: bool, lane: deque[Step]) -> None:
        """The steps of one lane, one after the other."""
        try:
            while lane:
                await self._find(lane[0])
                step = lane.popleft()
                again = self._again.get((key, passed_on))
                if again and again[0] is step:
                    again.popleft()
                if not again:
                    self._again.pop((key, passed_on), None)
        finally:
            del self.lanes[key, passed_on]
            self._again.pop((key, passed_on), None)
            if (key, not passed_on) not in self.lanes:
                self._proved.pop(key, None)
            for index, step in enumerate(lane):
                told = f"session '{key.session}': this server is stopping"
                # What was passed on may have been applied.
                step.refuse(SessionUnavailable(told, "owner-down") if index else OutcomeUnknown(told))

    async def _find(self, step: Step) -> None:
        """Put a step into the queue of its session, if that is here or may be created here; else pass it on."""
        try:
            await self._found(step)
        except NotHere as error:
            step.refuse(error if step.passed_on else moving(step.key) if error.moving else nowhere(step.key))
        except RequestError as error:
            step.refuse(error)

    async def _found(self, step: Step) -> None:
        key, loop = step.key, asyncio.get_running_loop()
        until = loop.time() + MOVE_WAIT
        target: int | None = None
        late, tries = False, TRIES
        while tries:
            if step.cancelled:
                raise Cancelled("the client hung up before its request ran")
            if target is None:
                found = await self.look(key, until, passed_on=step.passed_on)
                if isinstance(found, Absent):
                    step.proved = found.epoch
                if isinstance(found, Absent) or found == self._elsewhere.ordinal:
                    self._table.enqueue(key, step)
                    return
                target = found
            passed = step.passed()
            if passed.deadline is not None and loop.time() >= passed.deadline:
                raise QueueTimeout("the timeout of the request passed while its session was looked for")
            try:
                response = await self._elsewhere.pass_on(target, passed)
            except NotHere as error:
                target = None if error.at == self._elsewhere.ordinal else error.at
                if not error.moving:
                    tries -= 1
                elif loop.time() <= until:
                    target = None
                    await asyncio.sleep(_ASK_AGAIN)
                elif late or target is None or target != place(key, self._elsewhere.record().size):
                    raise
                else:
                    late = True  # Whoever hands it over may not know yet that it has arrived: asked there, once.
                continue
            step.answer(response)
            return
        raise nowhere(key)

    def pass_new(self, step: Step, target: int) -> None:
        """Have a member mint the id of a new session."""
        self._spawn(self._new(step, target))

    async def _new(self, step: Step, target: int) -> None:
        try:
            step.answer(await self._elsewhere.pass_on(target, step.passed()))
        except NotHere:
            step.refuse(nowhere(step.key))
        except RequestError as error:
            step.refuse(error)

    async def look(self, key: Key, until: float, *, passed_on: bool) -> "Absent | int":
        """The ordinal that holds a session, or should know who does; or that nobody holds it.

        `until`: how long to wait for the end of a move, by the clock of the loop. Raises NotHere where the request was
        passed on and the session is not here, SessionUnavailable.
        """
        loop, own = asyncio.get_running_loop(), self._elsewhere.ordinal
        while True:
            record = self._elsewhere.record()
            copy = self.copy(key)
            if (copy is not None and copy.phase is Phase.HELD) or key in self._table.quarantined:
                return own
            leaves = copy is not None and copy.to is not None
            if copy is not None and copy.to is not None:
                at = At(copy.to.ordinal, moving=True)
            elif (home := place(key, record.size)) != own:
                if passed_on:
                    raise NotHere(key.session)
                return home
            else:
                found = await self._ask(key, record.epoch)
                if isinstance(found, Absent):
                    return found
                if found is None:
                    continue
                at = found
            if at.moving and (left := until - loop.time()) > 0:
                # Its end shows here when it leaves, and when it comes; but it may also go somewhere else.
                await self._table.change(key, left if leaves else min(left, _ASK_AGAIN))
            elif passed_on:
                raise NotHere(key.session, at.ordinal, moving=at.moving)
            elif at.moving and (not leaves or at.ordinal == own):
                raise moving(key)
            else:
                return at.ordinal

    async def _ask(self, key: Key, epoch: int) -> "Absent | At | None":
        """What the others say of a session whose place is here; None: the record has changed meanwhile."""
        if self._proved.get(key) == epoch:
            return Absent(epoch)
        at = await self._elsewhere.absent(key)
        if at is not None:
            return at
        if not self.still(epoch):
            return None
        if (key, False) in self.lanes or (key, True) in self.lanes:
            self._proved[key] = epoch
        return Absent(epoch)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Look for no session any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def moving(key: Key) -> SessionUnavailable:
    """What a client is told whose session is on its way."""
    return SessionUnavailable(
        f"session '{key.session}' is moving to another replica; try again", "moving", session=key.session
    )


def nowhere(key: Key) -> SessionUnavailable:
    """What a client is told when replicas do not agree, in a moment they will."""
    return SessionUnavailable(
        f"session '{key.session}': those that were asked point at each other, for members change; try again",
        "search",
        session=key.session,
    )
