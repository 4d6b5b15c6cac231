"""Steps go to a journal first, one behind the other, and to the records of their sessions later, in the order of names.

The sessions of a commit lie anywhere in a large database: each step changes a leaf of its own and the way to it, some
two pages of 4 KiB for a record of 500 bytes. In the journal the same records stand side by side at its end. What it has
is **folded** into the records of the sessions when there is enough of it that neighbours share a leaf, a few with each
commit, so that no commit waits for a fold.

Only sessions that are one record go by the journal. A state that is large has pages of its own: it would be written
twice, and that costs as much as is saved (measured with 4 KiB).

    journal 0, journal 1    NUMBER NAME CRC    the record of a session, under its name; or nothing: what earlier entries
                                               say of the name holds no longer, its record stands where it belongs

One of the two is filled. When it has enough it becomes the **older**, the other one is filled, and the older is folded
and then dropped as a whole. Entries are numbered on and on (8 bytes, big-endian), so that it can be seen which of the
two is older, and that none is missing. The CRC-32 is that of number and name; the record has its own, see `encoding`.
So a torn record is found when it is read, as one that stands in its place, and where the name is torn nobody knows
whose step is lost: the store is not opened then.

What is in the journal and not folded yet is in memory too, for whoever reads. All of it is of one database with the
records: a commit changes both or neither, and a commit that fails leaves no trace in memory (`Group`).

A folded entry stands on disk until its journal is dropped, and the next process takes it for one that is not folded. So
what changes a record where it belongs, after its fold too, says in the journal that earlier entries hold no longer: a
session that has ended since would else be back.

Invariant: the record of a session is what the newer has of it, else the older, else the sessions' database.
"""

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from mooring_runtime.sessions.store import Corrupt

if TYPE_CHECKING:
    import lmdb

    Writing = lmdb.Transaction[bytes]
    Database = lmdb._Database

NAMES = (b"journal 0", b"journal 1")
"""Of its databases."""
_NUMBER, _CRC = 8, 4
_LONGEST = 511 - _NUMBER - _CRC
"""Bytes of a name that fits into a key of LMDB with the rest."""
_FOLDED = 3
"""Records that are folded with a commit, for each of its changes: a journal is folded before the next is full."""
_GONE = b""
"""Stands for a record that is no longer in the journal."""
_AN_ENTRY = 32
"""Bytes that an entry takes beside its name and its record."""

Item = tuple[bytes, bytes]
"""The name of a record, and the record."""


class Journaling(NamedTuple):
    """When steps go to the journal."""

    leaves: int = 256
    """Leaves of the sessions' database from which on they do. With fewer (of 4 KiB, so some two thousand sessions), the
    steps of a commit share leaves where they belong."""
    size: int = 16 * 2**20
    """Bytes from which on a journal is folded. Twice that may be in memory, and more of it makes folding cheaper:
    16 MiB are 30 to 40 thousand steps, and 100,000 sessions have 12,500 leaves."""


JOURNALING = Journaling()
"""As it ships."""


class Journal:
    """Of one store. The writer's thread changes it; any thread may `get`."""

    def __init__(self, databases: Sequence["Database"], journaling: Journaling) -> None:
        """No databases: a store that never had a journal, and is only read."""
        self.databases = databases
        self.options = journaling
        self.newer: dict[bytes, bytes] = {}
        """Records by their names."""
        self.older: dict[bytes, bytes] = {}
        """The same, of the journal that is being folded; nothing for those that were, whose entries are still on disk.
        """
        self.dropped: dict[bytes, bytes] = {}
        """What is left in memory of the journal that was dropped last."""
        self.filled = 0
        """Which of the databases is filled."""
        self.number = 1
        """Of the next entry."""
        self.size = 0
        """About the bytes of the one that is filled."""
        self.aged = 0
        """The same, of the older one."""
        self.folding = False
        """There is an older one."""
        self.left: list[bytes] = []
        """A heap of names in the older that are still to be folded: sorted, they would hold the interpreter for 10 ms.
        """
        self.part: list[bytes] = []
        """Names that are folded with the next commit, taken from the heap."""

    def get(self, name: bytes) -> bytes | None:
        """The record of a name that is not folded yet; None: it stands where it belongs, or nowhere."""
        return self.said(name) or None

    def said(self, name: bytes) -> bytes | None:
        """The same, and nothing where it stands where it belongs though entries on disk still have a record of it."""
        # In this order: a journal that is no longer the newer is the older by then, see `age`.
        found = self.newer.get(name)
        return self.older.get(name) if found is None else found

    def names(self) -> set[bytes]:
        """Of all records that are not folded yet."""
        return {*self.newer, *(name for name, value in self.older.items() if value)}

    def load(self, txn: "lmdb.Transaction[bytes]") -> None:
        """Read what is there. Raises Corrupt where an entry is torn or missing: it could be a step of anybody."""
        found = [(_entries(txn, database), place) for place, database in enumerate(self.databases)]
        there = sorted((entries[0][0], place, entries) for entries, place in found if entries)
        for at, (first, place, entries) in enumerate(there):
            if at:
                if first != self.number:
                    raise Corrupt(f"entries {self.number} to {first - 1} of its journal are missing")
                self.age()
            self.filled, self.number = place, entries[-1][0] + 1
            for _, name, value in entries:
                self._take(name, value)

    def age(self) -> None:
        """Let the newer be the older from now on; that one was folded."""
        # In this order: who looks into a new one must find what was in it.
        self.older = self.newer
        self.newer = {}
        self.filled = 1 - self.filled
        self.aged, self.size = self.size, 0
        self.folding = True
        self.left = list(self.older)
        heapq.heapify(self.left)

    def _take(self, name: bytes, value: bytes) -> None:
        self.size += len(name) + len(value) + _AN_ENTRY
        if value:
            self.newer[name] = value
        else:
            self.newer.pop(name, None)
            self.older.pop(name, None)

    def written(self, fresh: dict[bytes, bytes]) -> None:
        """These entries are on disk."""
        self.number += len(fresh)
        for name, value in fresh.items():
            self._take(name, value)
        # Some at a time: a dictionary with all of them would take milliseconds to go.
        for _ in range(min(len(self.dropped), _FOLDED * len(fresh))):
            self.dropped.popitem()
        if self.size > self.options.size and not self.folding:
            self.age()

    def folded(self) -> None:
        """`part` stands where it belongs, and when nothing is left the older was dropped."""
        for name in self.part:
            if name in self.older:
                self.older[name] = _GONE
        self.part = []
        if not self.left:
            self.aged, self.folding = 0, False
            self.dropped, self.older = self.older, {}


