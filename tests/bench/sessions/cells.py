"""What is measured, and what the goals make of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.bench import report
from tests.bench.report import Goal

CONNECTIONS = 32
FEW = 100
SHARE, RATE, TIMES, HELD = 0.8, 20_000, 10, 0.9


@dataclass(frozen=True)
class Cell:
    """One load on one server.

    Attributes:
        server: its name, see `rounds`.
        sessions: how many are stepped; 0: requests name none.
        parameter: the session is named in the JSON, not in a header.
    """

    name: str
    server: str
    sessions: int = 0
    parameter: bool = False


def cells(live: int) -> list[Cell]:
    """All cells; `live` is the number of sessions of the servers with many."""
    found = []
    for model in ("recurrent", "tiny"):
        found += [
            Cell(f"{model}, stateless", f"{model} stateless"),
            Cell(f"{model}, durable", f"{model} few", CONNECTIONS),
            Cell(f"{model}, durable, by parameter", f"{model} few", CONNECTIONS, parameter=True),
            Cell(f"{model}, Redis and a model server", f"{model} naive served", CONNECTIONS),
            Cell(f"{model}, Redis and the model", f"{model} naive own", CONNECTIONS),
            Cell(f"{model}, {FEW} live", f"{model} few", FEW),
            Cell(f"{model}, {live} live", f"{model} many", live),
        ]
    return found


@dataclass(frozen=True)
class Figure:
    """What one server did in one cell of one round.

    Attributes:
        rate: answered steps a second.
        p50, p99: milliseconds from a request to its answer.
        client, server: percent of a core that they used; of Redis and a model server: the application only.
    """

    rate: float
    p50: float
    p99: float
    client: float
    server: float


Figures = Mapping[str, Mapping[int, Figure]]
"""By the name of the cell and the number of the round."""


def judge(figures: Figures, missing: Mapping[str, str], live: int) -> list[Goal]:
    """Every goal, also those that could not be measured."""

    def ratio(goal: str, one: str, other: str, unit: str, bound: str, told: str = "") -> Goal:
        rounds = sorted(set(figures.get(one, {})) & set(figures.get(other, {})))
        runs = [figures[one][number].rate / figures[other][number].rate for number in rounds]
        reasons = "; ".join(f"{name}: {missing[name]}" for name in (one, other) if name in missing)
        return report.judge(goal, runs, unit, bound, f"{_rates(figures, one, other)} {told}{reasons}".strip())

    durable = figures.get("tiny, durable", {})
    return [
        ratio(
            "1 ms model, 4 KiB: durable / stateless", "recurrent, durable", "recurrent, stateless", "x", f">= {SHARE}"
        ),
        report.judge(
            "tiny model: durable steps",
            [durable[number].rate for number in sorted(durable)],
            "1/s",
            f">= {RATE}",
            f"{_rates(figures, 'tiny, durable', 'tiny, durable, by parameter', 'tiny, stateless')} "
            f"{missing.get('tiny, durable', '')}".strip(),
        ),
        ratio(
            "tiny model: ours / state in Redis",
            "tiny, durable",
            "tiny, Redis and a model server",
            "x",
            f">= {TIMES}",
            f"Redis syncs each command. With the model in the application: "
            f"{_rates(figures, 'tiny, Redis and the model')}; the 1 ms model: "
            f"{_rates(figures, 'recurrent, durable', 'recurrent, Redis and a model server')} ",
        ),
        *(
            ratio(
                f"{words}: {live} live sessions / {FEW}",
                f"{model}, {live} live",
                f"{model}, {FEW} live",
                "x",
                f">= {HELD}",
            )
            for model, words in (("recurrent", "1 ms model, 4 KiB"), ("tiny", "tiny model"))
        ),
    ]


def _rates(figures: Figures, *names: str) -> str:
    told = []
    for name in names:
        if rounds := figures.get(name):
            rates = [figure.rate for figure in rounds.values()]
            told.append(f"{name}: {report.percentile(rates, 50):.0f}/s")
    return "; ".join(told)


def rows(figures: Figures, missing: Mapping[str, str], order: Sequence[Cell]) -> list[dict[str, object]]:
    """The table beside the goals: the median of each column, over the rounds."""
    found: list[dict[str, object]] = []
    for cell in order:
        rounds = list(figures.get(cell.name, {}).values())
        row: dict[str, object] = {"cell": cell.name, "rounds": len(rounds)}
        for column in ("rate", "p50", "p99", "client", "server") if rounds else ():
            row[column] = round(report.percentile([getattr(each, column) for each in rounds], 50), 2)
        if cell.name in missing:
            row["missing"] = missing[cell.name]
        found.append(row)
    return found
