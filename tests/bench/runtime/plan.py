"""What is run when, and for how long. Pure: no clock, no process."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.bench.runtime.cells import CLOSED, MODELS, OPEN, PROTOCOLS, Cell, Load
from tests.bench.runtime.peers.registry import OURS, TRITONS

T = TypeVar("T")

GOAL_OPEN = tuple(Cell("medium", "json", Load("open", percent)) for percent in (50, 80))
"""The open loops with a goal: they run longer and in more rounds than the rest."""
KINDS = ("closed", "open", "workers")
WORDS = (*KINDS, *MODELS, *PROTOCOLS)
"""What `--only` takes beside the names of servers."""


@dataclass(frozen=True)
class Plan:
    """How often and how long (seconds); the defaults are the full run.

    Attributes:
        rounds: rounds of everything.
        goal_rounds: rounds of the open loops with a goal; those past `rounds` hold nothing else.
        own, peer: one closed loop of ours and Triton's, and of the others, which stand much further apart.
        goal_open, reported_open, open: one open loop: with a goal, at 95 % beside those, and any other.
        only: what was asked for: words of WORDS and names of servers; empty: everything.
    """

    rounds: int = 3
    goal_rounds: int = 5
    warm: int = 1
    calibrate: int = 2
    own: int = 2
    peer: int = 1
    goal_open: int = 30
    reported_open: int = 5
    open: int = 2
    workers: int = 3
    only: frozenset[str] = field(default_factory=frozenset)

    def wants(self, cell: Cell) -> bool:
        """Whether `--only` asks for this cell."""
        kinds: tuple[tuple[Sequence[str], str], ...] = (
            (MODELS, cell.model),
            (PROTOCOLS, cell.protocol),
            (KINDS, cell.load.kind),
        )
        return all(value in self.only for words, value in kinds if self.only.intersection(words))

    def wants_server(self, name: str) -> bool:
        """Whether `--only` asks for this server; ours and the limits are always measured."""
        named = self.only.difference(WORDS)
        return not named or name == OURS or name in named

    def wants_workers(self) -> bool:
        """Whether one worker is compared with two."""
        return self.wants(Cell("medium", "json", Load("workers", 2)))

    def all_rounds(self) -> range:
        """The numbers of the rounds."""
        return range(1, max(self.rounds, self.goal_rounds) + 1)

    def cells(self, number: int, model: str) -> Iterator[Cell]:
        """The cells of one round: closed loops first, for they tell what a server can do at all."""
        full = number <= self.rounds
        for load in (*CLOSED, *OPEN):
            for protocol in PROTOCOLS:
                cell = Cell(model, protocol, load)
                if self.wants(cell) and (full or (cell in GOAL_OPEN and number <= self.goal_rounds)):
                    yield cell

    def seconds(self, cell: Cell, server: str) -> int:
        """How long one server runs in one cell."""
        close = server == OURS or server in TRITONS
        if cell.load.kind == "closed":
            return self.own if close else self.peer
        if cell in GOAL_OPEN:
            return self.goal_open if close else self.reported_open
        if (cell.model, cell.protocol) == ("medium", "json"):
            return self.reported_open
        return self.open


_LAUNCH, _AROUND = 2.0, 0.2
"""Seconds that a server needs to start, and a load generator beside its load."""

QUICK = Plan(rounds=1, goal_rounds=1, calibrate=1, own=1, goal_open=1, reported_open=1, open=1, workers=1)
"""For trying: every cell once, one second."""


def estimate(plan: Plan, servers: Mapping[str, Collection[str]]) -> float:
    """Seconds that the rounds take, when open loops that would only fill a queue are left out as `is_overloaded` says.

    Those are the tiny model's, for everybody but ours, and the medium model's for everybody but ours and Triton.

    Args:
        servers: by name, the models and protocols that the server is measured on.
    """
    total = 0.0
    for number in plan.all_rounds():
        for model in MODELS:
            cells = list(plan.cells(number, model))
            names = [name for name, kinds in servers.items() if model in kinds]
            names = [name for name in names if number <= plan.rounds or name in {OURS, *TRITONS}]
            total += len(names) * (_LAUNCH + plan.warm) if cells else 0
            for cell in cells:
                able = {OURS} if model == "tiny" else {OURS, *TRITONS}
                total += sum(
                    plan.seconds(cell, name) + _AROUND
                    for name in names
                    if cell.protocol in servers[name] and (cell.load.kind == "closed" or name in able)
                )
    return total + (plan.rounds * 2 * (plan.workers + _LAUNCH) if plan.wants_workers() else 0)


def rotated(items: Sequence[T], by: int) -> list[T]:
    """The items, begun elsewhere: whoever always came first would always meet the same spell of the machine."""
    if not items:
        return []
    by %= len(items)
    return [*items[by:], *items[:by]]


def is_overloaded(cell: Cell, server: str, rate: float, capacity: float | None) -> bool:
    """Whether an open loop would only fill the queue of a server: it does less at 32 connections than would arrive.

    Where there is a goal, Triton is measured all the same.
    """
    if server == OURS or capacity is None:
        return False
    if server in TRITONS and (cell.model, cell.protocol) == ("medium", "json"):
        return False
    return capacity < rate
