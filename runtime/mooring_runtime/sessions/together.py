"""Steps that a run has made together are committed together: one job of the store, and one word back."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from mooring_runtime.sessions.changes import change_of, lost
from mooring_runtime.sessions.copies import Kept
from mooring_runtime.sessions.entries import Entry, Written
from mooring_runtime.sessions.store import Change, Store, StoreFailed

log = logging.getLogger(__name__)

Following = tuple[Entry, Kept, Written]
"""A step by which a session goes on: what it leaves, and who is told."""
_MOST = 32
"""Steps of one commit: their clients are told one after the other, and nothing else happens meanwhile."""


class Write(Protocol):
    """`Table.write`."""

    def __call__(self, entry: Entry, kept: Kept | None, done: Written) -> None:
        """Write one."""


class Together:
    """Of one table: `write` writes a single step, `on_disk` takes what became of it."""

    def __init__(
        self, store: Store, write: Write, on_disk: Callable[[Entry, Kept | None, Written, StoreFailed | None], None]
    ) -> None:
        self._store = store
        self._write = write
        self._on_disk = on_disk

    def follow(self, steps: Sequence[Following]) -> None:
        """Commit steps, each in the turn of its session. Those that cannot be written together are written alone: one
        that is too large must not take its neighbours with it.
        """
        for begin in range(0, len(steps), _MOST):
            group: list[Following] = []
            changes: list[Change] = []
            for step in steps[begin : begin + _MOST]:
                entry, kept, done = step
                if entry.lost:
                    entry.told = True
                    done(lost(entry))
                    continue
                changes.append(change_of(entry, kept, True))
                entry.pending += 1
                group.append(step)
            if group:
                self._store.commit(changes, partial(self._written, group))

    def _written(self, steps: Sequence[Following], failed: StoreFailed | None) -> None:
        if failed is not None and len(steps) > 1:
            for entry, kept, done in steps:
                entry.pending -= 1
                self._write(entry, kept, done)
            return
        for entry, kept, done in steps:
            try:
                self._on_disk(entry, kept, done, failed)
            except Exception:  # One that raises must not keep the others from being told.
                log.exception("cannot tell that a commit has ended")
