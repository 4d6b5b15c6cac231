"""What stands for the rule where no batch curve is known: the load at which a replica holds its target. Pure."""

from typing import Final

from ..facts import Scaler, Service

PATIENT: Final = 0.5
"""Share of the concurrency at the target that one replica is given, with a window of 300 s before it shrinks."""
QUICK: Final = 0.35
"""The same with a shorter one: above it the count swings, for load in a batching server rises faster than its cause."""
_WINDOW: Final = 300
"""Seconds of the default window."""


def concurrency(most: int, workers: int) -> float:
    """Return how many requests, in flight and queued, one replica is taken to hold at a latency target.

    Args:
        most: largest batch, in requests.
        workers: processes of the replica.

    A batching server is at its target about when its largest batch is half full, and one without batches when each
    request finds another one before it: simulated replicas had 19.8 requests with batches of up to 32, 9.2 with 16 and
    1.2 with 1. It is less than what was seen in each of them, so that the error is on the side of too many replicas.
    """
    return max(1.0, most / 2.0) * workers


def load_target(service: Service, scaler: Scaler) -> float | None:
    """Return the `AverageValue` of `mooring_load` that stands for the latency target; None where the rule does."""
    if scaler.concurrency is None:
        return None
    scaling = service.spec.scaling
    down = scaling.behavior.scale_down if scaling is not None and scaling.behavior is not None else None
    window = down.stabilization_window_seconds if down is not None else None
    patient = window is None or window >= _WINDOW
    return scaler.concurrency * (PATIENT if patient else QUICK)
