"""All cells as one table for people, and as rows for the report. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.runtime.cells import CLOSED, MODELS, OPEN, PROTOCOLS, Cell, Figure, Results

HEAD = """Medians of all rounds. Closed loops: right answers a second, p99 in ms. Open loops: p50 / p99 in ms, with
Poisson arrivals at that share of what ours does at 32 connections; (+n): the generator itself was n ms late (p99)."""
LATE_MILLISECONDS = 1.0
"""Lateness of the generator that is told in the table: less does not change a figure."""


def render(results: Results, servers: Sequence[str], rates: Mapping[tuple[str, str], float]) -> str:
    """The table, with the reasons of what is missing beneath it; `rates` is our capacity by model and protocol."""
    notes: dict[str, int] = {}
    lines = [HEAD, ""]
    for model in MODELS:
        for protocol in PROTOCOLS:
            cells = [Cell(model, protocol, load) for load in (*CLOSED, *OPEN)]
            texts = [
                [_label(cell, rates), *(_text(results, server, cell, notes) for server in servers)] for cell in cells
            ]
            texts = [row for row in texts if any(row[1:])]
            if texts:
                lines += [*_aligned([[f"{model}, {protocol}", *servers], *texts]), ""]
    lines += [f"[{number}] {reason}" for reason, number in notes.items()]
    return "\n".join(lines) + "\n"


def rows(results: Results, servers: Sequence[str]) -> list[dict[str, Any]]:
    """Each server in each cell that it takes part in: the medians, the single rounds, or the reason."""
    found = []
    for model in MODELS:
        for protocol in PROTOCOLS:
            for load in (*CLOSED, *OPEN):
                cell = Cell(model, protocol, load)
                for server in servers:
                    figures = results.of(server, cell)
                    reason = results.missing.get((server, cell), "")
                    if figures or reason:
                        place = {"server": server, "model": model, "protocol": protocol}
                        load_of = {"load": load.kind, "number": load.number}
                        found.append({**place, **load_of, **_medians(figures), "missing": reason})
    return found


def _label(cell: Cell, rates: Mapping[tuple[str, str], float]) -> str:
    capacity = rates.get((cell.model, cell.protocol))
    if cell.load.kind == "closed" or capacity is None:
        return str(cell.load)
    return f"{cell.load}, {capacity * cell.load.number / 100:.0f}/s"


def _medians(figures: Sequence[Figure]) -> dict[str, Any]:
    if not figures:
        return {}
    values = {
        name: round(statistics.median(getattr(figure, name) for figure in figures), 3)
        for name in ("rate", "p50", "p99", "cpu", "others", "late")
    }
    return {
        **values,
        "rates": [round(figure.rate, 1) for figure in figures],
        "p99s": [round(figure.p99, 3) for figure in figures],
    }


def _text(results: Results, server: str, cell: Cell, notes: dict[str, int]) -> str:
    figures = results.of(server, cell)
    if figures:
        return _figure(cell, figures)
    reason = results.missing.get((server, cell))
    if reason is None:
        return ""
    number = notes.setdefault(f"{server}: {reason}", len(notes) + 1)
    return f"missing [{number}]"


def _figure(cell: Cell, figures: Sequence[Figure]) -> str:
    rate, p50, p99, late = (
        statistics.median(values)
        for values in zip(*((each.rate, each.p50, each.p99, each.late) for each in figures), strict=True)
    )
    if cell.load.kind == "closed":
        return f"{rate:.0f}  {p99:.1f}"
    told = f"{p50:.1f} / {p99:.1f}"
    return f"{told} (+{late:.0f})" if late >= LATE_MILLISECONDS else told


def _aligned(texts: Sequence[Sequence[str]]) -> list[str]:
    used = [column for column in range(len(texts[0])) if column == 0 or any(row[column] for row in texts[1:])]
    widths = [max(len(row[column]) for row in texts) for column in used]
    return [
        "  ".join(
            row[column].ljust(width) if column == 0 else row[column].rjust(width)
            for column, width in zip(used, widths, strict=True)
        ).rstrip()
        for row in texts
    ]
