"""What the operator costs when nothing changes: the resync of all services, and the memory that it holds."""

import asyncio
import time
from dataclasses import dataclass

from tests.bench.operator import ground
from tests.bench.operator.ground import Ground, NotMeasuredError
from tests.bench.operator.process import Operator

RESYNC_SECONDS = 15
"""Period of the resync while it is measured; it is an operator's own setting, and ten minutes long elsewhere."""
PATIENCE = 60.0


@dataclass(frozen=True)
class Resync:
    """One resync of all services.

    Attributes:
        rounds: rounds of the loop in the measured time.
        writes: what the operator wrote meanwhile, leases aside.
        cpu_each: milliseconds of the operator's CPU a round, everything that it did meanwhile included.
    """

    rounds: int
    writes: int
    cpu_each: float


async def resync(on: Ground, operator: Operator) -> Resync:
    """Measure from now until every service was looked at once on average. Nobody else may write meanwhile."""
    tail = on.tail()
    rounds, cpu, started = operator.rounds(), operator.cpu(), time.monotonic()
    while (done := operator.rounds() - rounds) < ground.SERVICES:
        if time.monotonic() - started > PATIENCE:
            raise NotMeasuredError(f"{done} of {ground.SERVICES} services were looked at within {PATIENCE:.0f} s")
        await asyncio.sleep(0.5)
    # A whole period, so that what belongs to it but not to one service, the sweep of the cache, is counted too.
    await asyncio.sleep(max(0.0, RESYNC_SECONDS - (time.monotonic() - started)))
    done = operator.rounds() - rounds
    used = operator.cpu() - cpu
    writes = sum(write.user == ground.USER for write in tail.writes())
    return Resync(done, writes, used / done * 1000)
