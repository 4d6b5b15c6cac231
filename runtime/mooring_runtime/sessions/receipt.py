"""What becomes of a session that was sent to its receiver: point 6 of a handoff, or back.

H (this side) thaws a session only when N has refused it under H's own epoch. A newer record alone never thaws, not even
one that gives the session back: N may have it on disk, and be stepping it. One thing stands in for N's word: that its
store was given up for lost. Then everybody who may have got it from N is asked, as before a creation; and since N may
have acknowledged steps, the next request hears that the session was rewound. Where several copies were on their way to
lost stores, the one that got the session last goes on; what was set aside elsewhere may be newer, so it is waited for
until a person drops it. Where that was dropped at N itself, N no longer knows whether it had the session, and handed it
on: it says so, the same are asked, and N takes it when it hears that nobody has anything newer.
"""

import logging
from collections.abc import Awaitable, Callable

from mooring_runtime.errors import RequestError
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.sessions.copies import Copy, Kept, Phase
from mooring_runtime.sessions.elsewhere import At
from mooring_runtime.sessions.encoding import Packed
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.messages import Verdict, Word
from mooring_runtime.sessions.points import Point, Reached
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.table import Table

log = logging.getLogger(__name__)

Newer = Callable[[Key, int], Awaitable[At | None]]
"""`Finding.newer`."""


class Receipt:
    """The words of receivers, of all sessions that leave one replica."""

    def __init__(
        self, membership: Membership, table: Table, newer: Newer, stats: SessionStats, reached: Reached
    ) -> None:
        self._membership = membership
        self._table = table
        self._newer = newer
        self._stats = stats
        self._reached = reached
        self._proved: dict[Key, int] = {}
        """Frozen sessions whose receivers have dropped what was set aside of them: the epochs under which all others
        have said that they have nothing newer. Under one record sessions go to one place, so that stays true."""

    def proved(self, handed: Packed) -> int:
        """The epoch under which nobody has anything newer than what is handed over; 0: nobody was asked."""
        return self._proved.get(handed.key, 0)

    async def settle(self, handed: Packed, found: Verdict, epoch: int) -> bool:
        """Do what the receiver of a session, at its `epoch`, has said of it; whether it is frozen no longer."""
        key, sent = handed.key, handed.kept.copy
        self._stats.handoffs["out", found.word.value] += 1
        if found.word is Word.LATER or found.word is Word.BROKEN:
            log.warning(
                "session '%s' of model '%s' is not taken: %s", key.session, key.model, found.cause or found.word
            )
            return False
        if found.word is Word.STALE:
            return False  # The newer record has been adopted; it is sent again under that.
        if found.word is Word.DROPPED:
            await self.recover(key, sent.since, self._membership.record(), dropped=True)
            return False
        try:
            async with self._table.turn(key) as entry:
                copy = entry.copy
                if copy is None or copy.phase is not Phase.MOVING or copy.since != sent.since or copy.to != sent.to:
                    return True
                if copy.to is not None and copy.to.store in self._membership.record().lost:
                    return False  # What it had taken is gone with it: whether somebody got it from there is asked.
                if found.word is Word.TAKEN:
                    await self._forget(entry, copy)
                elif epoch == self._membership.epoch:
                    await self._thaw(entry, copy, rewound=self._proved.pop(key, 0) == epoch)
                else:
                    return False
        except RequestError as error:
            log.error("cannot write what became of session '%s' of model '%s': %s", key.session, key.model, error)
            return False
        return True

    async def _forget(self, entry: Entry, copy: Copy) -> None:
        self._proved.pop(entry.key, None)
        await self._table.write_all([(entry, Kept(Copy(Phase.MOVED, copy.since)))])
        self._reached(Point.FORGOTTEN, entry.key)

    async def _thaw(self, entry: Entry, copy: Copy, *, rewound: bool = False) -> None:
        held = copy._replace(phase=Phase.HELD, to=None, rewound=entry.rewound or rewound)
        await self._table.write_all([(entry, Kept(held, entry.state, entry.replies))], new_state=False)
        entry.rewound = held.rewound

    async def recover(self, key: Key, since: int, record: Record, *, dropped: bool = False) -> None:
        """The session was on its way to a store that was given up, or that has `dropped` what was torn of it."""
        try:
            found = await self._newer(key, since)
            async with self._table.turn(key) as entry:
                copy = entry.copy
                if self._membership.epoch != record.epoch or copy is None or copy.phase is not Phase.MOVING:
                    return
                if copy.to is None or copy.since != since or not (dropped or copy.to.store in record.lost):
                    return
                if found is None and dropped:
                    self._proved[key] = record.epoch
                elif found is None:
                    log.warning(
                        "session '%s' of model '%s' was on its way to the lost store %s, and goes on here from step %d",
                        *(key.session, key.model, copy.to.store, copy.step),
                    )
                    await self._thaw(entry, copy, rewound=True)
                elif found.torn:
                    log.warning(
                        "session '%s' of model '%s' was on its way to the lost store %s, and ordinal %d has set aside "
                        "what may be newer: it waits until that is dropped",
                        *(key.session, key.model, copy.to.store, found.ordinal),
                    )
                elif not found.moving:
                    await self._forget(entry, copy)
        except RequestError as error:
            log.warning("cannot take back session '%s' of model '%s' yet: %s", key.session, key.model, error)
