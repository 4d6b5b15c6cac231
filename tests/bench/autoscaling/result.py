"""What one replay of a trace came to."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tests.bench.autoscaling.fleet import Fleet, Model
from tests.bench.autoscaling.models import share


@dataclass(frozen=True)
class Result:
    """One replay.

    Attributes:
        attained: share of judged minutes in which the percentile met the target; a refused request misses it.
        bad: minutes in which it did not.
        requests: share of judged requests in time.
        hours: replica-hours, starting pods included.
        reversals: changes of direction of the count, an hour.
        replicas: the pods of each minute.
        missed: share of requests of each minute that were late or refused.
    """

    attained: float
    bad: int
    requests: float
    hours: float
    reversals: float
    replicas: NDArray[np.float32]
    missed: NDArray[np.float32]


def measure(fleet: Fleet, model: Model, judge_from: float, changes: Sequence[tuple[float, int]]) -> Result:
    """Return the result of a fleet at the end of its trace.

    Args:
        judge_from: second from which on minutes and pods count.
        changes: (second, count) of each time that the count was set.
    """
    total, good = fleet.by_minute()
    first = int(judge_from // 60)
    judged, in_time = total[first:], good[first:]
    met = in_time >= share(model) * judged
    hours = fleet.totals().replica_seconds / 3600
    seconds = fleet.by_second()[1]
    minutes = seconds[: len(seconds) // 60 * 60].reshape(-1, 60).mean(axis=1)
    return Result(
        attained=float(met.mean()),
        bad=int((~met).sum()),
        requests=float(in_time.sum() / max(1, judged.sum())),
        hours=hours,
        reversals=reversals([count for time, count in changes if time >= judge_from]) / (len(judged) / 60),
        replicas=minutes,
        missed=(1 - good / np.maximum(1, total)).astype(np.float32),
    )


def reversals(counts: Sequence[int]) -> int:
    """Return how often a series of counts turns from rising to falling or back."""
    turns, last = 0, 0
    for earlier, later in pairwise(counts):
        sign = (later > earlier) - (later < earlier)
        if sign and last and sign != last:
            turns += 1
        last = sign or last
    return turns
