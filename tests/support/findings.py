"""What Prometheus finds of a service that nothing is the matter with, for tests of what is made of it."""

from typing import Any

from mooring_operator.facts import Service
from mooring_operator.scaling.findings import Findings, Line
from tests.support import builders

NOW = 1_800_000_000.0
CALM = Findings(
    time=NOW,
    newest=NOW - 5.0,
    pods=4,
    copies=1,
    ready=4,
    proven=4,
    rate=200.0,
    history=(200.0,) * 241,
    queued=6.0,
    in_flight=10.0,
    latency={95: 0.2},
    answered=12000.0,
    curve=Line(0.040, 0.008),
    batch_limit=32.0,
    batch_delay=0.0,
    queue_limit=64.0,
    run_mean=0.1,
    run_variation=0.1,
    workers=1.0,
    samples_per_request=1.0,
    loop_seconds=0.0001,
    load_seconds=90.0,
)
"""Four pods of a large model on a GPU under a steady load."""


def wanted(**scaling: Any) -> Service:
    """A service with a latency target, and what else its scaling says."""
    return builders.service(scaling={"maxReplicas": 20, "latency": {"target": "400ms"}, **scaling})
