"""What this replica answers to the others: points 4 and 5 of a handoff, and the questions about its sessions."""

import asyncio
import logging
from collections.abc import Callable
from typing import ClassVar

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.sessions.copies import Copy, Kept, Phase
from mooring_runtime.sessions.encoding import Packed
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.messages import (
    Answer,
    Ask,
    Behind,
    Body,
    Envelope,
    Introduce,
    Message,
    Offer,
    Offered,
    Presence,
    Presences,
    Stale,
    Take,
    Verdict,
    Verdicts,
    Word,
)
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.points import Point, Reached
from mooring_runtime.sessions.table import Table

log = logging.getLogger(__name__)

Readable = Callable[[str, str, str], str | None]
"""By model, version and fingerprint of a state: why no model that is served here can go on from it; None: one can."""
Arrived = Callable[[int], int]
"""By the milliseconds that a session has rested elsewhere: its last use by our clock, see `budget.arrived`."""


class WrongReceiver(RequestError):  # noqa: N818 - named by what happened, as in `errors`
    """The message is for another replica, or another volume. Nothing is done."""

    http_status: ClassVar[int] = 421
    grpc_code: ClassVar[GrpcCode] = GrpcCode.FAILED_PRECONDITION
    cause = "wrong_receiver"


def verdict(here: Copy | None, offered: Copy, theirs: int, mine: int, *, home: bool) -> Word | None:
    """What becomes of a session that is handed over; None: it is accepted.

    `here` is the copy that is on disk; `theirs` and `mine` are the epochs of the sender and the receiver, of which the
    sender's is never the later one; `home`: this is the session's place under the receiver's record.
    """
    if here is not None and here.since > offered.since and not is_mark(here):
        return Word.TAKEN  # It came here after the sender got it, so this is a repeat.
    if theirs < mine:
        return Word.STALE
    if here is not None and here.since > offered.since:
        return Word.DROPPED  # Perhaps it came here too: nobody knows any more.
    if not home:
        return Word.REFUSED
    if here is not None and here.phase is Phase.HELD:
        return Word.BROKEN
    return None


def is_mark(copy: Copy) -> bool:
    """Whether this is what `dropping` leaves."""
    return copy.phase is Phase.MOVED and copy.rewound


