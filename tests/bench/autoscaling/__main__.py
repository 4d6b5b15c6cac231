"""`python -m tests.bench.autoscaling`: our rule beside its rivals on simulated traffic.

All traces, models and settings take about a quarter of an hour on two cores. Nothing here measures time, so that a busy
machine makes it slower and nothing else; only the measured model asks for a quiet one.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.bench import report
from tests.bench.autoscaling import measured, table
from tests.bench.autoscaling.cells import Row, Series, capacities, cell, headroom_table
from tests.bench.autoscaling.fleet import FOLDER, Model, library
from tests.bench.autoscaling.goals import goals
from tests.bench.autoscaling.models import GPU, MODELS
from tests.bench.autoscaling.traces import TRACES
from tests.bench.runtime.peers.base import install
from tests.bench.runtime.processes import UnavailableError

LOADS = (10.0, 30.0, 60.0, 90.0, 120.0)
FLOORS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0)
LONG = {"day": 8}
"""Traces that take so many times as long as the others; they begin first, so that no core is idle at the end."""

Task = tuple[Model, str, int, bool]


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print the goals, draw the traces, write the report; return the exit status."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    library()  # Built once, before there are several processes.
    models = dict(MODELS)
    facts: dict[str, Any] = {}
    if not options.no_measuring:
        try:
            models[measured.NAME], facts = measured.model()
        except UnavailableError as error:
            sys.stderr.write(f"warning: no measured model: {error}\n")
    chosen = options.only.split(",") if options.only else [*TRACES, *models]
    if unknown := [name for name in chosen if name not in TRACES and name not in models]:
        sys.stderr.write(
            f"--only: {unknown[0]!r} is no trace ({', '.join(TRACES)}) and no model ({', '.join(models)})\n"
        )
        return 2
    tasks = _tasks(chosen, models, options)
    rows, series = _run(tasks, options.processes)
    found = goals(rows, models.values())
    sys.stdout.write(table.rows(rows) + "\n")
    if not options.only:
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        facts["headroom"] = [row for seed in seeds for row in headroom_table(GPU, LOADS, FLOORS, seed)]
        sys.stdout.write(table.headroom(facts["headroom"]) + "\n")
    facts["capacity"] = [capacities(model) for model in models.values()]
    sys.stdout.write(table.capacities(facts["capacity"]) + "\n")
    report.show(found)
    minutes = round((time.monotonic() - began) / 60, 1)
    cells = [asdict(row) for row in rows]
    path = report.write("autoscaling", found, cells, minutes=minutes, seeds=options.seeds, **facts)
    drawn = _draw(series)
    sys.stdout.write(f"written to {path}; {drawn}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.autoscaling", description=__doc__)
    parser.add_argument("--only", help="traces and models, with commas; of the kind that is not named, all")
    parser.add_argument("--seeds", type=int, default=report.RUNS, help="seeds, from 1 on (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one a core")
    parser.add_argument("--no-rivals", action="store_true", help="the oracle, the one without lag, and ours")
    parser.add_argument("--no-measuring", action="store_true", help="leave out the model that is measured first")
    return parser


def _tasks(chosen: Sequence[str], models: dict[str, Model], options: argparse.Namespace) -> list[Task]:
    traces = [name for name in TRACES if name in chosen] or list(TRACES)
    served = [name for name in models if name in chosen] or list(models)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tasks = [
        (models[name], trace, seed, not options.no_rivals) for trace in traces for name in served for seed in seeds
    ]
    # A pod of the measured model takes hundreds of requests a second; a day of them would take as long as all the rest.
    kept = [task for task in tasks if not (task[0].name == measured.NAME and task[1] in LONG)]
    return sorted(kept, key=lambda task: -LONG.get(task[1], 1) * (task[0].batches + 1))


def _run(tasks: Sequence[Task], processes: int) -> tuple[list[Row], list[Series]]:
    rows: list[Row] = []
    series: dict[tuple[str, str], Series] = {}
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for done, (found, drawn) in enumerate(pool.imap_unordered(_cell, tasks), 1):
            rows += found
            series.setdefault((drawn.trace, drawn.model), drawn)
            sys.stderr.write(f"\r{done} of {len(tasks)} cells")
    sys.stderr.write("\n")
    order = list(TRACES)
    rows.sort(key=lambda row: (order.index(row.trace), row.model, row.seed))
    return rows, list(series.values())


def _cell(task: Task) -> tuple[list[Row], Series]:
    return cell(*task)


def _draw(series: Sequence[Series]) -> str:
    """Draw in an environment of its own, for matplotlib is needed nowhere else; return what came of it."""
    data = FOLDER / "series.json"
    data.write_text(json.dumps([asdict(each) for each in series]))
    try:
        python = install("autoscaling")
    except UnavailableError as error:
        return f"no plots: {error}"
    plots = [str(python), str(FOLDER.parents[2] / "tests/bench/autoscaling/plots.py"), str(data), str(FOLDER)]
    done = subprocess.run(plots, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"no plots: {done.stderr.strip().splitlines()[-1]}"
    return f"a plot for each trace in {FOLDER}"


if __name__ == "__main__":
    sys.exit(main())
