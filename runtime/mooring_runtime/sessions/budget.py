"""What sessions may take: bytes, numbers, time. Pure, but for the clock.

Time decides expiry only, at the replica that holds the session, by its own clock. A step of that clock backwards counts
as no time, and after a start or a move a session has at least min(TTL, 5 minutes) left: no client could have used it
meanwhile, and down time evicts no one.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from mooring_runtime.sessions.copies import Copy

GRACE = 300_000
"""Milliseconds that a session has at least after a start of its server or a move, unless its TTL is shorter."""
REMEMBERED = 86_400_000
"""Milliseconds for which it is known how a session ended, where sessions do not expire."""


class Limits(NamedTuple):
    """What the settings say of sessions."""

    ttl: int = 0
    """Milliseconds that a session may rest; 0: for ever."""
    session_bytes: int = 2**63
    """Most bytes of the state of one session."""
    sessions: int | None = None
    """Most sessions that live here; None: any number."""
    evict: bool = False
    """Whether the one that has rested for longest makes room for a new one; else that is refused."""
    lazy: bool = False
    """Replies go before their commits: `interval`."""

    @property
    def remembered(self) -> int:
        """Milliseconds for which it is known how a session ended."""
        return self.ttl or REMEMBERED


class Clock:
    """Milliseconds since 1970, that never step: the system's clock at the start, and from then on what has passed."""

    def __init__(
        self, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Both in nanoseconds."""
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self.opened = self()
        """When this server began to count."""

    def __call__(self) -> int:
        """Now."""
        return (self._offset + self._monotonic()) // 1_000_000


def expires(copy: Copy, limits: Limits, opened: int, now: int) -> int | None:
    """When a session that rests expires, in milliseconds since 1970; None: never. `opened`: see `Clock`."""
    if not limits.ttl:
        return None
    # A last use that lies ahead was written before the clock was set back.
    used = copy.last_used if copy.last_used <= now else opened
    return max(used + limits.ttl, opened + min(limits.ttl, GRACE))


def forgotten(copy: Copy, limits: Limits, opened: int, now: int) -> int:
    """When it is no longer known how a session ended, in milliseconds since 1970. For `opened` see `expires`."""
    assert copy.end is not None
    ended = copy.end.time if copy.end.time <= now else opened
    return max(ended + limits.remembered, opened + min(limits.remembered, GRACE))


def arrived(idle: int, limits: Limits, now: int) -> int:
    """`last_used` of a session that has come from elsewhere, where it had rested for `idle` milliseconds."""
    if not limits.ttl:
        return now - max(0, idle)
    return now - min(max(0, idle), limits.ttl - min(limits.ttl, GRACE))
