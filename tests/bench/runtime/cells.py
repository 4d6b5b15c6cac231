"""What is measured: cells, the figures of each round, and the reasons where there is none."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

CONNECTIONS = (1, 8, 32)
"""Closed loops: so many connections, each sends its next request when its answer has come."""
PERCENTS = (50, 80, 95)
"""Open loops: Poisson arrivals at this share of what the measured server itself does at 32 connections."""
PROTOCOLS = ("json", "binary", "grpc")
MODELS = ("tiny", "medium")


class Load(NamedTuple):
    """How requests come: `closed` with a number of connections, `open` with a percentage of our capacity."""

    kind: str
    number: int

    def __str__(self) -> str:
        if self.kind == "open":
            return f"open loop, {self.number} %"
        return f"{self.number} connection{'s' if self.number > 1 else ''}"


class Cell(NamedTuple):
    """One field of the table, for every server."""

    model: str
    protocol: str
    load: Load

    def __str__(self) -> str:
        return f"{self.model}, {self.protocol}, {self.load}"


CLOSED = tuple(Load("closed", number) for number in CONNECTIONS)
OPEN = tuple(Load("open", number) for number in PERCENTS)


@dataclass(frozen=True)
class Figure:
    """What one server did in one cell of one round.

    Attributes:
        rate: right answers a second.
        p50, p99: milliseconds from the request (open loop: from its planned arrival) to its answer.
        cpu: percent of a core that the server used, with all its processes.
        others: percent of a core that neither the server nor the load generator used.
        late: milliseconds by which the open-loop generator itself was late in 1 of 100 requests; 0 in closed loops.
    """

    rate: float
    p50: float
    p99: float
    cpu: float = 0.0
    others: float = 0.0
    late: float = 0.0


@dataclass
class Results:
    """The figures of all rounds, and what else was seen of each server.

    `starts` are seconds from exec to the first right answer; `memory` is MiB resident after the load of a round. Both
    are kept by server and model.
    """

    figures: dict[tuple[str, Cell], dict[int, Figure]] = field(default_factory=dict)
    missing: dict[tuple[str, Cell], str] = field(default_factory=dict)
    starts: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    memory: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    workers: dict[int, dict[int, Figure]] = field(default_factory=dict)
    workers_missing: str = ""

    def add(self, server: str, cell: Cell, number: int, figure: Figure) -> None:
        """Keep the figure of round `number`."""
        self.figures.setdefault((server, cell), {})[number] = figure

    def miss(self, server: str, cell: Cell, reason: str) -> None:
        """Keep why a cell has no figure of a round; the last reason stands."""
        self.missing[server, cell] = reason

    def of(self, server: str, cell: Cell) -> list[Figure]:
        """The figures of all rounds, in their order."""
        rounds = self.figures.get((server, cell), {})
        return [rounds[number] for number in sorted(rounds)]

    def median(self, server: str, cell: Cell, value: Callable[[Figure], float]) -> float | None:
        """The median over the rounds; None where there is no figure."""
        found = [value(figure) for figure in self.of(server, cell)]
        return statistics.median(found) if found else None

    def why(self, servers: Iterable[str], cell: Cell) -> str:
        """Why some of these servers have no figure, or too few."""
        told = [f"{server}: {self.missing[server, cell]}" for server in servers if (server, cell) in self.missing]
        return "; ".join(told)

    def ratios(
        self, ours: str, rivals: Sequence[str], cell: Cell, value: Callable[[Figure], float], best: Callable[..., float]
    ) -> list[float]:
        """Round by round: ours / the best of the rivals in the same round. Rounds where one is missing give none."""
        mine = self.figures.get((ours, cell), {})
        theirs = [self.figures.get((rival, cell), {}) for rival in rivals]
        return [
            value(mine[number]) / best(value(rounds[number]) for rounds in theirs)
            for number in sorted(mine)
            if theirs and all(number in rounds for rounds in theirs)
        ]