class Receiver:
    """Answers what other replicas and the operator say."""

    def __init__(
        self, membership: Membership, table: Table, stats: SessionStats, readable: Readable, arrived: Arrived
    ) -> None:
        self._membership = membership
        self._table = table
        self._stats = stats
        self._readable = readable
        self._arrived = arrived
        self.reached: Reached = lambda point, key: None
        """Called at every point of a handoff that is this side's."""

    def behind(self, envelope: Envelope) -> bool:
        """Whether the sender has a record that is to be adopted here before its message is handled.

        Raises WrongReceiver.
        """
        membership = self._membership
        if envelope.to not in (None, membership.ordinal):
            raise WrongReceiver(f"this is ordinal {membership.ordinal}, not {envelope.to}")
        if envelope.store not in ("", membership.store):
            raise WrongReceiver(f"ordinal {membership.ordinal} has the store {membership.store}, not {envelope.store}")
        return envelope.epoch > membership.epoch

    async def answer(self, envelope: Envelope, message: Message) -> Answer:
        """Do what a message asks for. Raises WrongReceiver, and SessionUnavailable where nothing may be done here."""
        membership = self._membership
        if isinstance(message, Introduce):
            # Whoever speaks to it: the operator does not know stores before a replica has reported.
            self.behind(envelope._replace(store=""))
            await membership.adopt(message.record)
            report = await membership.report()
            return Answer(membership.epoch, membership.adopted, report)
        if self.behind(envelope):
            return Answer(membership.epoch, None, Behind())
        membership.record()
        # What is told is decided after this: it proves that the volume is still ours, and what was handed to the store
        # under an earlier record has come into the table.
        await membership.barrier()
        membership.record()  # The record may have been on its way to the disk, and have had no room there.
        # A record that comes while sessions are written is later than what was decided: under it they may be wanted.
        epoch = membership.epoch
        body = await self._body(envelope, message)
        newer = membership.adopted if membership.epoch > envelope.epoch else None
        return Answer(epoch, newer, body)

    async def _body(self, envelope: Envelope, message: Ask | Offer | Take) -> Body:
        membership = self._membership
        if isinstance(message, Take):
            proved = message.proved or [0] * len(message.sessions)
            handing = [self._hand(envelope, each, under) for each, under in zip(message.sessions, proved, strict=True)]
            return Verdicts(tuple(await asyncio.gather(*handing)))
        if envelope.epoch != membership.epoch:
            return Stale()
        if isinstance(message, Ask):
            since = message.since or [0] * len(message.keys)
            return Presences(tuple(map(self._presence, message.keys, since)))
        return Offered(membership.store, self._objection(message) or "")

    def _objection(self, offer: Offer) -> str | None:
        """Why sessions like these are not wanted here. It is said before they are frozen: a session that is frozen for
        a replica which cannot take it answers nobody.
        """
        usage = self._table.store.usage()
        if usage.used + offer.size > usage.limit or usage.free < offer.size:
            return f"the volume has no room for {offer.size} bytes"
        return self._readable(offer.model, offer.version, offer.fingerprint) if offer.fingerprint else None

    def _presence(self, key: Key, since: int) -> Presence:
        # What cannot be read is here all the same: else it would be created anew elsewhere, and its client would meet
        # an empty state. But nobody is to give up a good copy for it.
        if key in self._table.quarantined:
            return Presence.TORN
        copy = self._membership.newer(key, since)
        if copy is None:
            return Presence.ABSENT
        return Presence.MOVING if copy.phase is Phase.MOVING else Presence.HERE

    async def _hand(self, envelope: Envelope, handed: Packed, proved: int) -> Verdict:
        try:
            found = await self._take(envelope, handed, proved)
        except RequestError as error:  # A full disk, a copy that cannot be read: the sender keeps the session.
            found = Verdict(Word.LATER, str(error))
        self.reached(Point.ANSWERED, handed.key)
        self._stats.handoffs["in", found.word.value] += 1
        return found

    async def _take(self, envelope: Envelope, handed: Packed, proved: int) -> Verdict:
        """Point 4. The session may be stepped here as soon as the commit is on disk, and only then is `taken` said.

        `proved`: the epoch under which nobody else has anything newer, see `Take`.
        """
        key, (copy, state, replies), idle = handed
        known = self._table.get(key)
        if known is not None and known.copy is not None and key not in self._table.quarantined:
            # `since` only grows, so a repeat need not wait for the steps that are applied here meanwhile.
            epoch = self._membership.record().epoch
            if verdict(known.copy, copy, envelope.epoch, epoch, home=False) is Word.TAKEN:
                return Verdict(Word.TAKEN)
        async with self._table.turn(key) as entry:
            record = self._membership.record()
            home = place(key, record.size) == self._membership.ordinal
            here, dropped = entry.copy, entry.copy is not None and is_mark(entry.copy)
            if dropped and proved == record.epoch:
                here = None  # Nobody has what may have come here.
            word = verdict(here, copy, envelope.epoch, record.epoch, home=home)
            if word is Word.BROKEN:
                log.error(
                    "ordinal %s hands over session '%s' of model '%s', there since epoch %d, and one from epoch %d is "
                    "held here: neither is touched",
                    *(envelope.sender, key.session, key.model, copy.since, entry.copy.since if entry.copy else 0),
                )
            if word is not None:
                return Verdict(word)
            if copy.end is None and copy.fingerprint:
                cause = self._readable(key.model, copy.version, copy.fingerprint)
                if cause is not None:
                    return Verdict(Word.LATER, cause)
            rested = self._arrived(idle)
            # The end was written down by another clock.
            end = None if copy.end is None else copy.end._replace(time=rested)
            held = copy._replace(phase=Phase.HELD, since=record.epoch, to=None, end=end, last_used=rested)
            held = held._replace(rewound=held.rewound or (dropped and end is None))
            await self._table.write_all([(entry, Kept(held, state, replies))])
            entry.rewound = held.rewound
        self.reached(Point.KEPT, key)
        return Verdict(Word.TAKEN)
