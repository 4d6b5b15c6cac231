"""`python -m tests.bench.operator`: the operator with 200 services, beside a plain client.

In each round both sides make the children of 200 services on the same control plane, with its controllers running;
which side begins alternates. Then every service is changed once, and the resync of all of them is measured. The
operator is a process with the rights that the chart gives it, and nothing more.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.bench import report
from tests.bench.operator import changes, creation, rest
from tests.bench.operator import ground as grounds
from tests.bench.operator.client import Client
from tests.bench.operator.creation import Creation
from tests.bench.operator.ground import SERVICES, Ground, NotMeasuredError
from tests.bench.operator.process import running
from tests.bench.operator.rest import RESYNC_SECONDS, Resync
from tests.cluster.places import ClusterError
from tests.cluster.progress import step

CLUSTER = "bench-operator"
T = TypeVar("T")


@dataclass
class Results:
    """What the rounds found. A list is shorter than the others where something could not be measured."""

    operator: list[Creation] = field(default_factory=list)
    plain: list[Creation] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    latencies: list[list[float]] = field(default_factory=list)
    resyncs: list[Resync] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def attempt(self, what: str, measuring: Awaitable[T]) -> T | None:
        """Return what was measured, or None and note why not."""
        try:
            with step(what):
                return await measuring
        except (NotMeasuredError, ClusterError) as error:
            self.failures.append(f"{what}: {error}")
            return None


def main(arguments: list[str] | None = None) -> int:
    """Run the rounds, print the goals, write the report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operator", description=__doc__)
    parser.add_argument("--rounds", type=int, default=report.RUNS, help="how many rounds (default: %(default)s)")
    options = parser.parse_args(arguments)
    results = Results()
    try:
        with grounds.ground(CLUSTER) as ground:
            asyncio.run(_rounds(ground, results, options.rounds))
    except ClusterError as error:
        results.failures.append(str(error))
    goals = _goals(results)
    report.show(goals)
    sys.stdout.write(f"written to {report.write('operator', goals, services=SERVICES)}\n")
    return 0


async def _rounds(ground: Ground, results: Results, rounds: int) -> None:
    async with Client.of(ground.cluster.kubeconfig) as admin:
        for number in range(1, rounds + 1):
            sides = [_plain_side, _operator_side]
            made = [await side(ground, admin, results, number) for side in (sides if number % 2 else sides[::-1])]
            both = [each for each in made if each is not None]
            if len(both) == len(sides):
                plain, operator = both if number % 2 else both[::-1]
                results.ratios.append(operator.seconds / plain.seconds)


async def _plain_side(ground: Ground, admin: Client, results: Results, number: int) -> Creation | None:
    namespace = f"plain-{number}"
    await grounds.make_namespace(admin, namespace)
    made = await results.attempt(f"round {number}: a plain client", creation.plain(ground, admin, namespace))
    if made is not None:
        results.plain.append(made)
    await grounds.drop_namespace(admin, namespace)
    return made


async def _operator_side(ground: Ground, admin: Client, results: Results, number: int) -> Creation | None:
    namespace, log = f"operator-{number}", ground.cluster.state / "operator.log"
    await grounds.make_namespace(admin, namespace)
    with running(ground.env, log) as operator:
        what = f"round {number}: the operator"
        made = await results.attempt(what, creation.by_operator(ground, operator, admin, namespace))
        if made is not None:
            results.operator.append(made)
            await results.attempt(f"{what}, at rest", ground.settle())
            await results.attempt(f"{what}, compared", creation.check_children(ground, admin, namespace))
            found = await results.attempt(f"{what}, {SERVICES} changes", changes.latencies(admin, namespace, number))
            results.latencies += [found] if found is not None else []
            await results.attempt(f"{what}, at rest again", ground.settle())
            results.memory.append(operator.memory())
            results.peaks.append(operator.memory("VmHWM"))
    if made is not None:
        with running({**ground.env, "MOORING_RESYNC_SECONDS": str(RESYNC_SECONDS)}, log) as operator:
            await results.attempt(f"{what}, started anew", ground.settle())
            resync = await results.attempt(f"{what}, resync", rest.resync(ground, operator))
            results.resyncs += [resync] if resync is not None else []
    await grounds.drop_namespace(admin, namespace)
    return made


def _goals(results: Results) -> list[report.Goal]:
    trouble = "; ".join(results.failures)
    latencies = results.latencies
    writes = [resync.writes for resync in results.resyncs]
    return [
        report.judge(
            "creation, operator / plain client",
            results.ratios,
            "x",
            "<= 1.3",
            f"{_sides(results)} {trouble}".strip(),
        ),
        report.judge(
            "change of one service reaches its children, p99",
            [report.percentile(found, 99) for found in latencies],
            "ms",
            "< 300",
            f"{SERVICES} changes a run; median {_median([statistics.median(found) for found in latencies])} ms, "
            f"longest {_median([max(found) for found in latencies])} ms. {trouble}".strip(),
        ),
        report.judge(
            "writes of a resync",
            writes,
            "",
            "<= 0",
            f"counted in the audit log, leases aside, over {[resync.rounds for resync in results.resyncs]} rounds of "
            f"the loop. {trouble}".strip(),
        ),
        report.judge(
            "CPU of a resync, each service",
            [resync.cpu_each for resync in results.resyncs],
            "ms",
            "< 5",
            f"all CPU of the process in that time, with its lease, watches and sweeps. {trouble}".strip(),
        ),
        report.judge(
            "resident memory",
            results.memory,
            "MB",
            "< 120",
            f"after {SERVICES} services were made and changed; at its peak {_median(results.peaks)} MB. "
            f"{trouble}".strip(),
        ),
    ]


def _sides(results: Results) -> str:
    told = []
    for name, made in (("operator", results.operator), ("plain client", results.plain)):
        if made:
            told.append(
                f"{name} {_median([each.seconds for each in made])} s for {made[0].children} children with "
                f"{_median([each.writes for each in made])} writes (CPU: {_cpu(made)})"
            )
    if results.operator:
        seconds = _median([each.services_seconds for each in results.operator])
        told.append(f"the last service was created after {seconds} s")
    return ", ".join(told) + "."


def _cpu(made: list[Creation]) -> str:
    parts = {part: _median([each.cpu[part] for each in made]) for part in made[0].cpu}
    return ", ".join(f"{part} {seconds} s" for part, seconds in parts.items())


def _median(values: list[float] | list[int]) -> str:
    return f"{statistics.median(values):.3g}" if values else "-"


if __name__ == "__main__":
    sys.exit(main())
