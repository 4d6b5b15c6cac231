"""The series that the operator exports of services: what KEDA and prometheus-adapter scale by, and what alerts watch.

Only what is known now has a series. The last value of something that nobody can see any more would be taken for new.
"""

from typing import Final

from prometheus_client import Gauge

from .. import metrics
from ..api import names
from ..facts import Key, Manifest
from ..scaling.look import Look

_ANSWERS: Final = {
    names.METRIC_DESIRED_REPLICAS: metrics.DESIRED_REPLICAS,
    names.METRIC_LOAD: metrics.LOAD,
    names.METRIC_QUEUE_DEPTH: metrics.SERVICE_QUEUE_DEPTH,
    names.METRIC_LATENCY_RATIO: metrics.LATENCY_RATIO,
}
"""By external metric; their own names are those of `names.SERIES`."""
_OF_SERVICES: Final[tuple[Gauge, ...]] = (
    *_ANSWERS.values(),
    metrics.SERVICE_LOAD_SECONDS,
    metrics.SERVICE_AUTOSCALING_READY,
    metrics.PLANNED_RATE,
    metrics.REPLICA_RATE,
    metrics.BACKLOG_RATE,
    metrics.SCALING_LEARNING,
)


def clear() -> None:
    """Take all series of services away."""
    for gauge in _OF_SERVICES:
        gauge.clear()


def export_rule(key: Key, look: Look) -> None:
    """Export what a look says of a service."""
    for metric, gauge in _ANSWERS.items():
        answer = look.answers.get(metric)
        if answer is not None and answer.value is not None:
            gauge.labels(*key).set(answer.value)
    desired = look.answers.get(names.METRIC_DESIRED_REPLICAS)
    if desired is not None and desired.decision is not None:
        metrics.PLANNED_RATE.labels(*key).set(desired.decision.planned)
        metrics.REPLICA_RATE.labels(*key).set(desired.decision.capacity)
        metrics.BACKLOG_RATE.labels(*key).set(desired.decision.backlog)
        metrics.SCALING_LEARNING.labels(*key).set(desired.decision.learning)


def export_service(key: Key, load_seconds: float | None, status: Manifest) -> None:
    """Export how long a service's pods take to start, and what its status says of its autoscaler."""
    if load_seconds is not None:
        metrics.SERVICE_LOAD_SECONDS.labels(*key).set(load_seconds)
    for condition in status.get("conditions") or ():
        # Unknown is neither: an autoscaler that was just made has not looked yet.
        if condition["type"] == "AutoscalingReady" and condition["status"] != "Unknown":
            ready = condition["status"] == "True"
            metrics.SERVICE_AUTOSCALING_READY.labels(*key, condition["reason"]).set(ready)
