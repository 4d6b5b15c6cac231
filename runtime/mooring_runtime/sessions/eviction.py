"""Sees to it that there is room for sessions: refuses new ones, or ends those that have rested for longest."""

from collections.abc import Callable
from itertools import islice

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionRefused
from mooring_runtime.sessions.budget import Limits
from mooring_runtime.sessions.copies import Copy
from mooring_runtime.sessions.endings import Ending, Holds
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.keys import Key

_MOST_VICTIMS = 64
"""Sessions that are evicted for one step, at most."""


class Eviction:
    """Of one replica."""

    def __init__(self, holder: Holds, limits: Limits) -> None:
        self._holder = holder
        self._limits = limits
        self.births = 0
        """Sessions whose creation is about to be committed."""
        self._evicting = 0
        """Sessions that are about to end to make room."""

    def for_one(self) -> None:
        """See to it that there may be one session more. Raises SessionRefused."""
        most = self._limits.sessions
        if most is None:
            return
        idle = self._holder.table.idle
        missing = len(idle) + self.births - self._evicting + 1 - most
        if missing <= 0:
            return
        victims = list(islice((each for each in idle.values() if not each.busy), missing))
        if not self._limits.evict or len(victims) < missing:
            raise SessionRefused(
                f"this server has {len(idle)} sessions, as many as MOORING_MAX_SESSIONS allows; end some, or let "
                "MOORING_SESSION_EVICTION be idle",
                "too-many-sessions",
            )
        self._evict(victims, "sessions", lambda: None)

    def for_bytes(self, size: int, then: Callable[[], None]) -> bool:
        """Begin to end sessions that take as much as `size` bytes, or so, and call `then` when they have ended; false
        where none may be ended.
        """
        return self._limits.evict and self._evict(self._oldest(size), "bytes", then)

    def _oldest(self, size: int) -> list[Entry]:
        """Sessions that have rested for longest and take as much together as `size` bytes, or so."""
        found: list[Entry] = []
        for entry in islice(self._holder.table.idle.values(), _MOST_VICTIMS):
            if not entry.busy and entry.copy is not None:
                found.append(entry)
                size -= entry.copy.size
                if size <= 0:
                    break
        return found

    def _evict(self, victims: list[Entry], limit: str, then: Callable[[], None]) -> bool:
        """End sessions to make room, and call `then` when they have ended; false, where there is none."""
        left = len(victims)

        def told(_: Copy | RequestError | None) -> None:
            nonlocal left
            self._evicting -= 1
            left -= 1
            if not left:
                then()

        self._evicting += left
        for victim in victims:
            self._holder.table.enqueue(victim.key, Ending(self._holder, "evicted", told, evicts=limit))
        return bool(victims)

    def check(self, key: Key, size: int) -> None:
        """Raise SessionRefused for a state of too many bytes."""
        most = self._limits.session_bytes
        if size > most:
            raise SessionRefused(
                f"session '{key.session}' would have a state of {size} bytes, and MOORING_MAX_SESSION_BYTES is {most}",
                "session-too-big",
                session=key.session,
            )
