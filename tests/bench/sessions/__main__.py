"""`python -m tests.bench.sessions`: durable steps beside the same model without state, and beside state in Redis.

All servers stand on one core at the same time, the load comes from another, and each round goes through all cells in
rotating order, so that a slow spell of the machine meets everybody.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from tests.bench import report
from tests.bench.runtime.processes import idle_share
from tests.bench.sessions.cells import cells, judge, rows
from tests.bench.sessions.rounds import Rounds

LIVE = 100_000
IDLE = 0.95
"""Least share of the machine that should be idle before the first round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the goals, write the report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sessions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=report.RUNS, help="how many rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of a cell (default: %(default)s)")
    parser.add_argument(
        "--live", type=int, default=LIVE, help="sessions of the servers with many (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # Else servers would be left running.
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        sys.stderr.write(f"server and load need a core each, and this process may use {usable} only\n")
        return 1
    loads, idle = os.getloadavg(), idle_share(2)
    if idle < IDLE:
        sys.stderr.write(f"warning: only {idle:.0%} of this machine is idle; the figures are worth little\n")
    began = time.monotonic()
    folder = report.FOLDER / "sessions"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rounds = Rounds(folder, usable[0], usable[1], options.live, options.seconds)
    with ExitStack() as stack:
        rounds.start(stack)
        for number in range(1, options.rounds + 1):
            rounds.round(number)
    shutil.rmtree(folder)
    goals = judge(rounds.figures, rounds.missing, options.live)
    report.show(goals)
    path = report.write(
        "sessions",
        goals,
        rows(rounds.figures, rounds.missing, cells(options.live)),
        **rounds.facts,
        load_average=[round(each, 2) for each in loads],
        idle=round(idle, 3),
        minutes=round((time.monotonic() - began) / 60, 1),
        pinned={"server": rounds.core, "load": rounds.load},
    )
    sys.stdout.write(f"written to {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
