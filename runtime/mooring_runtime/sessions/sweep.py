"""Ends what has rested for too long, and forgets what ended long ago: a little at a time.

The table keeps sessions in the order of their last use, so nothing is searched for: those at the head are due or none
is. One that came from elsewhere stands behind those that were used before it came, so it may expire later than its own
last use says, never earlier.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

from mooring_runtime.errors import RequestError
from mooring_runtime.sessions.budget import Limits, expires, forgotten
from mooring_runtime.sessions.copies import Copy
from mooring_runtime.sessions.endings import Ending, Forgetting, Holds
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.keys import Key

SLICE = 128
"""Sessions that are ended or forgotten in one turn of the loop: some 2 ms, and one commit."""
_LONGEST = 10.0
"""Seconds between two looks, at most."""


class Sweep:
    """Of one holder's sessions."""

    def __init__(
        self,
        holder: Holds,
        limits: Limits,
        opened: int,
        settled: Callable[[], bool],
        served: Callable[[], bool] = lambda: True,
    ) -> None:
        """`opened`: see `budget.Clock`. `settled`: whether what has ended may be forgotten under the present record.
        `served`: whether anything may be done here; a store that was given up, or whose place another one has taken,
        keeps what it has.
        """
        self._holder = holder
        self._limits = limits
        self._opened = opened
        self._settled = settled
        self._served = served
        self._was_served = True
        self._period = max(0.05, min(_LONGEST, limits.remembered / 20_000))
        """Seconds between two looks that find nothing."""
        self._timer: asyncio.TimerHandle | None = None
        self._under_way = 0

    def start(self) -> None:
        """Look from time to time, from now on."""
        self._later(self._period)

    def _later(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._tick)

    def _tick(self) -> None:
        if not self._under_way:
            self.look()
        self._later(self._period)

    def look(self) -> int:
        """Begin to end and to forget a slice of what is due; how many."""
        table, now = self._holder.table, self._holder.now()
        begun = 0
        served, self._was_served = self._was_served, self._served()
        if not self._was_served:
            return 0
        if not served:
            self._opened = now  # As after a start: nobody could use them meanwhile.

        def over(copy: Copy) -> bool:
            when = expires(copy, self._limits, self._opened, now)
            return when is not None and when <= now

        def old(copy: Copy) -> bool:
            return forgotten(copy, self._limits, self._opened, now) <= now

        if self._limits.ttl:
            for entry in _due(table.idle, over):
                self._begin(entry, Ending(self._holder, "expired", self._over, over))
                begun += 1
        if table.ended and self._settled():
            for entry in _due(table.ended, old):
                self._begin(entry, Forgetting(table, old, self._over))
                begun += 1
        return begun

    def _begin(self, entry: Entry, turn: Ending | Forgetting) -> None:
        self._under_way += 1
        self._holder.table.enqueue(entry.key, turn)

    def _over(self, outcome: Copy | RequestError | None) -> None:
        self._under_way -= 1
        # There may be more that is due. A store that fails is tried again when the next look is.
        if not self._under_way and self._timer is not None and not isinstance(outcome, RequestError):
            self._timer.cancel()
            self._later(0.0)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _due(entries: OrderedDict[Key, Entry], due: Callable[[Copy], bool]) -> list[Entry]:
    """Those at the head that are due and that nobody uses."""
    found = []
    for entry in islice(entries.values(), SLICE):
        assert entry.copy is not None
        if not due(entry.copy):
            break
        if not entry.busy:
            found.append(entry)
    return found
