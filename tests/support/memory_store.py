"""A store in memory: what a test says about disks happens at once, and exactly then.

    disk = Disk()                        what survives a crash
    store = MemoryStore(disk)            opens it; raises `boot`
    store.hold()                         commits wait ...
    store.release()                      ... until now; `release(1)` lets the oldest go
    store.fail()                         the next commit fails, nothing of it is on disk
    store.full = True                    commits that bring tensors fail with StoreFull, others do not
    store.corrupt(key, "torn")           the session is set aside when it is read
    store.crash()                        what waits is lost, `done` is never called; open the disk again

As with the one that ships, `done` is called by the event loop, never inside `commit`; lazy changes wait for `interval`
seconds of the loop's clock, for `flush`, or for the next commit that is not lazy.
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mooring_runtime.sessions.copies import Copy, Kept, Phase
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import Change, Corrupt, Done, StoreFailed, StoreFull, Usage

_PLENTY = 2**40


@dataclass
class Disk:
    """What is on the volume."""

    id: str = field(default_factory=lambda: secrets.token_hex(16))
    boot: int = 0
    clean: bool = True
    kept: dict[Key, Kept] = field(default_factory=dict)
    record: Record | None = None
    corrupt: dict[Key, str] = field(default_factory=dict)
    """Found torn when it is read."""
    quarantined: dict[Key, str] = field(default_factory=dict)


class Commit(NamedTuple):
    """One that waits, or was put on disk."""

    changes: tuple[Change, ...]
    record: Record | None
    done: Done


class MemoryStore:
    """A `Store` over a `Disk`."""

    def __init__(self, disk: Disk | None = None, *, limit: int = _PLENTY, interval: float | None = None) -> None:
        self.disk = disk if disk is not None else Disk()
        self.id = self.disk.id
        self.clean = self.disk.clean
        self.disk.boot += 1
        self.boot = self.disk.boot
        self.disk.clean = False
        self.limit = limit
        self.full = False
        self.dead = False
        self.written: list[Commit] = []
        """What was put on disk, in this order; barriers have neither changes nor a record."""
        self._interval = interval
        self._held = False
        self._waiting: list[Commit] = []
        self._lazy: list[Commit] = []
        self._failures: list[StoreFailed] = []

    # --- what a test says

    def hold(self) -> None:
        """From now on commits wait for `release`."""
        self._held = True

    def release(self, count: int | None = None) -> None:
        """Put what waits on disk: the oldest `count`, or all, and hold nothing back any more."""
        if count is None:
            self._held = False
            count = len(self._waiting)
        going, self._waiting = self._waiting[:count], self._waiting[count:]
        for commit in going:
            self._write(commit)

    @property
    def waiting(self) -> int:
        """Commits that are held back."""
        return len(self._waiting)

    def flush(self) -> None:
        """The end of the interval: lazy changes go on disk."""
        lazy, self._lazy = self._lazy, []
        for commit in lazy:
            self._take(commit)

    def fail(self, error: StoreFailed | None = None, *, times: int = 1) -> None:
        """Let the next `times` commits fail."""
        self._failures += [error or StoreFailed("the test lets this commit fail")] * times

    def corrupt(self, key: Key, text: str = "checksum") -> None:
        """Let what is on disk of a session be torn."""
        self.disk.corrupt[key] = text

    def crash(self) -> None:
        """The process ends here and now."""
        self.dead = True
        self._waiting.clear()
        self._lazy.clear()

    # --- the Protocol

    def record(self) -> Record | None:
        """See `Store`."""
        return self.disk.record

    def copies(self) -> Iterator[tuple[Key, Copy]]:
        """See `Store`; what is torn is found when it is read, not here."""
        return iter([(key, kept.copy) for key, kept in self.disk.kept.items()])

    def quarantined(self) -> dict[Key, str]:
        """See `Store`."""
        return dict(self.disk.quarantined)

    def read(self, key: Key) -> Kept:
        """See `Store`."""
        assert not self.dead, "a process that has crashed reads its store"
        text = self.disk.corrupt.pop(key, None)
        if text is not None:
            del self.disk.kept[key]
            self.disk.quarantined[key] = text
            raise Corrupt(text)
        return self.disk.kept[key]

    def commit(self, changes: Sequence[Change], done: Done, *, lazy: bool = False) -> None:
        """See `Store`."""
        commit = Commit(tuple(changes), None, done)
        if not lazy:
            self.flush()
            self._take(commit)
            return
        if not self._lazy and self._interval is not None:
            asyncio.get_running_loop().call_later(self._interval, self.flush)
        self._lazy.append(commit)

    def adopt(self, record: Record, done: Done) -> None:
        """See `Store`."""
        self.flush()
        self._take(Commit((), record, done))

    def barrier(self, done: Done) -> None:
        """See `Store`."""
        self.flush()
        self._take(Commit((), None, done))

    def usage(self) -> Usage:
        """See `Store`; counts arrays only."""
        used = sum(
            sum(tensor.array.nbytes for tensor in kept.state) + sum(reply.size for reply in kept.replies)
            for kept in self.disk.kept.values()
        )
        return Usage(used, self.limit, max(0, self.limit - used))

    def close(self) -> None:
        """See `Store`."""
        self.flush()
        self.release()
        self.disk.clean = True
        self.dead = True

    # ---

    def _take(self, commit: Commit) -> None:
        assert not self.dead, "a process that has crashed writes to its store"
        if self._held:
            self._waiting.append(commit)
        else:
            self._write(commit)

    def _write(self, commit: Commit) -> None:
        failed: StoreFailed | None = None
        if self._failures:
            failed = self._failures.pop(0)
        elif self.full and any(change.state or change.replies for change in commit.changes):
            failed = StoreFull("the volume is full")
        else:
            for change in commit.changes:
                self._apply(change)
            if commit.record is not None:
                self.disk.record = commit.record
            self.written.append(commit)
        # `close` blocks, perhaps after the loop's end: then nobody is left to tell.
        try:
            asyncio.get_running_loop().call_soon(self._tell, commit.done, failed)
        except RuntimeError:
            return

    def _tell(self, done: Done, failed: StoreFailed | None) -> None:
        if not self.dead:
            done(failed)

    def _apply(self, change: Change) -> None:
        if change.copy is None or change.copy.phase is Phase.MOVED:
            self.disk.quarantined.pop(change.key, None)
        if change.copy is None:
            self.disk.kept.pop(change.key, None)
            return
        old = self.disk.kept.get(change.key, Kept(change.copy))
        self.disk.kept[change.key] = Kept(
            change.copy,
            old.state if change.state is None else change.state,
            old.replies if change.replies is None else change.replies,
        )
