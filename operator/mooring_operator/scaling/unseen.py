"""What ready pods that nobody scrapes add to what the others say. Pure.

A pod is ready up to a scrape before it is seen, and one that is out of the scraper's reach is never seen. Both are
taken to be like the mean of those that are, since a Service hands its requests to all of them alike. But only as far as
that keeps what stands: more than the ready pods is asked for by what is seen alone. The others still show a load to
which a pod that has just come was not there; were it counted as one more of them, each new pod would bring another.
"""

import math
from typing import Final

MOST: Final = 0.25
"""Share of the ready pods that may be unseen; one may in any case. Over few of many pods no sum may be taken: the rest
of the fleet would be taken away."""


def too_many(seen: int, ready: int | None) -> bool:
    """Tell whether so many of the ready pods are unseen that nothing can be said of all of them."""
    return ready is not None and ready - seen > max(1.0, MOST * ready)


def count(replicas: int, seen: int, ready: int | None) -> int:
    """Return how many replicas are wanted where `replicas` are for the arrivals of the pods that are seen."""
    return math.ceil(total(replicas, seen, ready, 1.0))


def total(value: float, seen: int, ready: int | None, per_replica: float | None) -> float:
    """Return a sum over all pods, where `value` is that over those that are seen.

    It is never less than `value`, and asks for more replicas than are ready only where `value` does. Left as it is, the
    sum would lack up to a quarter: an autoscaler that holds a queue of 4 a replica, and sees 6 of 8 replicas with 4
    each, would take two of them away under full load.

    Args:
        value: over the pods that are seen, at least 0.
        seen: pods that have series.
        ready: pods that are ready by the cluster's word; None: nobody tells.
        per_replica: how much of it an autoscaler gives one replica; None: none goes by it.
    """
    if ready is None or not 0 < seen < ready:
        return value
    scaled = value * ready / seen
    return max(value, scaled if per_replica is None else min(scaled, ready * per_replica))
