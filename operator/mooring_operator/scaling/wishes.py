"""What each metric of an autoscaler asks for by itself. Pure.

The autoscaler takes the largest. Which one that is says what holds a fleet up.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from ..api import names
from ..facts import Scaler, Service
from .answers import Answer
from .fallback import load_target
from .look import Look

CPU: Final = "cpu"


class External(NamedTuple):
    """One external metric that a service scales by, and what one replica may have of it."""

    metric: str
    per_replica: float


@dataclass(frozen=True, slots=True)
class Wish:
    """What one metric asks for.

    Attributes:
        metric: its name.
        value: over all replicas, of the CPU in percent of what is requested; None: nothing is known.
        replicas: how many it asks for; None: nothing is known.
        answer: where it comes from; None for the CPU.
    """

    metric: str
    value: float | None
    replicas: int | None
    answer: Answer | None = None


def externals(service: Service, scaler: Scaler) -> list[External]:
    """Return the external metrics that the targets of a service become, in the order of the rule.

    A queue and a concurrency are what one replica may have. The latency's rule gives a count of replicas, so that one
    replica may have one of it; where no batch curve is known, the load at which the target is held stands for it.
    """
    scaling, found = service.spec.scaling, []
    if scaling is None:
        return []
    if scaling.latency is not None:
        target = load_target(service, scaler)
        by_rule = External(names.METRIC_DESIRED_REPLICAS, 1)
        found.append(by_rule if target is None else External(names.METRIC_LOAD, target))
    if scaling.queue is not None:
        found.append(External(names.METRIC_QUEUE_DEPTH, scaling.queue.target))
    if scaling.concurrency is not None:
        found.append(External(names.METRIC_LOAD, scaling.concurrency.target))
    return found


def wishes(service: Service, scaler: Scaler, look: Look | None, ready: int) -> list[Wish]:
    """Return what each metric asked for when Prometheus was last looked at; nothing where nobody has looked.

    The autoscaler's own tolerance and windows are not in it: this is what it starts from.
    """
    if look is None:
        return []
    found = []
    for external in externals(service, scaler):
        answer = look.answers[external.metric]
        replicas = None if answer.value is None else math.ceil(round(answer.value / external.per_replica, 6))
        found.append(Wish(external.metric, answer.value, replicas, answer))
    scaling = service.spec.scaling
    if scaling is not None and scaling.cpu is not None:
        wanted = None if look.cpu is None else math.ceil(round(ready * look.cpu / scaling.cpu.target, 6))
        found.append(Wish(CPU, None if look.cpu is None else float(look.cpu), wanted))
    return found
