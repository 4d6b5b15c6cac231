"""The goals, each judged from the figures of one run. Pure."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from tests.bench import report
from tests.bench.report import Goal
from tests.bench.runtime.cells import CLOSED, Cell, Figure, Load, Results
from tests.bench.runtime.limits import CONSTANT, RAW
from tests.bench.runtime.peers.registry import OURS, TRITON, TRITONS
from tests.bench.runtime.plan import GOAL_OPEN

TINY_JSON = (2.0, 4.0, 6.0)
MEDIUM_JSON = (1.0, 1.3, 1.3)
TINY_GRPC = (1.4, 1.6, 1.8)
"""Least ratios of our requests a second to Triton's, at 1, 8 and 32 connections."""
RAW_SHARE = 0.85
WORKERS = 1.5
READY_SECONDS = 0.5
MEMORY_MEBIBYTES = 80


def judge_all(results: Results, model_mebibytes: Mapping[str, float]) -> list[Goal]:
    """Every goal, also those that could not be measured. `model_mebibytes`: the size of each model's file."""
    return [
        *_speed(results, "tiny", "json", TINY_JSON, (TRITON,)),
        *[_tail(results, Cell("tiny", "json", load)) for load in CLOSED],
        *_speed(results, "medium", "json", MEDIUM_JSON, TRITONS),
        _share_of_raw(results),
        *[_open_loop(results, cell) for cell in GOAL_OPEN],
        *_speed(results, "tiny", "grpc", TINY_GRPC, (TRITON,)),
        _workers(results),
        report.judge(
            "tiny, exec to the first right answer",
            results.starts.get((OURS, "tiny"), []),
            "s",
            f"<= {READY_SECONDS}",
            _others(results.starts, "tiny", "s"),
        ),
        *[_memory(results, model, size) for model, size in model_mebibytes.items()],
    ]


def _rate(figure: Figure) -> float:
    return figure.rate


def _p99(figure: Figure) -> float:
    return figure.p99


def _speed(results: Results, model: str, protocol: str, least: Sequence[float], rivals: Sequence[str]) -> list[Goal]:
    cells = [Cell(model, protocol, load) for load in CLOSED]
    best = "Triton" if len(rivals) == 1 else "Triton's best setting"
    return [
        report.judge(
            f"{cell}: ours / {best}",
            results.ratios(OURS, rivals, cell, _rate, max),
            "x",
            f">= {goal}",
            _told(results, cell, (OURS, *rivals), _rate, "req/s"),
        )
        for cell, goal in zip(cells, least, strict=True)
    ]


def _tail(results: Results, cell: Cell) -> Goal:
    return report.judge(
        f"{cell}: p99, ours / Triton",
        results.ratios(OURS, (TRITON,), cell, _p99, min),
        "x",
        "<= 1",
        _told(results, cell, (OURS, TRITON), _p99, "ms"),
    )


def _share_of_raw(results: Results) -> Goal:
    cell = Cell("medium", "json", Load("closed", 32))
    return report.judge(
        f"{cell}: ours / onnxruntime alone at batch 32",
        results.ratios(OURS, (RAW,), cell, _rate, max),
        "x",
        f">= {RAW_SHARE}",
        _told(results, cell, (OURS, RAW), _rate, "req/s"),
    )


def _open_loop(results: Results, cell: Cell) -> Goal:
    """The median p99 of ours over the smallest of Triton's settings' medians: a goal on medians, not on each round."""
    name = f"{cell} of our capacity: median p99, ours / Triton's best setting"
    found = {server: [figure.p99 for figure in results.of(server, cell)] for server in (OURS, *TRITONS)}
    detail = _told(results, cell, found, _p99, "ms")
    if min(map(len, found.values())) < report.RUNS:
        return Goal(name, None, "x", "<= 1", False, f"not measured: {report.RUNS} runs are needed. {detail}")
    medians = {server: statistics.median(values) for server, values in found.items()}
    value = round(medians[OURS] / min(medians[server] for server in TRITONS), 3)
    return Goal(name, value, "x", "<= 1", value <= 1, detail)


def _workers(results: Results) -> Goal:
    one, two = results.workers.get(1, {}), results.workers.get(2, {})
    ratios = [two[number].rate / one[number].rate for number in sorted(one) if number in two]
    detail = "both on the same two cores, which the load shares where there is no third. "
    told = [
        f"{name}: {' '.join(f'{figure.rate:.0f}' for figure in rounds.values())} req/s"
        for name, rounds in (("one", one), ("two", two))
        if rounds
    ]
    return report.judge(
        "medium, json, 32 connections: two workers / one",
        ratios,
        "x",
        f">= {WORKERS}",
        f"{detail}{'; '.join(told)} {results.workers_missing}".strip(),
    )


def _memory(results: Results, model: str, size: float) -> Goal:
    found = results.memory.get((OURS, model), [])
    return report.judge(
        f"{model}, resident memory less the model's file",
        [resident - size for resident in found],
        "MiB",
        f"< {MEMORY_MEBIBYTES}",
        f"after the load of a round; the file has {size:.1f} MiB. {_others(results.memory, model, 'MiB')}",
    )


def _told(
    results: Results,
    cell: Cell,
    servers: Sequence[str] | Mapping[str, object],
    value: Callable[[Figure], float],
    unit: str,
) -> str:
    told = []
    for server in servers:
        found = [value(figure) for figure in results.of(server, cell)]
        if found:
            told.append(f"{server} {_short(statistics.median(found))} {unit} ({' '.join(map(_short, found))})")
    return f"{', '.join(told)}. {results.why(servers, cell)}".strip(". ")


def _others(values: Mapping[tuple[str, str], Sequence[float]], model: str, unit: str) -> str:
    told = [
        f"{server} {_short(statistics.median(found))} {unit}"
        for (server, of), found in values.items()
        if of == model and server not in {OURS, CONSTANT} and found
    ]
    return f"Others: {', '.join(told)}." if told else ""


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
