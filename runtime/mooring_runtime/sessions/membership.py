"""Which membership record this replica goes by, and what follows from it for the sessions that it has.

A record is adopted when its epoch is higher than that of the one before, whoever brought it: the operator, the mounted
file, another replica. It never goes back. From the moment the adoption is handed to the store everything that is
decided is decided under it, and since the store does all in its order, nothing of that is on disk before the record.

What others build on (`absent`, `taken`, `refused`, a report that says `clean`) is decided after a commit that began
after the question came: what was handed to the store under an earlier record has then arrived, and is counted.

A drain is no resize: a replica that is told to stop hands nothing over. Its sessions stay on its volume, and are there
again when it comes back; only a record that no longer has it makes them leave.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.sessions.copies import Copy, Phase
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import StoreFailed
from mooring_runtime.sessions.table import Table

log = logging.getLogger(__name__)

_SLICE = 256
"""Sessions that are looked at, or dropped, between two turns of the event loop: some 2 ms."""


class Report(NamedTuple):
    """What a replica says of itself: to the operator, which settles and scales by it, and to other replicas."""

    ordinal: int
    store: str
    boot: int
    record: Record | None
    clean: bool
    """It has adopted `record`, and nothing here is foreign under it."""
    held: int = 0
    """Copies that are held and live."""
    ended: int = 0
    foreign: int = 0
    unreadable: int = 0
    """Held copies whose model version is not served here, and which no served one can read."""
    size: int = 0
    """Bytes of sessions on the volume."""
    quarantined: int = 0
    """Sessions that were set aside; those whose place is elsewhere are `foreign` until a person drops them."""


def misfit(record: Record, ordinal: int, store: str) -> str | None:
    """Why a replica with this store may do nothing under `record`; None where it may."""
    if store in record.lost:
        return f"the store {store} was given up under epoch {record.epoch}; its sessions can be exported, not served"
    wanted = record.stores.get(ordinal, store)
    if wanted != store:
        return (
            f"ordinal {ordinal} has the store {store}, and the membership record of epoch {record.epoch} wants {wanted}"
            "; bring its volume back, or annotate the service with mooring.dev/abandon-store"
        )
    return None


def is_foreign(key: Key, copy: Copy | None, record: Record, ordinal: int) -> bool:
    """Whether a copy at `ordinal` must leave it, or is leaving it."""
    if copy is None or copy.phase is Phase.MOVED:
        return False
    return copy.phase is Phase.MOVING or place(key, record.size) != ordinal


class Membership:
    """The adopted record of one replica, and its foreign sessions."""

    def __init__(self, table: Table, ordinal: int) -> None:
        """Reads the record that was adopted last, so it blocks."""
        self.ordinal = ordinal
        self._table = table
        self._store = table.store
        self._record = table.store.record()
        self._unsaved: StoreFailed | None = None
        """Why the adoption of `_record` is not on disk."""
        self.foreign: dict[Key, None] = {}
        """Sessions that must leave, in no order; complete when `counted`."""
        self.counted = False
        self.unreadable: Callable[[], int] = int
        """See `Report`; set by who knows the models."""
        self.woken: Callable[[], None] = lambda: None
        """Called when there may be something new to hand over."""
        self._counting: asyncio.Task[None] | None = None
        table.watch = self._changed

    def start(self) -> None:
        """Begin to look for foreign sessions, and to drop what a settled record lets go."""
        self._count()

    @property
    def store(self) -> str:
        """The id of this replica's store."""
        return self._store.id

    @property
    def epoch(self) -> int:
        """Of the adopted record; 0 where there is none."""
        return 0 if self._record is None else self._record.epoch

    @property
    def adopted(self) -> Record | None:
        """The record as it is, whether or not it lets this replica do anything."""
        return self._record

    def record(self) -> Record:
        """The adopted record. Raises SessionUnavailable where nothing may be done under it, or there is none."""
        record = self._record
        if record is None:
            raise SessionUnavailable(
                f"ordinal {self.ordinal} has no membership record; the operator or MOORING_MEMBERSHIP_FILE brings it",
                "no-membership",
            )
        if self._unsaved is not None:
            raise SessionUnavailable(
                f"the membership record of epoch {record.epoch} cannot be written: {self._unsaved}", "no-membership"
            )
        if self.misfit is not None:
            raise SessionUnavailable(self.misfit, "volume-replaced")
        return record

    @property
    def misfit(self) -> str | None:
        """Why this replica may do nothing with its volume under the adopted record; None: it may, or has no record."""
        return None if self._record is None else misfit(self._record, self.ordinal, self._store.id)

    # --- adopting

    async def adopt(self, record: Record) -> None:
        """Go by `record` from now on, unless a newer one is known; returns when the adopted one is on disk.

        Raises SessionUnavailable where it cannot be written.
        """
        if record.epoch > self.epoch:
            log.info("membership record of epoch %d: size %d, past %s", record.epoch, record.size, list(record.past))
            same_places = self._record is not None and self._record.size == record.size
            self._record, self._unsaved = record, None
            saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def on_disk(failed: StoreFailed | None) -> None:
                if self._record is record:
                    self._unsaved = failed
                if not saved.done():
                    saved.set_result(None)

            self._store.adopt(record, on_disk)
            if not (same_places and self.counted):
                self.foreign = {}
                self.counted = False
            self._count()
            self.woken()
            await saved
            if self._record is record and self._unsaved is not None:
                self._retry(record)
                self.record()
        elif record.epoch == self.epoch and record != self._record:
            log.error("two membership records of epoch %d: %s and %s", record.epoch, record, self._record)
        await self.barrier()
        if self._unsaved is not None:  # Who asks again must not hear that it is adopted, either.
            self.record()

    def _retry(self, record: Record) -> None:
        """Nothing leaves this replica under a record that is not on disk; so try again until it is."""
        log.error("cannot write the membership record of epoch %d: %s", record.epoch, self._unsaved)

        def on_disk(failed: StoreFailed | None) -> None:
            if self._record is record:
                self._unsaved = failed
                if failed is not None:
                    loop.call_later(1, again)

        def again() -> None:
            if self._record is record and self._unsaved is not None:
                self._store.adopt(record, on_disk)

        loop = asyncio.get_running_loop()
        loop.call_later(1, again)

    async def barrier(self) -> None:
        """Return after a commit that began after this call. Raises SessionUnavailable where the store fails."""
        passed: asyncio.Future[StoreFailed | None] = asyncio.get_running_loop().create_future()

        def on_disk(failed: StoreFailed | None) -> None:
            if not passed.done():
                passed.set_result(failed)

        self._store.barrier(on_disk)
        failed = await passed
        if failed is not None:
            raise SessionUnavailable(f"ordinal {self.ordinal} cannot write: {failed}", "search")

    async def report(self) -> Report:
        """What this replica says of itself. Raises SessionUnavailable where its store fails."""
        await self.barrier()
        counts: dict[str, int] = {}
        for (_, word), count in self._table.counts.items():
            counts[word] = counts.get(word, 0) + count
        return Report(
            self.ordinal,
            self._store.id,
            self._store.boot,
            self._record,
            self.clean,
            counts.get("active", 0),
            counts.get("ended", 0),
            len(self.foreign),
            self.unreadable(),
            self._store.usage().used,
            len(self._table.quarantined),
        )

    @property
    def clean(self) -> bool:
        """Nothing here is foreign under the adopted record. To be looked at after a barrier only."""
        record = self._record
        if record is None or self._unsaved is not None or not self.counted or self.foreign:
            return False
        return self.misfit is None

    # --- what is here

    def newer(self, key: Key, since: int) -> Copy | None:
        """What is here of a session, None for nothing. `since`: of the copy of who asks, whose receiver is lost or has
        dropped it; 0: who asks has none.

        A copy that is on its way, and that was here before the other one came there, has been taken, and what became of
        it came there: it is as good as away. Else the two would wait for each other for ever.
        """
        entry = self._table.get(key)
        copy = None if entry is None else entry.copy
        if copy is None or copy.phase is Phase.MOVED:
            return None
        return None if copy.phase is Phase.MOVING and copy.since < since else copy

    def _changed(self, key: Key, _before: Copy | None, after: Copy | None) -> None:
        record = self._record
        if record is not None and is_foreign(key, after, record, self.ordinal):
            if key not in self.foreign:
                self.foreign[key] = None
                self.woken()
        else:
            self.foreign.pop(key, None)

    def _count(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
        if self._record is not None:
            self._counting = asyncio.get_running_loop().create_task(self._look_through(self._record))

    async def _look_through(self, record: Record) -> None:
        """Find what is foreign under `record`, a slice at a time; what changes meanwhile comes through `_changed`."""
        if not self.counted:
            for index, entry in enumerate(self._table):
                if index % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
                if is_foreign(entry.key, entry.copy, record, self.ordinal):
                    self.foreign[entry.key] = None
            for key in list(self._table.quarantined):
                if place(key, record.size) != self.ordinal:
                    self.foreign[key] = None
            self.counted = True
            self.woken()
        if record.settled:
            await self._drop_moved(record)

    async def _drop_moved(self, record: Record) -> None:
        """Every session is where it should be, and all know it: nobody can send an older copy any more."""
        moved = [entry.key for entry in self._table if entry.copy is not None and entry.copy.phase is Phase.MOVED]
        for start in range(0, len(moved), _SLICE):
            dropping = [self._drop(key, record) for key in moved[start : start + _SLICE]]
            for outcome in await asyncio.gather(*dropping, return_exceptions=True):
                if isinstance(outcome, Exception):  # It costs some bytes, until the next settled record.
                    log.warning("cannot drop what is left of a session that has moved: %s", outcome)

    async def _drop(self, key: Key, record: Record) -> None:
        async with self._table.turn(key, needs_state=False) as entry:
            if self._record is record and entry.copy is not None and entry.copy.phase is Phase.MOVED:
                await self._table.write_all([(entry, None)])

    def close(self) -> None:
        """End what is under way."""
        if self._counting is not None:
            self._counting.cancel()
