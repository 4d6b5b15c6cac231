"""The tables that are printed beneath the goals."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from tests.bench.autoscaling.cells import Row


def rows(found: Sequence[Row]) -> str:
    """Return one line a controller and model: windows in time / hours by the oracle's for each trace, medians."""
    traces = list(dict.fromkeys(row.trace for row in found))
    cells: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in found:
        name = row.controller if row.setting is None else f"{row.controller} {row.setting:g}"
        cells[row.model, name][row.trace].append(row)
    width = max(len(f"{model} {name}") for model, name in cells)
    lines = [f"{'windows in time / hours by the oracle':<{width}}" + "".join(f"{trace:>15}" for trace in traces)]
    for (model, name), by_trace in sorted(cells.items(), key=lambda item: item[0][0]):
        shown = (_shown(by_trace[trace]) for trace in traces)
        lines.append(f"{f'{model} {name}':<{width}}" + "".join(f"{each:>15}" for each in shown))
    return "\n".join(lines)


def _shown(members: Sequence[Row]) -> str:
    if not members:
        return "-"
    attained = statistics.median(row.attained for row in members)
    return f"{attained:.4f} / {statistics.median(row.cost for row in members):.2f}"


def headroom(found: Sequence[Mapping[str, float]]) -> str:
    """Return windows, requests in time and hours on the flash crowd: a line a load time, a column a static headroom."""
    cells: dict[tuple[float, float], list[Mapping[str, float]]] = defaultdict(list)
    for row in found:
        cells[row["load"], row["floor"]].append(row)
    floors = sorted({floor for _, floor in cells})
    names = ("without lag" if floor < 0 else f"floor {floor:g}" for floor in floors)
    lines = ["load time " + "".join(f"{name:>21}" for name in names)]
    for load in sorted({load for load, _ in cells}):
        shown = (_three(cells[load, floor]) for floor in floors)
        lines.append(f"{load:>6g} s  " + "".join(f"{each:>21}" for each in shown))
    return "\n".join(lines)


def _three(members: Sequence[Mapping[str, float]]) -> str:
    windows, requests, cost = (
        statistics.median(row[name] for row in members) for name in ("windows", "requests", "cost")
    )
    return f"{windows:.3f} {requests:.3f} {cost:.2f}x"


def capacities(found: Sequence[Mapping[str, float | str]]) -> str:
    """Return what a pod holds, one line a model."""
    names = list(found[0])
    lines = ["  ".join(f"{name:>10}" for name in names)]
    lines += ["  ".join(f"{row[name]:>{max(10, len(name))}}" for name in names) for row in found]
    return "\n".join(lines)
