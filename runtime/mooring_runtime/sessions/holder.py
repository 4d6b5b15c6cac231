"""The sessions of this replica, and what is done with a request for one of them.

A step for a session that is held here, or that may be created here without asking anybody, goes straight into the
queue of its session. Every other one is looked for first, in a lane of its own for each session, so that the steps of
one client do not overtake each other on the way.

What others build on:

- `submit` takes a client's step, or one that another replica passed on; the data plane has its only implementation.
- `create`, `end`, `reset`, `read`, `locate` are for the API of sessions.
- `table` has the turns of everything else that is done to a session, such as its move.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionConflict, SessionRefused
from mooring_runtime.messages import SessionCall
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.sessions import steps
from mooring_runtime.sessions.budget import Clock, Limits
from mooring_runtime.sessions.copies import Copy, Kept, Phase, State, StoredReply
from mooring_runtime.sessions.elsewhere import Elsewhere, NotHere
from mooring_runtime.sessions.endings import Ending, Hook, tell
from mooring_runtime.sessions.entries import Entry, Written
from mooring_runtime.sessions.eviction import Eviction
from mooring_runtime.sessions.keys import Key, mint
from mooring_runtime.sessions.looking import MOVE_WAIT, TRIES, Looking, Step, moving, nowhere
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.sweep import Sweep
from mooring_runtime.sessions.table import Table
from mooring_runtime.sessions.tensors import bytes_of


class Birth(NamedTuple):
    """What a session begins with that is made without a step."""

    version: str = ""
    """Of the model that made the state; empty with an empty state."""
    fingerprint: str = ""
    state: State = ()
    """Empty: what the model begins with."""
    step: int = 0
    replies: tuple[StoredReply, ...] = ()


class _Writing(NamedTuple):
    """A step's commit, until it is known what has become of it."""

    entry: Entry
    kept: Kept
    done: Written
    creates: int
    """See `Holder.write`."""
    comes: bool
    """There is one live session more by it."""


