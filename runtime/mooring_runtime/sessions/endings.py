"""How sessions end without a step: by the API, by expiry, by eviction; and how they are forgotten afterwards.

Each is a commit in the queue of its session, as a step is. What was ended is known for as long as a session may rest,
so that a client that comes back is told the cause.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from mooring_runtime.errors import RequestError
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.sessions.copies import Copy, End, Kept
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.table import Table

log = logging.getLogger(__name__)

Hook = Callable[[Key, Kept, str], None]
"""Told that a session has ended: what it was, and the cause. On the event loop, so it must be quick."""
Ended = Callable[[Copy | RequestError | None], None]
"""Called with the ended copy, or with why it could not be written; None: there was nothing to end."""


def ended_copy(copy: Copy, cause: str, now: int) -> Copy:
    """A copy that has ended: it keeps no state."""
    return copy._replace(end=End(cause, now, copy.step), size=0, digest=b"", rewound=False)


class Holds(Protocol):
    """What an ending needs of the holder."""

    table: Table
    stats: SessionStats

    @property
    def hook(self) -> Hook | None:
        """Told of sessions that end; None: nobody wants to know."""

    def now(self) -> int:
        """Milliseconds since 1970."""


class Ending:
    """The turn that ends a live session."""

    def __init__(
        self, holder: Holds, cause: str, told: Ended, due: Callable[[Copy], bool] = lambda _: True, *, evicts: str = ""
    ) -> None:
        """`due` is asked when the turn has come: a step may have come before. `evicts`: the limit that was reached."""
        self.needs_state = holder.hook is not None
        self._holder = holder
        self._cause = cause
        self._told = told
        self._due = due
        self._evicts = evicts

    def begin(self, entry: Entry) -> None:
        """End it, if it still lives and that is still due."""
        copy = entry.copy
        if copy is None or not copy.live or not self._due(copy):
            self._holder.table.done(entry)
            self._told(None)
            return
        before = Kept(copy, entry.state, entry.replies)
        after = ended_copy(copy, self._cause, self._holder.now())

        def written(error: RequestError | None) -> None:
            if error is None:
                self._count(entry.key, before)
            self._holder.table.done(entry)
            self._told(after if error is None else error)

        self._holder.table.mark(entry, after, written, drop_state=True)

    def refuse(self, error: RequestError) -> None:
        """It cannot be read."""
        self._told(error)

    def _count(self, key: Key, before: Kept) -> None:
        stats = self._holder.stats
        stats.ended[key.model, self._cause] += 1
        if self._evicts:
            stats.evicted[key.model, self._evicts] += 1
            log.info("a session of model '%s' was evicted: the limit of %s is reached", key.model, self._evicts)
        tell(self._holder.hook, key, before, self._cause)


def tell(hook: Hook | None, key: Key, kept: Kept, cause: str) -> None:
    """Tell the hook, whose faults are nobody's else."""
    if hook is None:
        return
    try:
        hook(key, kept, cause)
    except Exception:
        log.exception("what model '%s' does at the end of a session has failed", key.model)


class Forgetting:
    """The turn that drops what is known of an ended session."""

    needs_state = False

    def __init__(self, table: Table, due: Callable[[Copy], bool], told: Ended) -> None:
        self._table = table
        self._due = due
        self._told = told

    def begin(self, entry: Entry) -> None:
        """Drop it, if no new life has begun."""
        copy = entry.copy
        if copy is None or copy.end is None or not self._due(copy):
            self._table.done(entry)
            self._told(None)
            return

        def written(error: RequestError | None) -> None:
            self._table.done(entry)
            self._told(error)

        self._table.write(entry, None, written)

    def refuse(self, error: RequestError) -> None:
        """It stays."""
        self._told(error)
