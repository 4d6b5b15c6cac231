"""What clients asked and were told, in one order; the checker reads nothing else."""

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tests.faults.ledger import Page, word

Outcome = Literal["ok", "applied", "refused", "unknown"]
"""`ok`: here is the reply. `applied`: it was, but its reply is no longer kept. `refused`: it was not and will not be.
`unknown`: no answer, or one that says so itself."""


class Step(NamedTuple):
    """One request."""

    session: str
    """Empty with `new`."""
    word: int
    number: int | None = None
    start: bool = False
    end: bool = False
    new: bool = False
    life: str | None = None
    """The incarnation that is meant."""


class Seen(NamedTuple):
    """What an answer with a reply says."""

    session: str
    life: str
    step: int
    repeat: bool
    page: Page
    durable: int | None = None
    """The last step that is surely on disk, where replies go before their commits."""
    heard: tuple[float, ...] = ()
    """What a model of sounds said; it has no page, see `speech`."""


class Answer(NamedTuple):
    """What a client makes of what it was told."""

    outcome: Outcome
    cause: str = ""
    """Of the answer, where it is no reply; or what broke."""
    expected: int | None = None
    """The number that a gap names."""
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Op:
    """One request that was sent, and its answer."""

    client: str
    step: Step
    answer: Answer
    sent: int
    """Ticks of the one clock of the run: whatever has an earlier tick happened before."""
    done: int
    last: bool = False
    """Sent after every fault was mended, to read what is there."""
    at: float = 0.0
    """Seconds of the run's clock when it was done."""

    @property
    def session(self) -> str:
        """The session that it is about; empty for a new one whose reply was lost."""
        return self.answer.seen.session if self.answer.seen is not None else self.step.session

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), separators=(",", ":"))


def from_json(line: str) -> Op:
    """What `to_json` gave."""
    told: dict[str, Any] = json.loads(line)
    outcome, cause, expected, seen = told["answer"]
    if seen is not None:
        # A history of before has nothing that was heard.
        session, life, step, repeat, (steps, hashes, total, recent), durable, *heard = seen
        page = Page(steps, tuple(hashes), total, tuple(recent))
        seen = Seen(session, life, step, repeat, page, durable, *map(tuple, heard))
    return Op(**{**told, "step": Step(*told["step"]), "answer": Answer(outcome, cause, expected, seen)})


class Loss(NamedTuple):
    """Something that was done to a replica and may have cost steps that were acknowledged."""

    kind: Literal["kill", "full", "lose"]
    """`full`: commits may have failed whose steps had their replies. `lose`: all that was on the volume."""
    ordinal: int
    begun: int
    ended: int
    """Ticks; nothing that was applied after the second is lost by it."""
    at: float
    """Seconds of the run's clock when it began."""


@dataclass(frozen=True)
class Losses:
    """Of a run in which acknowledged steps may be lost, and must be told of."""

    events: tuple[Loss, ...] = ()
    replicas: int = 1
    interval: bool = True
    """Replies go before their commits; else only a lost volume loses anything."""

    @property
    def alone(self) -> bool:
        """What the one replica was sent is gone when it dies, and comes from nowhere else later."""
        return self.replicas == 1


@dataclass
class Book:
    """Where all clients of a run write; gives out its ticks and its words."""

    ops: list[Op] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    _ticks: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _words: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def tick(self) -> int:
        """The next moment."""
        return next(self._ticks)

    def word(self) -> int:
        """A word that nobody else has."""
        return word(next(self._words))


def write(ops: Iterable[Op], file: Path, losses: Losses | None = None) -> None:
    """One line each, behind one that tells of what may have been lost."""
    head = json.dumps(None if losses is None else asdict(losses), separators=(",", ":"))
    file.write_text("".join(f"{line}\n" for line in (head, *(op.to_json() for op in ops))))


def read(file: Path) -> tuple[list[Op], Losses | None]:
    """What `write` wrote."""
    head, *lines = file.read_text().splitlines()
    told: dict[str, Any] | None = json.loads(head)
    losses = None if told is None else Losses(**{**told, "events": tuple(Loss(*each) for each in told["events"])})
    return [from_json(line) for line in lines], losses
