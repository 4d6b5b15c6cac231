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

Where acknowledged steps may be lost, in `interval` mode or with a volume, `branches` takes the place of `lives`: what
is lost is the end of a session, by a fault that may cost it, and is told.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.branches import Branches
from tests.faults.history import Losses, Op
from tests.faults.lives import Asked, Life, Violation, check_life
from tests.faults.refusals import may_be_lost, refusals


@dataclass
class Verdict:
    """What was found, and how much there was to find it in."""

    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counted = ", ".join(f"{name} {number}" for name, number in sorted(self.counts.items()))
        return "\n".join([counted, *(str(each) for each in self.violations[:20])])


def check(history: Iterable[Op], losses: Losses | None = None) -> Verdict:
    """The verdict on all sessions of a run; None: whatever was acknowledged must be there."""
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
            if losses is None:
                verdict.violations += check_life(life, words)
                continue
            branches = Branches(life, words, ops, losses)
            verdict.violations += branches.check()
            verdict.counts["undone"] += branches.undone
        verdict.violations += [*_apart(lives), *refusals(name, ops, lives, losses), *_read(name, ops, losses)]
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


def _read(session: str, ops: Sequence[Op], losses: Losses | None) -> Iterator[Violation]:
    """After the last fault there must be a word about it: its state, or that it has ended, or went with its volume."""
    if not any(op.answer.outcome == "ok" for op in ops):
        return
    last = [op for op in ops if op.last]
    ended = any(op.step.end and op.answer.outcome != "refused" for op in ops)
    lost = may_be_lost(session, losses)
    causes = {op.answer.cause for op in last}
    if any(op.answer.outcome == "ok" for op in last) or (ended and "ended" in causes) or (lost & causes):
        return
    told = ", ".join(op.answer.cause for op in last[-3:]) or "nobody asked"
    yield Violation("undecided", session, f"it could not be read after the last fault: {told}")
