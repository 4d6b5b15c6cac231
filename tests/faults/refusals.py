"""Whether what the clients of one session were refused with can be true. Pure."""

from collections.abc import Iterator, Sequence

from tests.faults.branches import at, explaining
from tests.faults.history import Losses, Op
from tests.faults.lives import Life, Violation

KEPT_REPLIES = 4
"""As the protocol promises."""
NEVER = {"expired", "evicted", "quarantined"}
"""Causes that no fault of these runs may bring about."""
LOSING = {"rewound", "maybe-lost", "volume-replaced"}
"""Those that tell of what was lost."""


def may_be_lost(session: str, losses: Losses | None) -> set[str]:
    """What may be told of a session for good: that it went with a volume which it can have been on."""
    if losses is None:
        return set()
    homes = at(session, losses.replicas)
    lost = any(each.kind == "lose" and each.ordinal in homes for each in losses.events)
    return {"maybe-lost"} if lost else set()


def refusals(session: str, ops: Sequence[Op], lives: Sequence[Life], losses: Losses | None) -> Iterator[Violation]:
    """Everything that is wrong with them."""
    acknowledged = min((op.done for op in ops if op.answer.outcome == "ok"), default=None)
    steps, told = _Steps(ops, lives, losses), _Lost(session, ops, losses or Losses(interval=False))
    for op in ops:
        cause = op.answer.cause
        if cause.startswith("untold"):
            yield Violation("untold", session, f"word {op.step.word} was answered {cause}")
        elif cause in NEVER or (cause == "unknown" and acknowledged is not None and acknowledged < op.sent):
            yield Violation("forgotten", session, f"word {op.step.word}, sent at {op.sent}, was told '{cause}'")
        elif cause in LOSING and (kind := told.wrong(op)):
            yield Violation(kind, session, f"word {op.step.word}, sent at {op.sent}, was told '{cause}'")
        elif text := steps.wrong(op):
            yield Violation(cause if cause != "reply-gone" else "gone", session, text)


class _Steps:
    """Whether a refusal can be true, by what was sent and acknowledged of the session."""

    def __init__(self, ops: Sequence[Op], lives: Sequence[Life], losses: Losses | None) -> None:
        self._ops = ops
        self._losses = losses
        starts = {op.step.word for op in ops if op.step.start and op.answer.outcome != "refused"}
        self._single = len(starts) <= 1
        self._length = max((life.length for life in lives), default=0)
        self._replied = sorted((op for op in ops if op.answer.seen is not None), key=lambda op: op.done)

    def wrong(self, op: Op) -> str:
        """Why it cannot; empty where it can."""
        number, expected = op.step.number, op.answer.expected
        match op.answer.cause:
            case "ended" if not any(
                each.step.end and each.answer.outcome != "refused" and each.sent < op.done for each in self._ops
            ):
                return f"word {op.step.word} was told that the session has ended, and nobody had ended it"
            case "restarted" if op.step.life is None:
                return f"word {op.step.word} names no life, and was told of another"
            case "gap" if expected is None or number is None or number <= expected:
                return f"number {number} was told of a gap, the next one being {expected}"
            case "gap" | "rewound" if self._single and expected is not None and (least := self._least(op, expected)):
                return f"word {op.step.word} was told that {expected} is next, and {least} had been acknowledged"
            case "gap" | "rewound" if expected is not None and expected > (most := self._most(op.done)) + 1:
                return f"word {op.step.word} was told that {expected} is next, and at most {most} were made"
            # Before the answer, not before the question: two may begin it at the same time.
            case "exists" if not op.step.start or not self._most(op.done):
                return f"word {op.step.word} was told that the session exists, and it had not been begun"
            case "mismatch" if not any(
                each.step.number == number and each.step.word != op.step.word and each.answer.outcome != "refused"
                for each in self._ops
                if each.sent < op.done
            ):
                return f"number {number} was told of another input, and there was none"
            case "reply-gone" if number is not None and self._most(op.done) < number + KEPT_REPLIES:
                return f"the reply to number {number} was gone, and at most {self._most(op.done)} steps were made"
            case "reply-gone" if number is not None and number > self._length:
                return f"the reply to number {number} was gone, and no reply shows more than {self._length} steps"
        return ""

    def _least(self, op: Op, expected: int) -> int:
        """A step from `expected` on that was surely made before a request, and cannot have been lost; 0: none."""
        for each in self._replied:
            seen = each.answer.seen
            if each.done >= op.sent:
                break
            if seen is None or max(seen.step, seen.durable or 0) < expected:
                continue
            causes = explaining(self._losses, each, op) if self._losses is not None else []
            if not causes:
                return seen.step
            if all(cause.kind != "lose" and each.done < cause.begun for cause in causes):
                safe = seen.durable or 0
                if safe >= expected:
                    return safe
        return 0

    def _most(self, tick: int) -> int:
        """Steps that can have been made before a tick."""
        may = {op.step.word for op in self._ops if op.sent < tick and op.answer.outcome != "refused"}
        return len(may)


class _Lost:
    """Whether it can be true that something was lost, and is told as often as it should."""

    def __init__(self, session: str, ops: Sequence[Op], losses: Losses) -> None:
        self._session, self._ops, self._losses = session, ops, losses
        self._told = 0
        """When the last request was sent that was told of lost steps."""

    def wrong(self, op: Op) -> str:
        """The kind of violation; empty where it can. To be asked in the order of the answers."""
        events = [each for each in self._losses.events if each.begun < op.done]
        lost = [each for each in events if each.kind == "lose"]
        match op.answer.cause:
            case "rewound":
                since, self._told = self._told or min(each.sent for each in self._ops), op.sent
                return "" if any(each.ended > since for each in events) else "rewound"
            case "volume-replaced":
                return "" if any(op.sent < each.ended for each in lost) else "forgotten"
            case "maybe-lost":
                mine = may_be_lost(self._session, Losses(tuple(lost), self._losses.replicas))
                begun = any(each.answer.outcome == "ok" and each.done < op.sent for each in self._ops)
                if not lost or (begun and not mine):
                    return "forgotten"
                return "resurrected" if self._back(op) else ""
            case cause:
                raise AssertionError(cause)

    def _back(self, op: Op) -> bool:
        """A life that was gone is there again."""
        seen = [(each, each.answer.seen.life) for each in self._ops if each.answer.seen is not None]
        before = {life for each, life in seen if each.done < op.sent}
        return any(each.sent > op.done and life in before for each, life in seen)
