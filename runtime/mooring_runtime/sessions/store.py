"""The seam between sessions and where they are kept. `lmdb_store` is the one that ships; tests have one in memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from mooring_runtime.sessions.copies import Copy, Kept, State, StoredReply
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.record import Record


class StoreFailed(Exception):  # noqa: N818 - named by what happened, as in `errors`
    """A commit did not happen, and nothing of it is on disk."""


class StoreFull(StoreFailed):
    """There is no room; what was committed earlier stays and can be read."""


class Corrupt(Exception):  # noqa: N818 - as above
    """What is on disk of a session is torn or was changed: it is set aside, and never served. The text says what."""


class Change(NamedTuple):
    """What one session is to be from now on; all of it is on disk, or nothing."""

    key: Key
    copy: Copy | None
    """None: nothing is kept of it any more, neither state nor replies. With None, and with a copy that has moved, what
    was set aside of the session goes too."""
    state: State | None = None
    """None: as it is; empty: none any more."""
    replies: tuple[StoredReply, ...] | None = None
    """All that are kept from now on; None: as they are. Those that were there already cost nothing to name again."""
    in_place: bool = False
    """It says everything, and all of it stands where the session's records stand already, see `copies.apart`: the
    store need not look at them. The replies are small."""


class Usage(NamedTuple):
    """Room on the volume, in bytes."""

    used: int
    """By sessions, freed pages not counted."""
    limit: int
    """What the sessions may take."""
    free: int
    """What the file system still has."""


Done = Callable[[StoreFailed | None], None]
"""Called on the event loop when a commit is on disk, or has failed. An I/O error is no failure of a commit: it ends the
process, since nobody knows then what is on disk."""


class Store(Protocol):
    """A volume's store. `commit`, `adopt` and `barrier` are called on the event loop and done in their order."""

    id: str
    """Random, made when the store was."""
    boot: int
    """Counts its openings."""
    clean: bool
    """It was closed in order the last time, or is new."""

    def record(self) -> Record | None:
        """The record adopted last; blocks, and is called before the server is ready."""

    def copies(self) -> Iterator[tuple[Key, Copy]]:
        """Every session's copy; blocks, and is called once, before the server is ready. One that is corrupt is set
        aside and left out; `quarantined` has it then.
        """

    def quarantined(self) -> dict[Key, str]:
        """Sessions that were set aside, and what is wrong with each."""

    def read(self, key: Key) -> Kept:
        """All of one session; blocks, and is called on a thread while no commit for this key is under way.

        Raises Corrupt, after the session was set aside, and KeyError for one that is not there.
        """

    def commit(self, changes: Sequence[Change], done: Done, *, lazy: bool = False) -> None:
        """Put `changes` on disk, all or nothing. `lazy`: at the end of the interval, or with the next that is not."""

    def adopt(self, record: Record, done: Done) -> None:
        """Put a membership record on disk."""

    def barrier(self, done: Done) -> None:
        """`done` after a commit, with a sync, that began after this call: proves that the volume is still ours."""

    def usage(self) -> Usage:
        """What is taken and what is left; may be some seconds old."""

    def close(self) -> None:
        """Commit what waits, say that the end was in order, and close; blocks."""
