"""The broken variants of the protocol's model, put into the code: each is noticed, or the simulation proves nothing.

Of the model's 22 one is missing, `zombie-answers`: here no two processes share a volume. `test_fences` has it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mooring_runtime.sessions import receiving
from mooring_runtime.sessions.copies import Copy, Kept, Phase
from mooring_runtime.sessions.finding import Finding
from mooring_runtime.sessions.handoff import Handoff
from mooring_runtime.sessions.holder import Holder
from mooring_runtime.sessions.looking import Looking
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.messages import Verdict, Word
from mooring_runtime.sessions.peers import Talk, Unanswered
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.receiving import Receiver
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.table import Table
from tests.support.simulation.operator import Operator
from tests.support.simulation.replica import Volume

Patch = pytest.MonkeyPatch


def forget_first(patch: Patch) -> None:
    """The old owner forgets the state when it sends it, before the new owner has it on disk."""
    freeze = Handoff._freeze

    async def broken(self: Handoff, key: Any, target: Any, record: Any) -> Any:
        packed = await freeze(self, key, target, record)
        if packed is not None:
            async with self._table.turn(key) as entry:
                await self._receipt._forget(entry, packed.kept.copy)
        return packed

    patch.setattr(Handoff, "_freeze", broken)


def freeze_in_memory(patch: Patch) -> None:
    """The old owner does not write `moving` before it sends: a crash makes it an owner again."""
    apply = Volume._apply

    def broken(self: Volume, change: Any) -> None:
        if change.copy is None or change.copy.phase is not Phase.MOVING:
            apply(self, change)

    patch.setattr(Volume, "_apply", broken)


def freeze_mid_step(patch: Patch) -> None:
    """The freeze does not wait for the step that is running."""

    async def broken(self: Handoff, key: Any, target: Any, record: Any) -> Any:
        entry = self._table.get(key)
        copy = None if entry is None else entry.copy
        if entry is None or copy is None or copy.phase is not Phase.HELD or self._membership.epoch != record.epoch:
            return None
        moving = copy._replace(phase=Phase.MOVING, to=target)
        await self._table.write_all([(entry, Kept(moving, entry.state, entry.replies))], new_state=False)
        return self._handed(entry, moving)

    patch.setattr(Handoff, "_freeze", broken)


def _verdicts(patch: Patch, broken: Callable[..., Word | None]) -> None:
    patch.setattr(receiving, "verdict", broken)


def take_older_epoch(patch: Patch) -> None:
    """A replica accepts a transfer that was sent under an older epoch than its own."""

    def broken(here: Copy | None, offered: Copy, theirs: int, mine: int, *, home: bool) -> Word | None:
        if here is not None and here.since > offered.since:
            return Word.TAKEN
        return None

    _verdicts(patch, broken)


def take_over_held(patch: Patch) -> None:
    """A repeated transfer overwrites the copy that the new owner already holds."""

    def broken(here: Copy | None, offered: Copy, theirs: int, mine: int, *, home: bool) -> Word | None:
        if theirs < mine:
            return Word.STALE
        return None if home else Word.REFUSED

    _verdicts(patch, broken)


def any_copy_is_taken(patch: Patch) -> None:
    """`taken` is answered for any copy, also for a frozen one that is older than what is offered."""
    whole = receiving.verdict

    def broken(here: Copy | None, offered: Copy, theirs: int, mine: int, *, home: bool) -> Word | None:
        if here is not None and (here.phase is not Phase.MOVED or here.since >= offered.since):
            return Word.TAKEN
        return whole(here, offered, theirs, mine, home=home)

    _verdicts(patch, broken)


def no_dedupe_shipped(patch: Patch) -> None:
    """The transfer carries the tensors but not the step count and the stored replies."""
    take = Receiver._take

    async def broken(self: Receiver, envelope: Any, packed: Any, proved: int) -> Verdict:
        copy = packed.kept.copy._replace(step=0)
        return await take(self, envelope, packed._replace(kept=Kept(copy, packed.kept.state, ())), proved)

    patch.setattr(Receiver, "_take", broken)


def take_back(patch: Patch) -> None:
    """A new epoch gives the session back and the old owner thaws without asking the receiver."""
    adopt = Membership.adopt

    async def broken(self: Membership, record: Any) -> None:
        newer = record.epoch > self.epoch
        await adopt(self, record)
        if newer:
            for entry in self._table:
                copy = entry.copy
                if copy is None or copy.phase is not Phase.MOVING or place(entry.key, record.size) != self.ordinal:
                    continue
                async with self._table.turn(entry.key):
                    held = copy._replace(phase=Phase.HELD, to=None)
                    await self._table.write_all([(entry, Kept(held, entry.state, entry.replies))])

    patch.setattr(Membership, "adopt", broken)


def drop_tombstones(patch: Patch) -> None:
    """`moved` records are dropped at every new epoch, not only at a settled one."""

    async def broken(self: Membership, record: Any) -> None:
        await look(self, record)
        await self._drop_moved(record)

    look = Membership._look_through
    patch.setattr(Membership, "_look_through", broken)


def drop_ended(patch: Patch) -> None:
    """The record of an ended session is dropped under an epoch that is not settled."""
    init = Holder.__init__

    def broken(self: Holder, *arguments: Any) -> None:
        init(self, *arguments)
        self.sweep._settled = lambda: True

    patch.setattr(Holder, "__init__", broken)


def create_unasked(patch: Patch) -> None:
    """The owner by placement creates an id without asking the owners under past sizes."""

    async def broken(self: Finding, key: Any) -> None:
        return None

    patch.setattr(Finding, "absent", broken)


def absent_unadopted(patch: Patch) -> None:
    """A replica answers `absent` for an epoch that it has not adopted."""
    behind = Receiver.behind

    def broken(self: Receiver, envelope: Any) -> bool:
        behind(self, envelope)
        return False

    async def body(self: Receiver, envelope: Any, message: Any) -> Any:
        return await whole(self, envelope._replace(epoch=self._membership.epoch), message)

    whole = Receiver._body
    patch.setattr(Receiver, "behind", broken)
    patch.setattr(Receiver, "_body", body)


def create_unchecked(patch: Patch) -> None:
    """The epoch is not checked again when a creation is committed."""
    patch.setattr(Looking, "still", lambda self, epoch: True)


def epoch_in_memory(patch: Patch) -> None:
    """A replica adopts an epoch in memory only: a crash brings the older one back."""
    patch.setattr(Volume, "adopt", lambda self, record, done: self.barrier(done))


def settle_members_only(patch: Patch) -> None:
    """The operator settles when the members are clean, without the leaving replicas."""
    patch.setattr(Operator, "members_only", True)


def push_before_store(patch: Patch) -> None:
    """The operator sends a record before it is stored: after its crash the same epoch has a second body."""
    patch.setattr(Operator, "sends_unstored", True)


def reply_before_commit(patch: Patch) -> None:
    """The reply leaves before the commit."""
    write = Table.write

    def broken(self: Table, entry: Any, kept: Any, done: Any, **named: Any) -> None:
        self._set(entry, kept)
        self.store.hold()  # type: ignore[attr-defined]
        write(self, entry, kept, lambda error: None, **named)
        release = self.store.release  # type: ignore[attr-defined]
        store = self.store

        def later() -> None:
            if not store.dead:  # type: ignore[attr-defined]
                release()

        asyncio.get_running_loop().call_later(0.05, later)
        done(None)

    patch.setattr(Table, "write", broken)


def taken_before_commit(patch: Patch) -> None:
    """The new owner answers `taken` before its commit."""
    take = Receiver._take

    async def broken(self: Receiver, envelope: Any, packed: Any, proved: int) -> Verdict:
        store = self._table.store
        store.hold()  # type: ignore[attr-defined]
        taking = asyncio.get_running_loop().create_task(take(self, envelope, packed, proved))
        taking.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.__dict__.setdefault("taking", []).append(taking)
        asyncio.get_running_loop().call_later(0.05, lambda: None if store.dead else store.release())  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
        return taking.result() if taking.done() and not taking.cancelled() else Verdict(Word.TAKEN)

    patch.setattr(Receiver, "_take", broken)


def placement_owns(patch: Patch) -> None:
    """The owner by placement asks nobody and steps an empty state when it has no copy."""

    def broken(self: Holder, key: Any, record: Any) -> bool:
        return place(key, record.size) == self.elsewhere.ordinal

    patch.setattr(Holder, "_at_home", broken)


def forward_retries(patch: Patch) -> None:
    """A replica that passes an unnumbered step on sends it again after a broken connection."""
    pass_on = Talk.pass_on

    async def broken(self: Talk, ordinal: int, step: Any) -> Any:
        try:
            return await pass_on(self, ordinal, step)
        except Unanswered:
            return await pass_on(self, ordinal, step)

    patch.setattr(Talk, "pass_on", broken)


def mint_early(patch: Patch) -> None:
    """An ordinal mints as soon as it is a member by its own record, while others may not know of it."""
    patch.setattr(Record, "least", property(lambda self: self.size))


MUTATIONS: dict[str, Callable[[Patch], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        forget_first,
        freeze_in_memory,
        freeze_mid_step,
        take_older_epoch,
        take_over_held,
        any_copy_is_taken,
        no_dedupe_shipped,
        take_back,
        drop_tombstones,
        drop_ended,
        create_unasked,
        absent_unadopted,
        create_unchecked,
        epoch_in_memory,
        settle_members_only,
        push_before_store,
        reply_before_commit,
        taken_before_commit,
        placement_owns,
        forward_retries,
        mint_early,
    )
}
