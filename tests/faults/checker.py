"""From what clients asked and were told to a verdict. Pure.

Proved of every history without a violation, for a server that writes each step down before it answers:

- an acknowledged step is in the state exactly once, in order, and stays (`lost`, `doubled`, `reordered`, `state`);
- nothing that was refused is applied (`refused`), nor what nobody sent to this session (`phantom`, `crossed`);
- a repeat of a numbered step gives the same reply (`reply`, `repeat`, `number`, `gap`, `mismatch`, `gone`);
- an end is the end, a new life begins only with a start, and lives do not mix (`resurrected`, `amnesia`, `lives`);
- a session that was acknowledged is never unknown, expired or rewound (`forgotten`), and every error says whether its
  step was applied (`untold`);
- after the last fault each session can be read (`undecided`: nothing is proved of one that cannot).

`lives` has the rules about one life of a session; here stand those about its refusals, and about several lives.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.history import Op
from tests.faults.lives import Asked, Life, Violation, check_life

KEPT_REPLIES = 4
"""As the protocol promises."""
NEVER = {"rewound", "maybe-lost", "expired", "evicted", "quarantined", "volume-replaced"}
"""Causes that no fault of these runs may bring about."""


@dataclass
class Verdict:
    """What was found, and how much there was to find it in."""

    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counted = ", ".join(f"{name} {number}" for name, number in sorted(self.counts.items()))
        return "\n".join([counted, *(str(each) for each in self.violations[:20])])


def check(history: Iterable[Op]) -> Verdict:
    """The verdict on all sessions of a run."""
    sessions: dict[str, list[Op]] = defaultdict(list)
    words: dict[int, Asked] = defaultdict(Asked)
    verdict = Verdict()
    for op in sorted(history, key=lambda each: each.done):
        words[op.step.word].ops.append(op)
        sessions[op.session].append(op)
        verdict.counts[op.answer.outcome] += 1
        if op.answer.cause:
            verdict.counts[f"[{op.answer.cause}]"] += 1
    sessions.pop("", None)  # Starts of new sessions whose replies were lost: nobody knows the id.
    verdict.counts["sessions"] = len(sessions)
    for name, ops in sessions.items():
        lives = _lives(name, ops)
        verdict.counts["lives"] += len(lives)
        for life in lives:
            verdict.violations += check_life(life, words)
        verdict.violations += [*_apart(lives), *_refusals(name, ops, lives), *_read(name, ops)]
        verdict.counts["applied in the dark"] += _in_the_dark(lives, words)
    return verdict


def _lives(session: str, ops: Iterable[Op]) -> list[Life]:
    lives: dict[str, Life] = {}
    for op in ops:
        if (seen := op.answer.seen) is not None:
            lives.setdefault(seen.life, Life(session, seen.life, [])).replies.append((op, seen))
    return list(lives.values())


def _in_the_dark(lives: Sequence[Life], words: Mapping[int, Asked]) -> int:
    """Steps that were applied by a request without an answer: nobody was told of them, or only a repeat was."""
    log = (words[word] for life in lives for word in life.log.values() if word in words)
    return sum(asked.done is None or asked.repeated for asked in log)


def _apart(lives: Sequence[Life]) -> Iterator[Violation]:
    """A life that gave way to another is over: it applies nothing any more."""
    for life in lives:
        applied = list(life.applied())
        if not applied:
            continue
        begun, until = min(op.done for op in applied), max(op.sent for op in applied)
        for other in lives:
            if other is not life and any(begun < op.sent and op.done < until for op in other.applied()):
                yield Violation(
                    "resurrected", life.session, f"life {life.name} went on after life {other.name} had begun"
                )
                return


def _read(session: str, ops: Sequence[Op]) -> Iterator[Violation]:
    """After the last fault there must be a word about it: its state, or that it has ended."""
    if not any(op.answer.outcome == "ok" for op in ops):
        return
    last = [op for op in ops if op.last]
    ended = any(op.step.end and op.answer.outcome != "refused" for op in ops)
    if any(op.answer.outcome == "ok" or (ended and op.answer.cause == "ended") for op in last):
        return
    told = ", ".join(op.answer.cause for op in last[-3:]) or "nobody asked"
    yield Violation("undecided", session, f"it could not be read after the last fault: {told}")


def _refusals(session: str, ops: Sequence[Op], lives: Sequence[Life]) -> Iterator[Violation]:
    acknowledged = min((op.done for op in ops if op.answer.outcome == "ok"), default=None)
    steps = _Steps(ops, lives)
    for op in ops:
        cause = op.answer.cause
        if cause.startswith("untold"):
            yield Violation("untold", session, f"word {op.step.word} was answered {cause}")
        elif cause in NEVER or (cause == "unknown" and acknowledged is not None and acknowledged < op.sent):
            yield Violation("forgotten", session, f"word {op.step.word}, sent at {op.sent}, was told '{cause}'")
        elif text := steps.wrong(op):
            yield Violation(cause if cause != "reply-gone" else "gone", session, text)


class _Steps:
    """Whether a refusal can be true, by what was sent and acknowledged of the session."""

    def __init__(self, ops: Sequence[Op], lives: Sequence[Life]) -> None:
        self._ops = ops
        starts = {op.step.word for op in ops if op.step.start and op.answer.outcome != "refused"}
        self._single = len(starts) <= 1
        self._length = max((life.length for life in lives), default=0)
        self._replied = sorted((op.done, op.answer.seen.step) for op in ops if op.answer.seen is not None)

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
            case "gap" if self._single and expected is not None and expected <= (least := self._least(op.sent)):
                return f"number {number} was told that {expected} is next, and {least} had been acknowledged"
            case "gap" if expected is not None and expected > (most := self._most(op.done)) + 1:
                return f"number {number} was told that {expected} is next, and at most {most} were made"
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

    def _least(self, tick: int) -> int:
        """Steps that were surely made before a tick."""
        return max((step for done, step in self._replied if done < tick), default=0)

    def _most(self, tick: int) -> int:
        """Steps that can have been made before a tick."""
        may = {op.step.word for op in self._ops if op.sent < tick and op.answer.outcome != "refused"}
        return len(may)