class Holder:
    """The sessions of one replica; every method is called on the event loop."""

    def __init__(
        self,
        table: Table,
        elsewhere: Elsewhere,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        stats: SessionStats | None = None,
        now: Clock | Callable[[], int] | None = None,
    ) -> None:
        """`now` gives milliseconds since 1970."""
        self.table = table
        self.elsewhere = elsewhere
        self.limits = limits
        self.stats = table.stats if stats is None else stats
        self.now: Callable[[], int] = Clock() if now is None else now
        self.opened = self.now()
        self.hooks: Callable[[], Hook | None] = _no_hook
        self.sweep = Sweep(self, limits, self.opened, self._settled, self._served)
        self.room = Eviction(self, limits)
        self._looking = Looking(table, elsewhere)
        self._lanes = self._looking.lanes
        self.seek = self._looking.seek
        """Find out who holds the session of a step, behind those that are being looked for already."""
        self.seek_again = self._looking.seek_again
        """The same of one whose turn has come in vain."""

    @property
    def hook(self) -> Hook | None:
        """Told of every session that ends here; None: nobody wants to know, and the states are not read for it."""
        return self.hooks()

    # --- steps

    def submit(self, step: Step) -> None:
        """Have a step applied, here or where its session is; `begin`, `answer` or `refuse` is called, now or later."""
        try:
            record = self.elsewhere.record()
            if step.call.new:
                self._mint(step, record)
                return
        except RequestError as error:
            step.refuse(error)
            return
        key = step.key
        if not self._lanes or (key, step.passed_on) not in self._lanes:
            entry = self.table.get(key)
            if entry is None or entry.copy is None:
                if self._at_home(key, record):
                    self.table.enqueue(key, step)
                    return
            elif entry.copy.phase is Phase.HELD:
                self.table.enter(entry, step)
                return
        self.seek(step)

    def answers(self, key: Key, call: SessionCall) -> bool:
        """Whether a step may be answered though no model runs here: it was applied, or its session is elsewhere."""
        if call.step is None or call.new:
            return False
        entry = self.table.get(key)
        if entry is not None and entry.copy is not None and entry.copy.phase is Phase.HELD:
            return call.step <= entry.copy.step
        # One that may begin the session here must not: others might be evicted for it, and then it is refused.
        return not call.start or not self._here(key)

    def _here(self, key: Key) -> bool:
        try:
            return place(key, self.elsewhere.record().size) == self.elsewhere.ordinal
        except RequestError:
            return True

    def withdraw(self, step: Step) -> bool:
        """Take back a step whose turn has not come, and that is not on its way; whether it was still waiting."""
        return self.table.withdraw(step.key, step) or self._looking.withdraw(step)

    def _mint(self, step: Step, record: Record) -> None:
        ordinal = self.elsewhere.ordinal
        key = Key(step.key.model, mint(ordinal))
        if ordinal < record.least:
            step.key, step.proved = key, record.epoch
            self.table.enqueue(key, step)
        elif step.passed_on:
            step.refuse(NotHere(""))
        else:  # This replica is to go, and a session that is made here would have to go too. Or it has just come, and
            # one that does not know of it yet would take an id that is made here for unknown: nobody is asked before.
            self._looking.pass_new(step, place(key, record.least))

    def _at_home(self, key: Key, record: Record) -> bool:
        """Whether a session that is not here is nowhere, without asking anybody."""
        return record.settled and place(key, record.size) == self.elsewhere.ordinal

    def _served(self) -> bool:
        """Whether clients can use the sessions here: no other rest makes one expire."""
        try:
            self.elsewhere.record()
        except RequestError:
            return False
        return True

    def _settled(self) -> bool:
        try:
            return self.elsewhere.record().settled
        except RequestError:
            return False

    def decide(self, entry: Entry, step: Step) -> tuple[steps.Verdict, int] | None:
        """What is to be done with a step whose turn has come, and the epoch under which it was decided where it creates
        the session, else 0; None: that cannot be said here. Then its turn is to end, and `seek` goes on with it.

        Raises what the client is to be told.
        """
        copy = entry.copy
        if copy is not None and copy.phase is Phase.HELD:
            verdict = steps.decide(copy, entry.replies, step.call, step.digest, rewound=entry.rewound)
            if verdict is steps.Life.AGAIN and copy.end is not None:
                self.room.for_one()
            return verdict, 0
        record = self.elsewhere.record()
        if (copy is not None and copy.phase is Phase.MOVING) or self._looking.overtakes(step):
            return None
        if step.proved != record.epoch and not self._at_home(step.key, record):
            return None
        life = steps.absent(step.call, lost=bool(record.lost))
        self.room.for_one()
        return life, record.epoch

    def told_rewound(self, entry: Entry, done: Callable[[], None]) -> None:
        """The client is told that steps may be lost; `done` is called when that need not be said again."""
        entry.rewound = False
        if entry.copy is None:
            done()
            return
        # It was used now, so it is not among those of which steps may have been lost before: see `LmdbStore.doubt`.
        self.table.mark(entry, entry.copy._replace(rewound=False, last_used=self.now()), lambda _: done())

    def write(self, entry: Entry, kept: Kept, done: Written, *, creates: int = 0) -> bool:
        """Commit a step, and call `done`. `creates`: the epoch under which it was decided that the session is created,
        0 where it was there.

        False: the session may not be created any more as it was decided; nothing was done, and it is to be looked for
        again. Raises SessionRefused where there is no room for a new one.
        """
        before = entry.copy
        if creates and not self._looking.still(creates):
            return False
        comes = bool(creates) or (before is not None and before.end is not None)
        if comes:
            self.room.for_one()
            self.room.births += 1
        told = done
        if comes or self.limits.evict:
            told = partial(self._written, _Writing(entry, kept, done, creates, comes))
        # Only what goes on may be lost with the interval that it falls into: creations and ends are the protocol's own.
        goes_on = before is not None and before.incarnation == kept.copy.incarnation and kept.copy.end is None
        self.table.write(entry, kept, told, lazy=self.limits.lazy and goes_on)
        return True

    def _written(self, writing: "_Writing", error: RequestError | None) -> None:
        entry, kept, done, creates, comes = writing
        if comes:
            self.room.births -= 1

        def again() -> None:
            # Room was made, which takes its time, and the record may be another one by now.
            if creates and not self._looking.still(creates):
                done(error)
            else:
                self.table.write(entry, kept, done)

        if isinstance(error, SessionRefused):
            size = kept.copy.size + sum(reply.size for reply in kept.replies)
            if self.room.for_bytes(size, again):
                return
        done(error)

    # --- the API of sessions

    async def locate(self, key: Key, *, passed_on: bool = False) -> int:
        """The ordinal that holds a session, or should know who does; this one's own where it is held here.

        Raises UnknownSession where it is proved that nobody does, SessionGone `maybe-lost`, SessionUnavailable, and
        NotHere where the request was passed on and it is not here.
        """
        until = asyncio.get_running_loop().time() + MOVE_WAIT
        found = await self._looking.look(key, until, passed_on=passed_on)
        if isinstance(found, int):
            return found
        steps.absent(SessionCall(key.session), lost=bool(self.elsewhere.record().lost))
        raise AssertionError("a session that nobody holds is refused")

    async def read(self, key: Key) -> Kept:
        """All that is here of a session, in its turn. Raises NotHere, SessionUnavailable."""
        async with self.table.turn(key) as entry:
            return Kept(_held(entry), entry.state, entry.replies)

    async def create(self, model: str, session: str | None, birth: Birth = Birth()) -> tuple[Key, Copy]:  # noqa: B008
        """Make a session without a step; without an id, under one that is minted.

        Raises SessionConflict `exists`, BadSession `reserved-id`, SessionRefused, SessionUnavailable; and NotHere with
        the ordinal that is to do it, or that has the session.
        """
        own = self.elsewhere.ordinal
        key = Key(model, mint(own) if session is None else session)
        for _ in range(TRIES):
            record = self.elsewhere.record()
            async with self.table.turn(key) as entry:
                copy = entry.copy
                if copy is not None and copy.phase is Phase.MOVING:
                    raise moving(key)
                if copy is not None and copy.live:
                    raise SessionConflict(
                        f"session '{key.session}' is there already, at step {copy.step}; end it first",
                        "exists",
                        session=key.session,
                        expected=copy.step + 1,
                    )
                if copy is None or copy.phase is not Phase.HELD:
                    home = place(key, record.least if session is None else record.size)
                    if home != own:
                        raise NotHere(key.session, home)
                    if session is not None:
                        # Who asks while others are asked waits for its turn; they answer within a bounded time.
                        at = await self.elsewhere.absent(key)
                        if at is not None:
                            raise NotHere(key.session, at.ordinal, moving=at.moving)
                        steps.absent(SessionCall(key.session, start=True))
                    if not self._looking.still(record.epoch):
                        continue
                return key, await self._born(entry, record.epoch, birth)
        raise nowhere(key)

    async def _born(self, entry: Entry, epoch: int, birth: Birth) -> Copy:
        """Commit a new life, in its turn and in the turn of the loop in which it was found to be allowed."""
        self.room.for_one()
        now = self.now()
        size = sum(bytes_of(tensor.array) for tensor in birth.state)
        self.room.check(entry.key, size)
        since = epoch if entry.copy is None or entry.copy.phase is not Phase.HELD else entry.copy.since
        copy = Copy(Phase.HELD, since, steps.new_incarnation(), birth.step, None, None, *birth[:2], now, now, size)
        self.room.births += 1
        try:
            await self.table.write_all([(entry, Kept(copy, birth.state, birth.replies))])
        finally:
            self.room.births -= 1
        entry.rewound = False
        self.stats.created[entry.key.model] += 1
        return copy

    async def end(self, key: Key) -> Copy:
        """End a session; one that has ended stays as it is. Raises NotHere, SessionUnavailable, SessionRefused."""
        ended: asyncio.Future[Copy | None] = asyncio.get_running_loop().create_future()

        def told(outcome: Copy | RequestError | None) -> None:
            if ended.done():  # Whoever asked has hung up.
                return
            if isinstance(outcome, RequestError):
                ended.set_exception(outcome)
            else:
                ended.set_result(outcome)

        self.table.enqueue(key, Ending(self, "ended", told))
        copy = await ended or self._looking.copy(key)
        if copy is None or copy.phase is not Phase.HELD:
            raise NotHere(key.session, moving=copy is not None and copy.phase is Phase.MOVING)
        return copy

    async def reset(self, key: Key) -> Copy:
        """Begin a new life of a session, with the state that the model begins with. Raises NotHere, SessionUnavailable,
        SessionRefused.
        """
        async with self.table.turn(key) as entry:
            before = Kept(_held(entry), entry.state, entry.replies)
            if before.copy.end is not None:
                self.room.for_one()
            now = self.now()
            copy = Copy(Phase.HELD, before.copy.since, steps.new_incarnation(), created=now, last_used=now)
            await self.table.write_all([(entry, Kept(copy))])
            entry.rewound = False  # Of the life that ended.
        if before.copy.live:
            self.restarted(key, before)
        return copy

    def restarted(self, key: Key, before: Kept) -> None:
        """A new life of an id has begun over one that had not ended."""
        self.stats.ended[key.model, "restarted"] += 1
        tell(self.hook, key, before, "restarted")

    def ended(self, key: Key, last: Kept) -> None:
        """A step has ended its session, and left it in this state."""
        self.stats.ended[key.model, "ended"] += 1
        tell(self.hook, key, last, "ended")

    # --- the end

    async def close(self) -> None:
        """Look for no session any more. The table is closed by who opened its store."""
        self.sweep.close()
        await self._looking.close()


def _no_hook() -> None:
    """Nobody wants to know."""


def _held(entry: Entry) -> Copy:
    """The copy that is held here. Raises NotHere."""
    copy = entry.copy
    if copy is None or copy.phase is not Phase.HELD:
        raise NotHere(entry.key.session, moving=copy is not None and copy.phase is Phase.MOVING)
    return copy
