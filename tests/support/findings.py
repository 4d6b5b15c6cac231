"""A service of which everything is known, what was found of it, and what is told of each metric."""

from dataclasses import replace
from typing import Any

from mooring_operator.api import names
from mooring_operator.facts import Service
from mooring_operator.scaling.answers import (
    Answer,
    answers,
)
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
UNKNOWN = replace(CALM, curve=None, run_mean=None, batch_limit=None)
"""The same before anything was measured of its runs."""


def wanted(**scaling: Any) -> Service:
    return builders.service(scaling={"maxReplicas": 20, "latency": {"target": "400ms"}, **scaling})


def say(findings: Findings, metric: str = names.METRIC_DESIRED_REPLICAS, **scaling: Any) -> Answer:
    return answers(wanted(**scaling), findings)[metric]


def load(findings: Findings, target: float | None = None) -> float | None:
    return answers(wanted(), findings, load_target=target)[names.METRIC_LOAD].value


def ratio(findings: Findings) -> Answer:
    return say(findings, names.METRIC_LATENCY_RATIO)
