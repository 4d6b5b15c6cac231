"""The sessions of this replica by key: what is done to one is done one at a time, and what is known of it is on disk.

Who wants to do something to a session waits for its turn: `enqueue` calls `Turn.begin` with the entry, read from disk
if need be, and nobody else touches that session until `Table.done`. Between the two the turn may `write`. There is no
lock over sessions: two of them never wait for each other, but for the disk.

States in memory are a cache of the disk, bounded by `budget` bytes; the copies stay, some hundred bytes each. A lazy
write lets memory go ahead of the disk; when its commit fails, memory is thrown away and read again.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter

from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.sessions.changes import change_of, last_used, lost, nobody, refusal, until, word
from mooring_runtime.sessions.collector import Frozen, no_collections
from mooring_runtime.sessions.copies import Copy, Kept, Phase
from mooring_runtime.sessions.entries import NO_TURNS, Entry, Turn, Waiting, Written
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.reader import Reader
from mooring_runtime.sessions.store import Change, Corrupt, Store, StoreFailed
from mooring_runtime.sessions.together import Together

STOPPING = "this server is stopping"
Changed = Callable[[Key, Copy | None, Copy | None], None]
"""Called with the copy before and after, where a session came, went, ended, or changed its phase."""


class Table:
    """The entries of one store. Every method is called on the event loop."""

    def __init__(self, store: Store, budget: int, stats: SessionStats | None = None, *, doubt: int = 0) -> None:
        """Reads every copy of the store, so it blocks. `doubt`: of sessions that were last used before this, in
        milliseconds since 1970, the last steps may be lost, and no client was told.
        """
        self.store = store
        self.stats = SessionStats() if stats is None else stats
        self.watch: Changed | None = None
        """Told, once it is so in memory. Not of mere steps, which are many."""
        self.quarantined: dict[Key, str] = {}
        """Sessions that are not served, and why."""
        self.warm_bytes = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        """Copies by model and `active`, `ended`, `moving`, `moved`."""
        self.schemas: Counter[tuple[str, str, str]] = Counter()
        """Sessions that have not ended and are not away, by model, fingerprint and version of their state."""
        self.idle: OrderedDict[Key, Entry] = OrderedDict()
        """Those that are held and have not ended; the one that has rested for longest first."""
        self.ended: OrderedDict[Key, Entry] = OrderedDict()
        """Those that have ended and are still known; the one that ended first comes first."""
        self._ahead: deque[float] = deque()
        """When the steps that were answered and are not on disk yet were handed to the store."""
        self._failing = False
        """The last lazy commit has failed, as on a full disk: until one succeeds none is lazy, or steps would be
        answered, and undone, an interval at a time for as long as that lasts."""
        self._budget = budget
        self._closed = False
        self._awaited: dict[Key, asyncio.Future[None]] = {}
        """Sessions whose next change of phase somebody waits for."""
        self._entries: dict[Key, Entry] = {}
        self.get: Callable[[Key], Entry | None] = self._entries.get
        """The entry of a session that is known here, or about which something is under way."""
        self._warm: OrderedDict[Key, Entry] = OrderedDict()
        """Those at rest whose states are in memory, the one that was used last at the end."""
        self.follow = Together(store, self.write, self._on_disk).follow
        """`write` for steps of many sessions, by each of which its session goes on."""
        self._frozen = Frozen()
        self._open(doubt)
        self._reader = Reader(store.read)

    def _open(self, doubt: int) -> None:
        with no_collections():
            for key, copy in sorted(self.store.copies(), key=last_used):
                entry = self._entries[key] = Entry(key, copy)
                entry.rewound = copy.rewound or (copy.live and copy.last_used < doubt)
                self._count(key, copy, 1)
                if copy.phase is Phase.HELD:
                    (self.idle if copy.end is None else self.ended)[key] = entry
        # After the copies: what is found torn among them is here, or its id would be created anew with an empty state.
        self.quarantined = self.store.quarantined()
        self._frozen.grown(len(self._entries))

    # --- looking

    def unsynced(self) -> float:
        """Seconds since the oldest step that was answered and is not on disk yet; 0 when all are."""
        return perf_counter() - self._ahead[0] if self._ahead else 0.0

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    async def change(self, key: Key, seconds: float) -> None:
        """Return when the session comes, goes, or changes its phase; or after so many seconds."""
        if key not in self._awaited:
            self._awaited[key] = asyncio.get_running_loop().create_future()
        change = self._awaited[key]
        await asyncio.wait((change,), timeout=seconds)
        if not change.done() and self._awaited.get(key) is change:
            del self._awaited[key]

    # --- turns

    def enqueue(self, key: Key, turn: Turn) -> None:
        """Let `turn` begin when those before it have ended; now, when there are none."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(key, None)
        self.enter(entry, turn)

    def enter(self, entry: Entry, turn: Turn) -> None:
        """`enqueue` for a session that is known here."""
        if entry.busy:
            if entry.queue is NO_TURNS:
                entry.queue = deque()
            entry.queue.append(turn)
        else:
            entry.busy = True
            self._serve(entry, turn)

    def withdraw(self, key: Key, turn: Turn) -> bool:
        """Take back a turn that has not begun; whether it was still waiting."""
        entry = self._entries.get(key)
        if entry is None or turn not in entry.queue:
            return False
        entry.queue.remove(turn)
        return True

    @asynccontextmanager
    async def turn(self, key: Key, *, needs_state: bool = True) -> AsyncIterator[Entry]:
        """`enqueue` and `done` around a block. Raises what `Turn.refuse` is told."""
        waiting = Waiting(self.done, needs_state=needs_state)
        self.enqueue(key, waiting)
        try:
            entry = await waiting.future
        except asyncio.CancelledError:
            waiting.given_up = True
            if not self.withdraw(key, waiting) and waiting.begun is not None:
                self.done(waiting.begun)
            raise
        try:
            yield entry
        finally:
            self.done(entry)

    def done(self, entry: Entry) -> None:
        """The turn has ended: the next may begin."""
        if entry.beginning:
            # It ended before its `begin` returned. `_serve` goes on: a long queue of such turns must not nest.
            entry.over = True
            return
        if entry.queue:
            self._serve(entry, entry.queue.popleft())
        else:
            self._rest(entry)

    def _serve(self, entry: Entry, turn: Turn) -> None:
        """Let a turn begin, and those behind it for as long as each ends at once."""
        if self._warm.pop(entry.key, None) is not None:
            self.warm_bytes -= entry.weight
        while True:
            entry.over = False
            entry.beginning = True
            try:
                if entry.read and not (entry.lost or self._closed or self.quarantined):  # As nearly always.
                    turn.begin(entry)
                else:
                    self._begin(entry, turn)
            finally:
                entry.beginning = False
            if not entry.over:
                return
            if not entry.queue:
                self._rest(entry)
                return
            turn = entry.queue.popleft()

    def _begin(self, entry: Entry, turn: Turn) -> None:
        if self._closed:
            self._refuse(entry, turn, "owner-down", STOPPING)
        elif entry.key in self.quarantined:
            self._refuse(entry, turn, "quarantined", f"it was set aside: {self.quarantined[entry.key]}")
        elif not entry.lost and (entry.read or not turn.needs_state):
            turn.begin(entry)
        elif entry.pending:
            # A commit of this key is still under way, and the disk is read when there is none.
            entry.reading = turn
        else:
            self._read(entry, turn)

    def _rest(self, entry: Entry) -> None:
        """Nobody wants anything of it any more, for now."""
        entry.busy = False
        entry.queue = NO_TURNS
        if entry.copy is None and not entry.pending:
            self._entries.pop(entry.key, None)
        elif entry.read and entry.copy is not None and not entry.pending:
            # One that is ahead of the disk must stay: what is read there would be older than what was answered.
            weight = entry.copy.size
            for reply in entry.replies:
                weight += reply.size
            entry.weight = weight
            self._warm[entry.key] = entry
            self.warm_bytes += weight
            if len(self._entries) + len(self._warm) > self._frozen.enough:
                self._frozen.grown(len(self._entries) + len(self._warm))
            while self.warm_bytes > self._budget and len(self._warm) > 1:
                _, coldest = self._warm.popitem(last=False)
                self.warm_bytes -= coldest.weight
                coldest.forget()

    # --- reading

    def _read(self, entry: Entry, turn: Turn) -> None:
        self._reader.read(entry.key, partial(self._was_read, entry, turn, perf_counter()))

    def _was_read(self, entry: Entry, turn: Turn, begun: float, kept: Kept | BaseException) -> None:
        if self._closed:
            self._refuse(entry, turn, "owner-down", STOPPING)
            return
        if isinstance(kept, Corrupt):
            self._quarantine(entry, str(kept))
            self._refuse(entry, turn, "quarantined", f"it was set aside: {kept}; see the server's log")
            return
        if isinstance(kept, BaseException):
            # Not set aside: nobody could drop it, and perhaps it can be read in a moment.
            self._refuse(entry, turn, "owner-down", f"it cannot be read now: {type(kept).__name__}: {kept}")
            return
        self.stats.restore.observe(perf_counter() - begun)
        if entry.lost:
            back = entry.copy is None or kept.copy.step < entry.copy.step
            entry.rewound = entry.rewound or (back and not entry.told)
            entry.lost = entry.told = False
        self._set(entry, kept)
        entry.durable = kept.copy.step
        turn.begin(entry)

    def _quarantine(self, entry: Entry, why: str) -> None:
        """Nobody can use it, nor end it: it must not stand first among those that are to expire or to make room."""
        self.quarantined[entry.key] = why
        if entry.copy is not None:
            self._count(entry.key, entry.copy, -1)
        self.idle.pop(entry.key, None)
        self.ended.pop(entry.key, None)

    def _refuse(self, entry: Entry, turn: Turn, cause: str, why: str) -> None:
        session = entry.key.session
        turn.refuse(SessionUnavailable(f"session '{session}': {why}", cause, session=session))
        self.done(entry)

    # --- writing

    def write(
        self, entry: Entry, kept: Kept | None, done: Written, *, new_state: bool = True, lazy: bool = False
    ) -> None:
        """Put what the session is now on disk, then in memory, then call `done`; None: nothing is kept of it.

        `new_state` false: the state is the one that is there. `lazy`: memory goes before, and `done` comes at once. If
        it cannot be written `done` gets the reason, and nothing has changed.
        """
        if entry.lost:
            entry.told = True
            done(lost(entry))
            return
        entry.pending += 1
        lazy = lazy and not self._failing
        on_disk = self._lazy_on_disk if lazy else self._on_disk
        self.store.commit((change_of(entry, kept, new_state),), partial(on_disk, entry, kept, done), lazy=lazy)
        if lazy:
            self._ahead.append(perf_counter())
            self._set(entry, kept)
            done(None)

    def mark(self, entry: Entry, copy: Copy, done: Written, *, drop_state: bool = False) -> None:
        """`write` what is said of a session, whose state and replies need not be in memory: they stay as they are, but
        for the state with `drop_state`.
        """
        if entry.lost:
            done(lost(entry))
            return

        def on_disk(failed: StoreFailed | None) -> None:
            entry.pending -= 1
            if failed is None:
                read = entry.read
                self._set(entry, Kept(copy, () if drop_state else entry.state, entry.replies))
                entry.read = read
                entry.durable = copy.step
            done(None if failed is None else refusal(failed, entry.key.session))
            self._read_again(entry)

        entry.pending += 1
        self.store.commit((Change(entry.key, copy, () if drop_state else None, None),), on_disk)

    async def write_all(self, changes: Sequence[tuple[Entry, Kept | None]], *, new_state: bool = True) -> None:
        """`write` for many whose turns the caller has, all or nothing. Raises the reason."""
        for entry, _ in changes:
            if entry.lost:
                raise lost(entry)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_disk(failed: StoreFailed | None) -> None:
            for entry, kept in changes:
                self._on_disk(entry, kept, nobody, failed)
            if written.done():
                return
            if failed is None:
                written.set_result(None)
            else:
                written.set_exception(refusal(failed, changes[0][0].key.session))

        for entry, _ in changes:
            entry.pending += 1
        self.store.commit([change_of(entry, kept, new_state) for entry, kept in changes], on_disk)
        # Who waits may give up; what was begun is on disk or not all the same, and its turn must last until then.
        await until(written)

    def _on_disk(self, entry: Entry, kept: Kept | None, done: Written, failed: StoreFailed | None) -> None:
        entry.pending -= 1
        if failed is None:
            self._set(entry, kept)
            entry.durable = 0 if kept is None else kept.copy.step
            self._failing = self._failing and (kept is None or not kept.state)  # What has no state takes no room.
            done(None)
        else:
            done(refusal(failed, entry.key.session))
        if entry.reading is not None:
            self._read_again(entry)

    def _lazy_on_disk(self, entry: Entry, kept: Kept | None, _: Written, failed: StoreFailed | None) -> None:
        entry.pending -= 1
        self._ahead.popleft()
        if failed is None:
            entry.durable = 0 if kept is None else kept.copy.step
        else:
            entry.lost = self._failing = True
            entry.forget()
        self._read_again(entry)
        if not entry.pending and not entry.busy:
            self._rest(entry)

    def _read_again(self, entry: Entry) -> None:
        """Whoever waits for the last commit of an entry that is to be read may read it now."""
        if entry.reading is not None and not entry.pending:
            turn, entry.reading = entry.reading, None
            self._read(entry, turn)

    def _set(self, entry: Entry, kept: Kept | None) -> None:
        before = entry.copy
        if kept is None:
            entry.copy, entry.state, entry.replies = None, (), ()
            after = None
        else:
            after, entry.state, entry.replies = kept
            entry.copy = after
        entry.read = True
        # The phase, and from the end on what is known of the state's maker.
        if before is None or after is None or before.phase is not after.phase or before[4:8] != after[4:8]:
            self._recount(entry, before, after)
        elif entry.key in self.idle:
            self.idle.move_to_end(entry.key)

    def _recount(self, entry: Entry, before: Copy | None, after: Copy | None) -> None:
        key = entry.key
        if before is not None:
            self._count(key, before, -1)
        if after is not None:
            self._count(key, after, 1)
        self.idle.pop(key, None)
        self.ended.pop(key, None)
        if after is not None and after.phase is Phase.HELD:
            (self.idle if after.end is None else self.ended)[key] = entry
        if self._awaited and (change := self._awaited.pop(key, None)) is not None:
            change.set_result(None)
        if self.watch is not None:
            self.watch(key, before, after)

    def _count(self, key: Key, copy: Copy, by: int) -> None:
        self.counts[key.model, word(copy)] += by
        if copy.phase is not Phase.MOVED and copy.end is None:
            schema = (key.model, copy.fingerprint, copy.version)
            self.schemas[schema] += by
            if not self.schemas[schema]:
                del self.schemas[schema]

    def close(self) -> None:
        """Let no turn begin any more, commit what waits, and close the store; blocks."""
        self._closed = True
        self._reader.close()
        self.store.close()
