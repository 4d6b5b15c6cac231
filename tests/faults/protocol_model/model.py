"""From one world to all that may be next: who acts, and what each of them knows."""

from collections.abc import Iterator
from functools import cache

from tests.faults.protocol_model import clients, handoff, losses, torn
from tests.faults.protocol_model.world import (
    HELD,
    MOVED,
    MOVING,
    TORN,
    UNSENT,
    Copy,
    Record,
    Replica,
    Scenario,
    Violation,
    World,
    put,
)

Next = Iterator[tuple[str, bool, World]]
"""A label, whether it is a fault, and the world after it."""


class Model:
    """One scenario, perhaps with something broken."""

    def __init__(self, scenario: Scenario, mutation: str | None = None) -> None:
        self.s, self.mutation = scenario, mutation
        self.count = max(scenario.sizes)
        self.place = cache(self._place)

    def broken(self, name: str) -> bool:
        """Whether this is what is broken."""
        return self.mutation == name

    def _place(self, size: int) -> int:
        """A pure function of (id, size)."""
        return next(ordinal for ordinal in self.s.ranking if ordinal < size)

    def initial(self) -> World:
        """How it begins."""
        first = Record(1, self.s.sizes[0], ())
        replicas = [Replica(0 if ordinal < first.size else -1) for ordinal in range(self.count)]
        if self.s.minted and not self.s.born:
            home = self.place(first.size)
            replicas[home] = replicas[home]._replace(copy=Copy(HELD, 1))
        if self.s.handed:
            return self._handed(first)
        requests = () if self.s.numbered else (UNSENT,) * self.s.steps
        nothing: frozenset[tuple[int, int]] = frozenset()
        return World(
            (first,), 0, 0, 0, tuple(replicas), nothing, frozenset(), frozenset(), (), 0, False, requests
        )  # fmt: skip

    def _handed(self, first: Record) -> World:
        """See `Scenario.handed`."""
        record = Record(2, self.s.sizes[1], (first.size,))
        sender, receiver = self.place(first.size), self.place(record.size)
        replicas = [Replica(1) for _ in range(self.count)]
        replicas[sender] = Replica(1, Copy(MOVING, 1, to=receiver))
        replicas[receiver] = Replica(1, Copy(HELD, 2))
        none: frozenset[tuple[int, int]] = frozenset()
        return World(
            (first, record), 1, 1, 0, tuple(replicas), none, frozenset(), frozenset(), (), 0, False, ()
        )  # fmt: skip

    def successors(self, w: World) -> Next:
        """All that may happen next."""
        yield from self.operator(w)
        for r, me in enumerate(w.replicas):
            yield from self._membership(w, r, me)
            yield from handoff.send(self, w, r, me)
            yield from losses.recover(self, w, r, me)
            yield from clients.stepping(self, w, r, me)
            yield from self._crash(w, r, me)
            if r == self.s.tears:
                yield from torn.tear(w, r, me)
                yield from torn.drop(self, w, r, me)
        for take in w.takes:
            yield from handoff.receive_take(self, w, take)
        for told in w.answers:
            yield from handoff.receive_answer(w, told)
        if not self.s.numbered:
            yield from clients.unnumbered(self, w)
        if self.s.lost >= 0:
            yield from losses.lose(self, w)

    def operator(self, w: World) -> Next:
        """What the operator, and who asks it for another size, may do next."""
        now = w.records[w.stored]
        if w.wish + 1 < len(self.s.sizes):
            yield "user resizes", True, w._replace(wish=w.wish + 1)
        size = self.s.sizes[w.wish]
        if size != now.size:
            new = Record(now.epoch + 1, size, tuple(sorted({*now.past, now.size})), now.lost)
            later = w._replace(records=(*w.records, new))
            stored = later._replace(stored=len(w.records), clean=0)
            if self.broken("push-before-store") and new not in w.records:
                yield f"operator sends {new} unstored", True, later
            yield f"operator stores {new}", False, stored
        elif now.past:
            waits = now.size if self.broken("settle-members-only") else max(*now.past, now.size)
            if all(w.clean >> r & 1 for r in range(waits)):
                new = Record(now.epoch + 1, now.size, (), now.lost)
                settled = w._replace(records=(*w.records, new), stored=len(w.records), clean=0)
                yield f"operator settles {new}", False, settled

    def _membership(self, w: World, r: int, me: Replica) -> Next:
        mine = w.records[me.record].epoch if me.record >= 0 else 0
        for index, record in enumerate(w.records):
            # A record that wants another store lets it do nothing, as none at all does.
            if record.epoch > mine and (r != self.s.lost or record.lost == me.store):
                adopted = me._replace(record=index, copy=self._kept(me.copy, record, r), heard=frozenset(), proved=0)
                yield f"{r} adopts {record}", False, put(w, r, adopted)
        if me.record < 0:
            return
        record, copy = w.records[me.record], me.copy
        owns = self.place(record.size) == r
        clean = not copy or copy.phase == MOVED or (copy.phase == HELD and owns)
        clean = clean or (self.broken("torn-is-clean") and copy is not None and copy.phase == TORN)
        if clean and me.record == w.stored and record.past and not w.clean >> r & 1:
            yield f"{r} reports clean", False, w._replace(clean=w.clean | 1 << r)
        if self._nothing(copy) or self.broken("zombie-answers"):
            for told in w.records if self.broken("absent-unadopted") or self.broken("zombie-answers") else (record,):
                answer = (told.epoch, r)
                if r in self.asked(told) and answer not in w.absent:
                    yield f"{r} answers absent under {told}", False, w._replace(absent=w.absent | {answer})

    def _kept(self, copy: Copy | None, record: Record, r: int) -> Copy | None:
        """What adopting a record does to a copy."""
        if copy and copy.phase == MOVED and (not record.past or self.broken("drop-tombstones")):
            return None
        if copy and copy.phase == MOVING and self.broken("take-back") and self.place(record.size) == r:
            return copy._replace(phase=HELD, to=-1)
        return copy

    def adrift(self, w: World, me: Replica, copy: Copy) -> bool:
        """Whether a copy is on its way to a store that was given up."""
        return copy.phase == MOVING and copy.to == self.s.lost and copy.store < w.records[me.record].lost

    def _nothing(self, copy: Copy | None) -> bool:
        """Whether a replica says that it does not have the session. What it cannot read it has all the same."""
        return not copy or copy.phase == MOVED or (copy.phase == TORN and self.broken("torn-is-absent"))

    def asked(self, record: Record) -> set[int]:
        """The replicas that must say `absent` before the owner by placement may create the id."""
        return {self.place(size) for size in record.past} - {self.place(record.size)}

    def may_create(self, w: World, me: Replica, r: int) -> bool:
        """Whether a replica would create the session now."""
        return not self.s.minted and self.may_deny(w, me, r)

    def may_mint(self, w: World, me: Replica, r: int) -> bool:
        """Whether a replica would make the session's id now. A replica that does not know yet of an ordinal that has
        just come would deny what that mints, so it must be a member under all that anybody may go by.
        """
        if not self.s.born or r != self.s.ranking[0] or me.record < 0 or w.top or me.copy:
            return False
        record = w.records[me.record]
        return r < (record.size if self.broken("mint-early") else min(record.size, *record.past, record.size))

    def may_deny(self, w: World, me: Replica, r: int) -> bool:
        """Whether a replica would say 404 now."""
        if me.record < 0 or not self._nothing(me.copy):
            return False
        record = w.records[me.record]
        if self.place(record.size) != r:
            return False
        if self.broken("create-unasked"):
            return True
        return all((record.epoch, other) in w.absent for other in self.asked(record))

    def applied(self, w: World, number: int) -> World:
        """A step has been committed, for the first time."""
        if number != w.top + 1:
            raise Violation(f"step {number} is applied, though {w.top} steps were applied before")
        return w._replace(top=number)

    def _crash(self, w: World, r: int, me: Replica) -> Next:
        forgets = me._replace(busy=(), heard=frozenset(), proved=0)
        if self.broken("freeze-in-memory") and me.copy and me.copy.phase == MOVING:
            forgets = forgets._replace(copy=me.copy._replace(phase=HELD, to=-1))
        if self.broken("epoch-in-memory") and me.record > 0 and w.records[me.record - 1].epoch > 0:
            forgets = forgets._replace(record=max(0, me.record - 1))
        if forgets != me:
            yield f"{r} crashes", True, put(w, r, forgets)
