"""The client's steps at a replica, numbered and not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.protocol_model.world import (
    ACKED,
    BEGUN,
    HELD,
    LATE,
    MOVED,
    ON_WAY,
    UNKNOWN,
    UNSENT,
    Copy,
    Replica,
    Violation,
    World,
    put,
    swap,
)

if TYPE_CHECKING:
    from tests.faults.protocol_model.model import Model, Next


def stepping(m: Model, w: World, r: int, me: Replica) -> Next:
    """What a replica does with numbered steps, and with what it has begun."""
    copy = me.copy
    if me.busy:
        yield _commit(m, w, r, me)
        early = m.broken("reply-before-commit") and me.busy[0] == "step" and me.busy[1] == len(w.acked) + 1
        if early and copy and copy.phase == HELD:
            yield f"{r} replies early", False, _reply(w, (*copy.log, r), len(w.acked) + 1)
        return
    ended = m.s.ends and copy and copy.phase == HELD and len(w.acked) == m.s.steps
    if ended and (not w.records[me.record].past or m.broken("drop-ended")):
        yield f"{r} drops the ended session", False, put(w._replace(gone=True), r, me._replace(copy=None))
    if not m.s.numbered or w.gone:
        return
    for number in range(1, min(len(w.acked) + 1, m.s.steps) + 1):
        if copy and copy.phase == HELD:
            yield from _step(w, r, me, copy, number)
        elif number == 1 and (m.may_create(w, me, r) or m.may_mint(w, me, r)):
            yield f"{r} begins to create", False, put(w, r, me._replace(busy=("create", me.record)))
        elif m.broken("placement-owns") and me.record >= 0 and not copy and m.place(w.records[me.record].size) == r:
            empty = put(w, r, me._replace(busy=("create", me.record)))
            yield f"{r} begins step {number} on an empty state", False, empty


def _step(w: World, r: int, me: Replica, copy: Copy, number: int) -> Next:
    """A step at a holder."""
    known = len(copy.log) if copy.known < 0 else copy.known
    if number <= known:
        if number > len(w.acked):
            yield f"{r} replies to step {number}", False, _reply(w, copy.log, number)
    elif number == known + 1 or copy.known >= 0:
        yield f"{r} begins step {number}", False, put(w, r, me._replace(busy=("step", number)))


def _commit(m: Model, w: World, r: int, me: Replica) -> tuple[str, bool, World]:
    copy, idle = me.copy, me._replace(busy=())
    kind, number, *request = me.busy
    assert isinstance(number, int)
    entry = r if m.s.numbered else int(str(request[0]))
    if kind == "create":
        stale = number != me.record and not m.broken("create-unchecked")
        if stale or (copy and copy.phase != MOVED):
            back = w if m.s.numbered else w._replace(requests=swap(w.requests, entry, ON_WAY))
            return f"{r} drops a creation", False, put(back, r, idle)
        created = idle._replace(copy=Copy(HELD, w.records[me.record].epoch, (entry,)))
        return f"{r} commits the creation and step 1", False, put(m.applied(w, 1), r, created)
    if not copy or copy.phase == MOVED:
        raise Violation(f"{r} commits step {number} on a copy that it gave away")
    known = -1 if copy.known < 0 else number
    grown = idle._replace(copy=copy._replace(log=(*copy.log, entry), known=known))
    return f"{r} commits step {number}", False, put(m.applied(w, number), r, grown)


def _reply(w: World, log: tuple[int, ...], number: int) -> World:
    return w._replace(acked=log[:number])


def unnumbered(m: Model, w: World) -> Next:
    """Requests without numbers: each is begun at most once, and takes the number that it finds."""
    for i, state in enumerate(w.requests):
        if state == UNSENT and all(each in (ACKED, LATE, UNKNOWN) for each in w.requests[:i]):
            yield f"client sends request {i}", False, _became(w, i, ON_WAY)
        if state in (ON_WAY, LATE) or (state == BEGUN and m.broken("forward-retries")):
            yield from _begin(m, w, i, state)
        if state == BEGUN and any(me.copy and i in me.copy.log for me in w.replicas):
            yield f"client hears that request {i} was applied", False, _became(w, i, ACKED)
        if state == ON_WAY and i and any(m.may_deny(w, me, r) and not me.busy for r, me in enumerate(w.replicas)):
            yield f"client hears 404 for request {i}", False, _became(w, i, UNKNOWN)
        if state in (ON_WAY, BEGUN):
            yield f"client gives up request {i}", True, _became(w, i, LATE if state == ON_WAY else UNKNOWN)
        if state == BEGUN and not any(me.busy and me.busy[2] == i for me in w.replicas):
            yield f"client learns that the outcome of request {i} is unknown", False, _became(w, i, UNKNOWN)


def _begin(m: Model, w: World, i: int, state: str) -> Next:
    begun = UNKNOWN if state == LATE else BEGUN
    for r, me in enumerate(w.replicas):
        if me.busy:
            continue
        busy: tuple[object, ...]
        if me.copy and me.copy.phase == HELD:
            busy = ("step", len(me.copy.log) + 1, i)
        elif i == 0 and m.may_create(w, me, r):
            busy = ("create", me.record, i)
        else:
            continue  # "Not here": the replica that got it from the client may try the next one.
        yield f"{r} begins request {i}", False, put(_became(w, i, begun), r, me._replace(busy=busy))


def _became(w: World, i: int, word: str) -> World:
    return w._replace(requests=swap(w.requests, i, word))
