"""A copy that is found torn, and the person who drops it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.protocol_model.losses import passed
from tests.faults.protocol_model.world import ASKING, HELD, MOVED, MOVING, TORN, Copy, Replica, Told, World, put

if TYPE_CHECKING:
    from tests.faults.protocol_model.model import Model, Next


def tear(w: World, r: int, me: Replica) -> Next:
    """What is on disk of the session goes bad, once. Also where that is only that it has gone on."""
    if me.copy and not me.busy and not w.torn:
        torn = me._replace(copy=Copy(TORN, me.copy.since, me.copy.log), proved=0, heard=frozenset())
        yield f"the copy at {r} is torn", True, put(w._replace(torn=True), r, torn)


def drop(m: Model, w: World, r: int, me: Replica) -> Next:
    """A person gives up what is torn, and the client is told so: what it knows is from then on what the newest copy
    knows that is left.

    What was sent from here earlier is heard before, or never: who heard `taken` later would forget a copy that nobody
    can step any more before its receiver has it again, as if it had heard that before; and what was sent to others is
    either there already, or as torn as the rest.
    """
    if me.record < 0 or not me.copy or me.copy.phase != TORN:
        return
    record = w.records[me.record]
    mark = None if not record.past or m.broken("drop-unmarked") else Copy(MOVED, record.epoch, mark=True)
    after = put(w, r, me._replace(copy=mark))
    left = _newest([each.copy for each in after.replicas if each.copy and not passed(after.replicas, each.copy)])
    yield (
        f"what is torn at {r} is dropped",
        False,
        after._replace(
            takes=frozenset(take for take in w.takes if take[1] != r),
            answers=frozenset(told for told in w.answers if told[2] != r),
            acked=left[: len(w.acked)],
            top=len(left),
        ),
    )


def _newest(copies: list[Copy]) -> tuple[int, ...]:
    """The log of the one that goes on: of who holds the session, else of who got it last."""
    held = [copy for copy in copies if copy.phase == HELD]
    return max(held or copies, key=lambda copy: copy.since, default=Copy(MOVED, 0)).log


def dropped(m: Model, me: Replica, since: int, proved: int, epoch: int) -> bool:
    """Whether what is offered may have come here, and been handed on, before that was dropped."""
    if me.copy is None or not me.copy.mark or m.broken("mark-is-nothing"):
        return False
    return me.copy.since > since and proved != epoch


def hear(w: World, told: Told) -> Next:
    """Who has sent an older copy than what was dropped asks everybody whether they have anything newer."""
    _, to, sender, since, _ = told
    me = w.replicas[to]
    if me.copy and me.copy.phase == MOVING and (me.copy.to, me.copy.since, me.proved) == (sender, since, 0):
        yield f"{to} hears that {sender} has dropped it", False, put(w, to, me._replace(proved=ASKING))
