"""`python -m tests.bench.runtime`: our model server beside others, and beside what the machine can do at all.

Every server runs one model on one core, the load comes from another core, and in each round all servers stand through
the same cells one after the other, in rotating order. Rounds are 3; the open loops with a goal have 5 of 30 s.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from tests.bench import report
from tests.bench.runtime import goals, table
from tests.bench.runtime.limits import CONSTANT, RAW, Constant
from tests.bench.runtime.peers import base
from tests.bench.runtime.peers.registry import everyone
from tests.bench.runtime.plan import QUICK, WORDS, Plan, estimate
from tests.bench.runtime.processes import UnavailableError, idle_share
from tests.bench.runtime.rounds import Cores, Rounds, protocols_of

IDLE = 0.95
"""Least share of the machine that should be idle before the first round."""
VERSIONS = (
    ("triton", "nvidia-pytriton"),
    ("torchserve", "torchserve"),
    ("mlserver", "mlserver"),
    ("kserve", "kserve"),
    ("triton", "onnxruntime"),
)
"""Lock and package of each version that the report names."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print table and goals, write the report; return the exit status."""
    plan = _plan(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # Else servers would be left running.
    try:
        cores = Cores.of(sorted(os.sched_getaffinity(0)))
    except UnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    loads, idle = os.getloadavg(), idle_share(2)
    if idle < IDLE:
        sys.stderr.write(f"warning: only {idle:.0%} of this machine is idle; the figures are worth little\n")
    minutes = estimate(plan, protocols_of((*everyone(), Constant()))) / 60
    sys.stderr.write(f"rounds: {max(plan.all_rounds())}, about {minutes:.0f} minutes after the environments are made\n")
    _install()
    began = time.monotonic()
    rounds = Rounds(plan, cores)
    rounds.run()
    return _tell(rounds, {"load_average": [round(each, 2) for each in loads], "idle": round(idle, 3)}, began)


def _tell(rounds: Rounds, machine: dict[str, object], began: float) -> int:
    results = rounds.results
    servers = [*(peer.name for peer in everyone()), CONSTANT, RAW]
    judged = goals.judge_all(results, {name: model.mebibytes for name, model in rounds.models.items()})
    sys.stdout.write(table.render(results, servers, rounds.rates))
    report.show(judged)
    path = report.write(
        "runtime",
        judged,
        table.rows(results, servers),
        **machine,
        minutes=round((time.monotonic() - began) / 60, 1),
        pinned={"server": rounds.cores.server, "load": rounds.cores.load},
        versions={package: base.version(lock, package) for lock, package in VERSIONS},
        settings={peer.name: peer.about for peer in everyone()},
        capacity={f"{model}, {protocol}": round(rate) for (model, protocol), rate in rounds.rates.items()},
    )
    sys.stdout.write(f"written to {path}\n")
    return 0


def _plan(arguments: Sequence[str] | None) -> Plan:
    names = [peer.name for peer in everyone()]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.runtime", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every cell once, 1 s: for trying; no goal can hold")
    parser.add_argument("--rounds", type=int, help="rounds of everything (default: 3, and 5 where the goal says so)")
    parser.add_argument(
        "--only", default="", help=f"comma-separated: {', '.join(WORDS)}, and names of servers: {', '.join(names)}"
    )
    options = parser.parse_args(arguments)
    only = frozenset(word for word in options.only.split(",") if word)
    wrong = only.difference(WORDS, names, [CONSTANT])
    if wrong:
        parser.error(f"--only: {', '.join(sorted(wrong))} is none of {', '.join((*WORDS, *names))}")
    plan = replace(QUICK if options.quick else Plan(), only=only)
    if options.rounds is not None:
        if options.rounds < 1:
            parser.error(f"--rounds is {options.rounds}: it must be at least 1")
        plan = replace(plan, rounds=options.rounds, goal_rounds=options.rounds)
    return plan


def _install() -> None:
    """Make the peers' environments, one after the other; what cannot be made is told again when it is missed."""
    for name in sorted({peer.requirements for peer in everyone() if peer.requirements}):
        try:
            base.install(name)
        except UnavailableError as error:
            sys.stderr.write(f"{name} {error}\n")


if __name__ == "__main__":
    sys.exit(main())
