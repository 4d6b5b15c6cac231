"""How a session goes from one replica to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.protocol_model import torn
from tests.faults.protocol_model.world import (
    HELD,
    MOVED,
    MOVING,
    TORN,
    Copy,
    Replica,
    Take,
    Told,
    Violation,
    World,
    put,
)

if TYPE_CHECKING:
    from tests.faults.protocol_model.model import Model, Next


def send(m: Model, w: World, r: int, me: Replica) -> Next:
    """Freeze, and send what is frozen."""
    copy = me.copy
    if me.record < 0 or not copy:
        return
    to = m.place(w.records[me.record].size)
    if copy.phase == HELD and to != r and (not me.busy or m.broken("freeze-mid-step")):
        if m.broken("forget-first"):
            sent = w._replace(takes=w.takes | {(to, r, me.record, copy.since, copy.log, 0, 0)})
            yield f"{r} sends and forgets", False, put(sent, r, me._replace(copy=Copy(MOVED, copy.since)))
            return
        # The store is the one that has answered the offer: the present one, or the one before it.
        for store in range(w.records[me.record].lost if to == m.s.lost else 0, w.replicas[to].store + 1):
            frozen = copy._replace(phase=MOVING, to=to, store=store)
            yield f"{r} freezes for {to} ({store})", False, put(w, r, me._replace(copy=frozen))
    if copy.phase == MOVING and not m.adrift(w, me, copy):
        take = (copy.to, r, me.record, copy.since, copy.log, copy.store, max(me.proved, 0))
        if take not in w.takes:
            yield f"{r} sends take to {copy.to}", False, w._replace(takes=w.takes | {take})


def receive_take(m: Model, w: World, take: Take) -> Next:
    """The receiver decides by its own disk."""
    to, sender, index, since, _, store, proved = take
    me = w.replicas[to]
    if me.record < 0 or me.store != store or (me.copy and me.copy.phase == TORN):
        return
    theirs, mine = w.records[index].epoch, w.records[me.record].epoch
    if _had(m, me.copy, since) and not m.broken("take-over-held"):
        answer = ("taken", sender, to, since, 0)
        if answer not in w.answers:
            yield f"{to} answers taken to {sender}", False, w._replace(answers=w.answers | {answer})
        return
    older = theirs < mine and m.broken("take-older-epoch")
    if theirs != mine and not older:
        return  # Newer: it adopts first (an action of its own). Older: it answers with its own record.
    if torn.dropped(m, me, since, proved, mine):
        answer = ("dropped", sender, to, since, mine)
        if answer not in w.answers:
            yield f"{to} answers dropped to {sender}", False, w._replace(answers=w.answers | {answer})
        return
    if m.place(w.records[me.record].size) == to or older:
        yield from _accept(m, w, take, mine)
        return
    answer = ("refused", sender, to, since, mine)
    if answer not in w.answers:
        yield f"{to} refuses the session from {sender}", False, w._replace(answers=w.answers | {answer})


def _had(m: Model, copy: Copy | None, since: int) -> bool:
    """It came here after the sender got it: this is a repeat."""
    if copy is None or (copy.mark and not m.broken("mark-is-taken")):
        return False
    if m.broken("any-copy-is-taken"):
        return copy.phase != MOVED or copy.since >= since
    return copy.since > since


def _accept(m: Model, w: World, take: Take, mine: int) -> Next:
    to, sender, _, since, log, _, _ = take
    me = w.replicas[to]
    if me.busy:
        return
    taken: Told = ("taken", sender, to, since, 0)
    if m.broken("taken-before-commit"):
        w = w._replace(answers=w.answers | {taken})
        yield f"{to} answers taken before it commits", False, w
    if me.copy and me.copy.phase == HELD and not m.broken("take-over-held"):
        raise Violation(f"{to} is offered the session by {sender} and holds an older one")
    known = 0 if m.broken("no-dedupe-shipped") else -1
    new = put(w, to, me._replace(copy=Copy(HELD, mine, log, known=known), heard=frozenset(), proved=0))
    if m.broken("take-over-held"):
        new = new._replace(answers=new.answers | {taken})
    yield f"{to} takes the session from {sender}", False, new


def receive_answer(w: World, told: Told) -> Next:
    """The sender hears the receiver's word."""
    kind, to, sender, since, epoch = told
    if kind == "dropped":
        yield from torn.hear(w, told)
        return
    me = w.replicas[to]
    copy = me.copy
    if not copy or copy.phase != MOVING or copy.to != sender or copy.since != since:
        return
    if kind == "taken":
        yield f"{to} forgets", False, put(w, to, me._replace(copy=Copy(MOVED, since), proved=0))
    elif epoch == w.records[me.record].epoch:
        yield f"{to} thaws", False, put(w, to, me._replace(copy=copy._replace(phase=HELD, to=-1, store=0), proved=0))