class Group:
    """What one transaction does to the journal; in memory nothing of it is so before `committed`."""

    def __init__(self, journal: Journal, txn: "Writing", sessions: "Database", leaves: int = 0) -> None:
        """`leaves`: those of the sessions' database."""
        self._journal = journal
        self._txn = txn
        self._sessions = sessions
        size, options = journal.size, journal.options
        # On a full disk a fold may have no room where steps have: then they go where they belong, and it grows no more.
        self._open = leaves >= options.leaves and size <= 2 * options.size
        self._fresh: dict[bytes, bytes] = {}
        self._folded = False

    def takes(self, items: Sequence[Item]) -> bool:
        """Take the record of a session that says all that is to be there; or not, and then forget what is pending of
        it: the records, of which that of the copy is the last, are to be written where they belong.
        """
        name, value = items[-1]
        if self._open and len(items) == 1 and len(name) <= _LONGEST:
            self._fresh[name] = value
            return True
        if self._said(name) is not None:
            self._fresh[name] = _GONE
        return False

    def settle(self, name: bytes) -> None:
        """Put what is pending of a record where it belongs: somebody is about to look at it, or to change it there."""
        value = self._said(name)
        if value:
            self._txn.put(name, value, db=self._sessions)
        if value is not None:
            self._fresh[name] = _GONE

    def _said(self, name: bytes) -> bytes | None:
        found = self._fresh.get(name)
        return self._journal.said(name) if found is None else found

    def fold(self, changes: int) -> None:
        """Put some of the older journal where it belongs, with a commit of so many changes."""
        journal, fresh = self._journal, self._fresh
        if not journal.folding or not changes:  # A commit of nothing is to succeed where there is no room.
            return
        left, part = journal.left, journal.part
        while part:  # Of a commit that failed, perhaps a large one: room was asked for what goes with this one.
            heapq.heappush(left, part.pop())
        for _ in range(min(len(left), changes * _FOLDED)):
            part.append(heapq.heappop(left))
        # What is newer in the journal stays there, and what has gone stands where it belongs already.
        older, newer = journal.older, journal.newer
        items = [(name, older[name]) for name in part if older.get(name) and name not in newer and name not in fresh]
        if items:
            with self._txn.cursor(db=self._sessions) as cursor:
                cursor.putmulti(items)
        if not left:
            self._txn.drop(journal.databases[1 - journal.filled], delete=False)
        self._folded = True

    def write(self) -> None:
        """Put the entries at the journal's end, by one call. Raises RuntimeError where they do not belong there."""
        if self._fresh:
            number = self._journal.number
            entries = [(_key(number + at, name), value) for at, (name, value) in enumerate(self._fresh.items())]
            with self._txn.cursor(db=self._journal.databases[self._journal.filled]) as cursor:
                _, added = cursor.putmulti(entries, append=True)
            if added < len(entries):  # LMDB leaves out what is not behind the last, without a word.
                raise RuntimeError(f"{len(entries)} entries of the journal from {number} on: it has later ones already")

    def committed(self) -> None:
        """The transaction is on disk."""
        if self._folded:
            self._journal.folded()
        self._journal.written(self._fresh)


def _key(number: int, name: bytes) -> bytes:
    head = number.to_bytes(_NUMBER, "big") + name
    return head + crc32(head).to_bytes(_CRC, "little")


def _entries(txn: "lmdb.Transaction[bytes]", database: "Database") -> list[tuple[int, bytes, bytes]]:
    """(number, name, record) of each entry. Raises Corrupt."""
    found: list[tuple[int, bytes, bytes]] = []
    with txn.cursor(db=database) as cursor:
        for key, value in cursor:
            number, name = int.from_bytes(key[:_NUMBER], "big"), key[_NUMBER:-_CRC]
            if key != _key(number, name):
                raise Corrupt(f"an entry of its journal, after {len(found)} others, has a name with a wrong checksum")
            if found and number != found[-1][0] + 1:
                raise Corrupt(f"entries {found[-1][0] + 1} to {number - 1} of its journal are missing")
            found.append((number, name, value))
    return found
