"""The sessions of this replica by key: what is done to one is done one at a time, and what is known of it is on disk.

Who wants to do something to a session waits for its turn: `enqueue` calls `Turn.begin` with the entry, read from disk
if need be, and nobody else touches that session until `Table.done`. Between the two the turn may `write`. There is no
lock over sessions: two of them never wait for each other, but for the disk.

States in memory are a cache of the disk, bounded by `budget` bytes; the copies stay, some hundred bytes each.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Protocol

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionRefused, SessionUnavailable
from mooring_runtime.sessions.copies import Copy, Kept, Phase, State, StoredReply
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.store import Change, Corrupt, Store, StoreFailed, StoreFull


class Turn(Protocol):
    """Something that is done to one session while nothing else is."""

    def begin(self, entry: "Entry") -> None:
        """The turn has come; `Table.done` ends it, at once or later."""

    def refuse(self, error: RequestError) -> None:
        """It cannot come: what is on disk of the session cannot be read. `done` is not to be called."""


class Entry:
    """One session. Only who has its turn reads `state` and `replies`, or writes."""

    __slots__ = ("busy", "copy", "durable", "key", "queue", "read", "replies", "state")

    def __init__(self, key: Key, copy: Copy | None) -> None:
        self.key = key
        self.copy = copy
        """None: nothing is known of it here."""
        self.state: State = ()
        self.replies: tuple[StoredReply, ...] = ()
        self.read = copy is None
        """`state` and `replies` are what the disk has; else they are only there."""
        self.queue: deque[Turn] = deque()
        self.busy = False
        self.durable = 0 if copy is None else copy.step
        """The last step that is surely on disk."""

    @property
    def cached(self) -> int:
        """Bytes that it takes in memory beyond the entry itself."""
        if not self.read or self.copy is None:
            return 0
        return self.copy.size + sum(reply.size for reply in self.replies)


class Table:
    """The entries of one store. Every method is called on the event loop."""

    def __init__(self, store: Store, budget: int) -> None:
        """Reads every copy of the store, so it blocks."""
        self.store = store
        self._budget = budget
        self._entries: dict[Key, Entry] = {key: Entry(key, copy) for key, copy in store.copies()}
        self._warm: OrderedDict[Key, Entry] = OrderedDict()
        """Those at rest whose states are in memory, the one that was used last at the end."""
        self.warm_bytes = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        """Copies by model and `active`, `ended`, `moving`, `moved`."""
        self.watch: Callable[[Key, Copy | None, Copy | None], None] | None = None
        """Told of every copy that comes, goes or changes its phase: what it was and what it is, once that is so in
        memory. Not of mere steps, which are many."""
        for entry in self._entries.values():
            self._count(entry.key, entry.copy, 1)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="session-reader")

    # --- looking

    def get(self, key: Key) -> Entry | None:
        """The entry of a session that is known here, or about which something is under way."""
        return self._entries.get(key)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    # --- turns

    def enqueue(self, key: Key, turn: Turn) -> None:
        """Let `turn` begin when those before it have ended; now, when there are none."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(key, None)
        if entry.busy:
            entry.queue.append(turn)
        else:
            entry.busy = True
            self._begin(entry, turn)

    def withdraw(self, key: Key, turn: Turn) -> bool:
        """Take back a turn that has not begun; whether it was still waiting."""
        entry = self._entries.get(key)
        if entry is None or turn not in entry.queue:
            return False
        entry.queue.remove(turn)
        return True

    @asynccontextmanager
    async def turn(self, key: Key) -> AsyncIterator[Entry]:
        """`enqueue` and `done` around a block. Raises what `Turn.refuse` is told."""
        waiting = _Waiting(self)
        self.enqueue(key, waiting)
        try:
            entry = await waiting.future
        except asyncio.CancelledError:
            if not self.withdraw(key, waiting) and waiting.begun is not None:
                self.done(waiting.begun)
            waiting.given_up = True
            raise
        try:
            yield entry
        finally:
            self.done(entry)

    def done(self, entry: Entry) -> None:
        """The turn has ended: the next may begin."""
        if entry.queue:
            self._begin(entry, entry.queue.popleft())
            return
        entry.busy = False
        if entry.copy is None:
            self._entries.pop(entry.key, None)
            return
        if entry.read:
            self._warm[entry.key] = entry
            self.warm_bytes += entry.cached
            while self.warm_bytes > self._budget and len(self._warm) > 1:
                _, coldest = self._warm.popitem(last=False)
                self._cool(coldest)

    def _begin(self, entry: Entry, turn: Turn) -> None:
        if self._warm.pop(entry.key, None) is not None:
            self.warm_bytes -= entry.cached
        if entry.read:
            turn.begin(entry)
            return
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._reader, self.store.read, entry.key)
        reading.add_done_callback(lambda read: self._was_read(entry, turn, read))

    def _was_read(self, entry: Entry, turn: Turn, read: "asyncio.Future[Kept]") -> None:
        error = None if read.cancelled() else read.exception()
        if read.cancelled() or error is not None:
            told = str(error) if isinstance(error, Corrupt) else f"{type(error).__name__}: {error}"
            turn.refuse(
                SessionUnavailable(
                    f"session '{entry.key.session}' cannot be read: {told}; it was set aside, see the server's log",
                    "quarantined",
                    session=entry.key.session,
                )
            )
            self.done(entry)
            return
        kept = read.result()
        entry.state, entry.replies, entry.read = kept.state, kept.replies, True
        turn.begin(entry)

    def _cool(self, entry: Entry) -> None:
        self.warm_bytes -= entry.cached
        entry.state, entry.replies, entry.read = (), (), False

    # --- writing

    def write(
        self,
        entry: Entry,
        kept: Kept | None,
        done: Callable[[RequestError | None], None],
        *,
        new_state: bool = True,
        lazy: bool = False,
    ) -> None:
        """Put what the session is now on disk, then in memory, then call `done`; None: nothing is kept of it.

        `new_state` false: the state is the one that is there. `lazy`: memory goes before, and `done` comes at once. If
        it cannot be written `done` gets the reason, nothing has changed, and memory is read from disk again.
        """
        change = self._change(entry, kept, new_state=new_state)

        def on_disk(failed: StoreFailed | None) -> None:
            if failed is not None:
                self.forget(entry)
                if not lazy:
                    done(refusal(failed, entry.key.session))
                return
            if not lazy:
                self._set(entry, kept)
            if entry.copy is not None and kept is not None:
                entry.durable = max(entry.durable, kept.copy.step) if lazy else kept.copy.step
            if not lazy:
                done(None)

        self.store.commit((change,), on_disk, lazy=lazy)
        if lazy:
            self._set(entry, kept)
            done(None)

    async def write_all(self, changes: Sequence[tuple[Entry, Kept | None]], *, new_state: bool = True) -> None:
        """`write` for many whose turns the caller has, all or nothing. Raises the reason."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_disk(failed: StoreFailed | None) -> None:
            for entry, kept in changes:
                if failed is not None:
                    self.forget(entry)
                else:
                    self._set(entry, kept)
                    entry.durable = 0 if kept is None else kept.copy.step
            if written.done():
                return
            if failed is None:
                written.set_result(None)
            else:
                written.set_exception(refusal(failed, changes[0][0].key.session))

        self.store.commit([self._change(entry, kept, new_state=new_state) for entry, kept in changes], on_disk)
        # Who waits may give up; what was begun is on disk or not all the same, and its turn must last until then.
        await asyncio.shield(written)

    @staticmethod
    def _change(entry: Entry, kept: Kept | None, *, new_state: bool) -> Change:
        if kept is None:
            return Change(entry.key, None)
        replies = None if kept.replies is entry.replies and entry.copy is not None else kept.replies
        return Change(entry.key, kept.copy, kept.state if new_state else None, replies)

    def _set(self, entry: Entry, kept: Kept | None) -> None:
        before = entry.copy
        self._count(entry.key, before, -1)
        if kept is None:
            entry.copy, entry.state, entry.replies = None, (), ()
        else:
            entry.copy, entry.state, entry.replies = kept
        self._count(entry.key, entry.copy, 1)
        entry.read = True
        if self.watch is not None and (before is None or kept is None or before.phase is not kept.copy.phase):
            self.watch(entry.key, before, entry.copy)

    def forget(self, entry: Entry) -> None:
        """What is in memory may not be on disk: read it again before the next turn."""
        entry.state, entry.replies = (), ()
        entry.read = entry.copy is None

    def _count(self, key: Key, copy: Copy | None, by: int) -> None:
        if copy is not None:
            ended = copy.phase is Phase.HELD and copy.end is not None
            self.counts[key.model, "ended" if ended else _WORDS[copy.phase]] += by

    def close(self) -> None:
        """Commit what waits and close the store; blocks."""
        self._reader.shutdown()
        self.store.close()


_WORDS = {Phase.HELD: "active", Phase.MOVING: "moving", Phase.MOVED: "moved"}


def refusal(failed: StoreFailed, session: str) -> RequestError:
    """What a client is told whose commit did not happen."""
    if isinstance(failed, StoreFull):
        return SessionRefused(f"session '{session}': {failed}", "volume-full", session=session)
    return SessionUnavailable(f"session '{session}': {failed}", "quarantined", session=session)


class _Waiting:
    """The turn of `Table.turn`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.future: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self.begun: Entry | None = None
        self.given_up = False

    def begin(self, entry: Entry) -> None:
        self.begun = entry
        if self.given_up:
            self._table.done(entry)
        elif not self.future.done():
            self.future.set_result(entry)

    def refuse(self, error: RequestError) -> None:
        if not self.future.done():
            self.future.set_exception(error)
