"""What clients of a stateful service went through, out of what `e2e_sessions` wrote down. Pure, but for the reading."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mooring_runtime.sessions.keys import Key, minted_ordinal
from mooring_runtime.sessions.placement import place
from tests.bench import report
from tests.faults import history
from tests.faults.checker import Verdict
from tests.faults.history import Op
from tests.faults.speech import judged
from tests.faults.subject import LEDGER, Subject
from tests.support.e2e_sessions import SUBJECTS, TWINS, Beat

PAUSE = "pause of a moved session, p99"
ANSWER = "first answer of a killed pod's session, after its pod is ready"
_GOALS = {PAUSE: ("ms", "< 200"), ANSWER: ("ms", "< 1000")}


def goal_of(goal: str, subject: Subject) -> str:
    """The goal's name for one of the subjects."""
    return f"{goal}: {subject.title}"


_NAMES = {goal_of(goal, subject): bound for goal, bound in _GOALS.items() for subject in SUBJECTS.values()}
_WIDTH = max(map(len, _NAMES))


@dataclass(frozen=True)
class Asked:
    """What the clients of one service saw in one run; filled when they have ended."""

    subject: Subject = LEDGER
    ops: list[Op] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)

    def read(self, folder: Path) -> None:
        """Takes in what the clients wrote."""
        ops, _ = history.read(folder / "history.jsonl")
        self.ops.extend(ops)
        for told in json.loads((folder / "beats.json").read_text()):
            self.beats.append(Beat(**{**told, "causes": tuple(told["causes"])}))

    def check(self, title: str) -> Verdict:
        """Prints the counts. Raises AssertionError if a step was lost, doubled, reordered, or a session made twice."""
        verdict = judged(self.ops)
        print(f"\n{title}; {self.subject.title}: {verdict}")
        assert not verdict.violations, str(verdict)
        assert verdict.counts["ok"] > 100, f"so little was asked that nothing is shown: {verdict}"
        assert not (found := made_twice(self.ops)), "\n".join(found)
        return verdict


def made_twice(ops: Iterable[Op]) -> list[str]:
    """The sessions that were begun at the same time by two clients, and by more or less than one of them."""
    begun: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for op in ops:
        if op.session.startswith(TWINS) and op.step.number == 1:
            made = begun[op.session]
            if op.answer.seen is not None:
                made.add((op.answer.seen.life, op.step.word))
    return [f"session '{name}' was begun by {sorted(made)}" for name, made in begun.items() if len(made) > 1]


def twins(ops: Iterable[Op]) -> int:
    """How many sessions two clients began at the same time."""
    return len({op.session for op in ops if op.session.startswith(TWINS) and op.answer.outcome == "ok"})


def moved(sessions: Iterable[str], before: int, after: int, subject: Subject = LEDGER) -> set[str]:
    """Those sessions whose place is another one after a resize."""
    return {each for each in sessions if owner(each, before, subject) != owner(each, after, subject)}


def owner(session: str, size: int, subject: Subject = LEDGER) -> int:
    """The ordinal that holds a session, when a service of that size has settled."""
    return place(Key(subject.name, session), size)


def home(session: str) -> int | None:
    """The ordinal that made the session's id; None where a client chose it."""
    return minted_ordinal(session)


def pauses(beats: Iterable[Beat], sessions: set[str], since: float, until: float) -> list[float]:
    """For each session the longest, in seconds, that one of its steps went without an answer in that time."""
    longest: dict[str, float] = {}
    for beat in beats:
        if beat.session in sessions and beat.done > since and beat.began < until:
            longest[beat.session] = max(longest.get(beat.session, 0.0), beat.done - beat.began)
    return list(longest.values())


def otherwise(beats: Iterable[Beat], windows: Sequence[tuple[float, float]]) -> list[float]:
    """How long each step took, in seconds, that met none of these times: what the machine does without a move."""
    return [
        beat.done - beat.began
        for beat in beats
        if all(beat.done < since or beat.began > until for since, until in windows)
    ]


def first_answers(asked: Asked, ordinal: int, size: int, killed: float) -> dict[str, float]:
    """When each session of a killed replica was answered again, by the clock of the beats."""
    first: dict[str, float] = {}
    for beat in asked.beats:
        theirs = owner(beat.session, size, asked.subject) == ordinal
        if theirs and beat.done > killed and (beat.began > killed or beat.tries > 1):
            first[beat.session] = min(first.get(beat.session, beat.done), beat.done)
    return first


@dataclass
class Figures:
    """The figures of all runs, by their goal and subject."""

    runs: Mapping[str, list[float]] = field(default_factory=lambda: {name: [] for name in _NAMES})
    cells: list[dict[str, str | float]] = field(default_factory=list)

    def add(self, goal: str, seconds: Sequence[float], what: str, figure: float) -> None:
        """One run: its figure, in seconds, and all that it was taken from. `goal` is one of `goal_of`."""
        self.runs[goal].append(figure * 1000)
        shown = {f"p{percent}": round(report.percentile(seconds, percent) * 1000, 1) for percent in (50, 99)}
        self.cells.append({"goal": goal, "run": what, "sessions": len(seconds), **shown})

    def table(self) -> str:
        """Every run, a line each."""
        return "\n".join(
            f"{cell['goal']:<{_WIDTH}}  {cell['p50']:>6} ms median  {cell['p99']:>6} ms p99  "
            f"{cell['sessions']} sessions, {cell['run']}"
            for cell in self.cells
        )

    def write(self) -> None:
        """Prints all goals, and writes build/bench/moves.json."""
        goals = [
            report.judge(name, self.runs[name], unit, goal, "two nodes, clients and the cluster share the machine")
            for name, (unit, goal) in _NAMES.items()
        ]
        print(f"\n{self.table()}\n")
        report.show(goals)
        print(report.write("moves", goals, self.cells))
