"""One session of the table, and what waits to be done to it."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mooring_runtime.errors import RequestError
from mooring_runtime.sessions.copies import Copy, State, StoredReply
from mooring_runtime.sessions.keys import Key

Written = Callable[[RequestError | None], None]
"""Called when a write is on disk, or with what the client of it is to be told."""


class Turn(Protocol):
    """Something that is done to one session while nothing else is."""

    @property
    def needs_state(self) -> bool:
        """Whether the state and the replies are to be read from disk before it begins; else only the copy is there."""

    def begin(self, entry: "Entry") -> None:
        """The turn has come; `Table.done` ends it, at once or later."""

    def refuse(self, error: RequestError) -> None:
        """It cannot come: what is on disk of the session cannot be read. `done` is not to be called."""


NO_TURNS: deque[Turn] = deque(maxlen=0)
"""Of every session at rest: an empty deque of its own would take more memory than all else that is known of it."""


class Entry:
    """One session. Only who has its turn reads `state` and `replies`, or writes."""

    __slots__ = (
        "beginning",
        "busy",
        "copy",
        "durable",
        "key",
        "lost",
        "over",
        "pending",
        "queue",
        "read",
        "reading",
        "replies",
        "rewound",
        "state",
        "told",
        "weight",
    )

    def __init__(self, key: Key, copy: Copy | None) -> None:
        self.key = key
        self.copy = copy
        """None: nothing is known of it here."""
        self.state: State = ()
        self.replies: tuple[StoredReply, ...] = ()
        self.read = copy is None
        """`state` and `replies` are what the disk has; else they are only there."""
        self.queue = NO_TURNS
        """Those that wait, behind the one that has begun."""
        self.busy = False
        """A turn has begun, or is about to."""
        self.beginning = False
        """Inside a turn's `begin`."""
        self.over = False
        """The turn has ended inside its `begin`."""
        self.pending = 0
        """Commits that are under way."""
        self.lost = False
        """A lazy commit has failed: memory was ahead of the disk, which is to be read before anything else."""
        self.reading: Turn | None = None
        """Begins when the last commit of an entry is through whose state is not in memory, and the disk was read."""
        self.rewound = False
        """Steps that were acknowledged may be lost, and the client is still to be told."""
        self.told = False
        """The client of a lost entry was told, by a step that stood on those that are undone."""
        self.weight = 0
        """Bytes that it was last counted with among those in memory."""
        self.durable = 0 if copy is None else copy.step
        """The last step that is surely on disk."""

    def forget(self) -> None:
        """Keep the copy only; the rest is read from disk when it is wanted."""
        self.state, self.replies = (), ()
        self.read = self.copy is None


class Waiting:
    """The turn of somebody who waits in a coroutine."""

    def __init__(self, done: Callable[[Entry], None], *, needs_state: bool) -> None:
        self.needs_state = needs_state
        self._done = done
        self.future: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self.begun: Entry | None = None
        self.given_up = False

    def begin(self, entry: Entry) -> None:
        """Wake who waits; one that has given up ends its turn at once."""
        if self.given_up:
            self._done(entry)
            return
        self.begun = entry
        if not self.future.done():
            self.future.set_result(entry)

    def refuse(self, error: RequestError) -> None:
        """Raise `error` where somebody waits."""
        if not self.future.done():
            self.future.set_exception(error)
