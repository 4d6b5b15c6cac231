"""The databases of a store and its journal, without the threads and the syncs: for tests of what stands where."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import lmdb

from mooring_runtime.sessions import records
from mooring_runtime.sessions.copies import Copy, Kept
from mooring_runtime.sessions.journal import JOURNALING, NAMES, Group, Journal, Journaling
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.records import Databases
from mooring_runtime.sessions.store import Change
from tests.support.stores import change, key

MANY = 1
"""Leaves with which steps go to the journal, in the tests."""


def stepped(number: int, session: int | str = 1) -> Change:
    """A step of a small session that is there."""
    return change(number, session)._replace(in_place=True)


class Undone(Exception):  # noqa: N818 - named by what happens
    """A transaction that is given up."""


def undo() -> NoReturn:
    """Give a transaction up."""
    raise Undone


class Volume:
    """One environment."""

    def __init__(self, path: Path, journaling: Journaling = JOURNALING) -> None:
        self.environment = lmdb.open(str(path), max_dbs=5, map_size=2**26, sync=False)
        self.databases = Databases(*(self.environment.open_db(name) for name in (b"meta", b"sessions", b"quarantine")))
        self.journals = [self.environment.open_db(name) for name in NAMES]
        self._journaling = journaling
        self.restart()

    def restart(self) -> None:
        """Forget what is in memory, as a process that was killed."""
        self.journal = self.loaded()

    def loaded(self) -> Journal:
        """The journal as another process would read it."""
        journal = Journal(self.journals, self._journaling)
        with self.environment.begin() as txn:
            journal.load(txn)
        return journal

    @contextmanager
    def dead(self) -> Iterator[None]:
        """In the block it is read as by the next process, were this one killed now."""
        alive, self.journal = self.journal, self.loaded()
        yield
        self.journal = alive

    def put(self, *changes: Change, leaves: int = 0) -> None:
        """Commit changes, in a database of so many leaves."""
        with self.group(leaves) as (txn, group):
            records.put(txn, self.databases, changes, group)
            group.fold(len(changes))

    @contextmanager
    def group(self, leaves: int = 0) -> "Iterator[tuple[lmdb.Transaction[bytes], Group]]":
        """A transaction that is committed at the end of the block; what raises there undoes all of it."""
        with self.environment.begin(write=True) as txn:
            group = Group(self.journal, txn, self.databases.sessions, leaves)
            yield txn, group
            group.write()
        group.committed()

    def read(self, which: Key | None = None) -> Kept:
        """A session, that of `key()` where none is named."""
        which = key() if which is None else which
        pending = records.pending(self.journal, which)
        with self.environment.begin(buffers=True) as txn:
            return records.read(lambda name: txn.get(name, db=self.databases.sessions), which, pending)

    def listed(self) -> dict[Key, Copy]:
        """All copies, none of which is torn."""
        with self.environment.begin(buffers=True) as txn:
            copies, corrupt = records.listed(txn, self.databases, self.journal)
        assert corrupt == []
        assert len(dict(copies)) == len(copies)
        return dict(copies)

    def tags(self) -> list[str]:
        """What records there are of the session of `key()` where they belong."""
        names = self.names(self.databases.sessions)
        return [name.rpartition(b"\x00")[2].decode() for name in names if name.startswith(records.prefix_of(key()))]

    def names(self, database: "lmdb._Database") -> list[bytes]:
        """The names of all that is in a database."""
        with self.environment.begin(db=database) as txn:
            return [name for name, _ in txn.cursor()]

    def change(
        self, database: "lmdb._Database", place: int, how: Callable[[bytes, bytes], tuple[bytes, bytes]]
    ) -> None:
        """Damage what stands at a place of a database; nothing for a name: take it away."""
        name = self.names(database)[place]
        with self.environment.begin(write=True, db=database) as txn:
            other, value = how(name, txn.get(name) or b"")
            txn.delete(name)
            if other:
                txn.put(other, value)
