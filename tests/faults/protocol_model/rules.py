"""What must hold in every reachable world, where a run may end, and which messages are dead."""

from tests.faults.protocol_model.model import Model
from tests.faults.protocol_model.world import (
    ACKED,
    BEGUN,
    HELD,
    MOVED,
    ON_WAY,
    UNSENT,
    Copy,
    Take,
    Told,
    Violation,
    World,
)


def check(m: Model, w: World) -> None:
    """Raise Violation where an invariant does not hold."""
    held = [r for r, me in enumerate(w.replicas) if me.copy and me.copy.phase == HELD]
    if len(held) > 1:
        raise Violation(f"two owners: {held}")
    copies = [me.copy for me in w.replicas if me.copy and me.copy.phase != MOVED]
    if w.gone:
        if copies:
            raise Violation("an ended and dropped session is back")
        return
    best = w.replicas[held[0]].copy if held else max(copies, key=lambda copy: len(copy.log), default=None)
    if w.top and best is None:
        raise Violation("the session is lost")
    for r, me in enumerate(w.replicas):
        if w.top and m.may_deny(w, me, r):
            raise Violation(f"{r} would answer 404, or create the session anew")
    if best is not None:
        _check_state(w, best)
    elif ACKED in w.requests:
        raise Violation("a request was acknowledged, and there is no session")


def _check_state(w: World, best: Copy) -> None:
    """What was told must be in the state of the owner, or between owners in a frozen copy."""
    if best.log[: len(w.acked)] != w.acked:
        raise Violation(f"acknowledged steps {w.acked} are not in the state {best.log}")
    if len(best.log) < w.top:
        raise Violation(f"{w.top} steps were committed, the state has {len(best.log)}")
    for i, state in enumerate(w.requests):
        times = best.log.count(i)
        if times > 1 or (times < 1 and state == ACKED):
            raise Violation(f"request {i} ({state}) was applied {times} times: {best.log}")
    answered = [i for i, state in enumerate(w.requests) if state == ACKED]
    if [i for i in best.log if i in answered] != answered:
        raise Violation(f"acknowledged requests {answered} were applied in the order {best.log}")


def goal(m: Model, w: World) -> bool:
    """Where a run without faults may end: resized, settled, the session at its place and answering."""
    now = w.records[w.stored]
    if now.size != m.s.sizes[w.wish] or now.past or any(me.record != w.stored for me in w.replicas):
        return False
    held = [r for r, me in enumerate(w.replicas) if me.copy and me.copy.phase == HELD]
    if held != [m.place(now.size)] and (held or (w.top and not w.gone)):
        return False
    if (now.lost or w.torn) and m.s.minted and not held:
        return True  # Nothing is left of it, and nobody may make it again.
    if m.s.born and not w.top and m.s.ranking[0] >= now.size:
        return True  # Who would mint it is no member.
    return len(w.acked) == m.s.steps if m.s.numbered else not {UNSENT, ON_WAY, BEGUN} & set(w.requests)


def tidy(m: Model, w: World) -> World:
    """Drop messages on which their receiver can no longer act."""

    def live_take(take: Take) -> bool:
        me = w.replicas[take[0]]
        if m.broken("take-older-epoch") or me.record < 0:
            return True
        return w.records[me.record].epoch <= w.records[take[2]].epoch

    def live_answer(told: Told) -> bool:
        me = w.replicas[told[1]]
        if not me.copy or me.copy.phase == MOVED or me.copy.since != told[3]:
            return False
        return told[0] == "taken" or w.records[me.record].epoch <= told[4]

    oldest = min(w.records[me.record].epoch if me.record >= 0 else 0 for me in w.replicas)
    takes = w.takes if all(map(live_take, w.takes)) else frozenset(filter(live_take, w.takes))
    answers = w.answers if all(map(live_answer, w.answers)) else frozenset(filter(live_answer, w.answers))
    absent = w.absent
    if not all(each[0] >= oldest for each in absent):
        absent = frozenset(each for each in absent if each[0] >= oldest)
    if takes is w.takes and answers is w.answers and absent is w.absent:
        return w
    return w._replace(takes=takes, answers=answers, absent=absent)
