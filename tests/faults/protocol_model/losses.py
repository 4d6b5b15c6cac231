"""A volume that is lost, and what becomes of the copies that were on their way to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.faults.protocol_model.world import ASKING, HELD, MOVED, MOVING, TORN, Copy, Replica, World, put

if TYPE_CHECKING:
    from tests.faults.protocol_model.model import Model, Next


def lose(m: Model, w: World) -> Next:
    """A volume is lost, and a person tells the operator so.

    What the lost process had said is heard before, or never: to hear it later leads to no other copies. The client is
    told that the session was rewound: what it knows is from then on what the newest copy knows that is left. Not one
    that its receiver has had and handed on: who has it hears that, and forgets.
    """
    now, lost = w.records[w.stored], m.s.lost
    if now.lost:
        return
    replicas = list(w.replicas)
    replicas[lost] = Replica(store=1)
    left = max((me.copy.log for me in replicas if me.copy and not passed(replicas, me.copy)), key=len, default=())
    yield (
        f"the volume of {lost} is lost",
        True,
        w._replace(
            records=(*w.records, now._replace(epoch=now.epoch + 1, lost=1)),
            stored=len(w.records),
            clean=0,
            replicas=tuple(replicas),
            takes=frozenset(take for take in w.takes if lost not in take[:2]),
            answers=frozenset(told for told in w.answers if lost not in told[1:3]),
            acked=left[: len(w.acked)],
            top=len(left),
        ),
    )


def passed(replicas: Sequence[Replica], copy: Copy) -> bool:
    """Whether a copy is nothing any more, or will be as soon as its holder hears it."""
    if copy.phase != MOVING:
        return copy.phase == MOVED
    there = replicas[copy.to]
    newer = there.copy is not None and there.copy.since > copy.since and not there.copy.mark
    return there.store == copy.store and newer


def recover(m: Model, w: World, r: int, me: Replica) -> Next:
    """The holder of a copy whose receiver is lost, or has dropped what was torn of it, asks all that may have a newer
    one, the place last; then it is held again, or sent with their word, or forgotten. One that was taken earlier is no
    newer one: whoever got the session last goes on, and the others wait for it. What is torn may be newer: it is waited
    for until a person drops it.
    """
    copy, asking = me.copy, me.proved == ASKING
    if me.record < 0 or not copy or not (asking or m.adrift(w, me, copy)):
        return
    record = w.records[me.record]
    home = m.place(record.size)
    others = {m.place(size) for size in (*record.past, record.size)} - {r}
    first = others if m.broken("place-asked-first") else others - {home}
    if me.heard >= others or m.broken("thaw-unasked"):
        if asking:
            proved = me._replace(proved=record.epoch, heard=frozenset())
            yield f"{r} knows that nobody has a newer copy", False, put(w, r, proved)
            return
        held = copy._replace(phase=HELD, to=-1, store=0)
        yield f"{r} goes on with its copy", False, put(w, r, me._replace(copy=held, heard=frozenset()))
        return
    for other in sorted((first if not me.heard >= first else others) - me.heard):
        there = w.replicas[other]
        if there.record < 0 or w.records[there.record].epoch != record.epoch:
            continue
        if there.copy and there.copy.phase == HELD:
            gone = me._replace(copy=Copy(MOVED, copy.since), heard=frozenset(), proved=0)
            yield f"{r} hears that {other} has it, and forgets", False, put(w, r, gone)
        elif not there.copy or there.copy.phase == MOVED or _older(m, there.copy, copy):
            heard = me._replace(heard=me.heard | {other})
            yield f"{r} hears that {other} has nothing newer", False, put(w, r, heard)


def _older(m: Model, other: Copy, copy: Copy) -> bool:
    """Whether what is on its way there has stayed behind before `copy` came here: it has been taken."""
    if other.phase == TORN or m.broken("moving-waits"):
        return False
    if m.broken("older-goes-on"):
        return other.since > copy.since
    return other.since < copy.since or m.broken("both-go-on")
