"""A model whose batch curve is measured: the real runtime serves it under load, and says the curve itself."""

import re
import shutil
import time
import urllib.request
from typing import Any

from mooring_operator.scaling.slo import Capability, Curve, Target
from tests.bench import report
from tests.bench.autoscaling.fleet import Model
from tests.bench.runtime import models
from tests.bench.runtime.load import opened
from tests.bench.runtime.peers.mooring import Mooring
from tests.bench.runtime.processes import Server, UnavailableError

NAME = "measured"
LOAD = 30.0
"""Seconds. What a start takes on a cluster is not measured here."""
_RATES = (10, 40, 80, 160, 40)
_SECONDS = 4.0
_RUNS = 4.0
"""The target is so many runs of half a batch."""


def model() -> tuple[Model, dict[str, Any]]:
    """Serve the model `large` at several rates; return it by its curve, and what was measured.

    Raises UnavailableError: the server does not start, or shows no curve.
    """
    folder = report.FOLDER / "autoscaling" / "measured"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    large = models.make("large", folder)
    launch = Mooring().launch(large, folder)
    server = Server(NAME, launch, large, [0], folder / "server.log")
    try:
        server.until_ready()
        target = server.targets["binary"]
        for seed, rate in enumerate(_RATES):
            opened(target, float(rate), _SECONDS, seed, [1])
        fixed, per_sample = _curve(int(launch.env["MOORING_METRICS_PORT"]))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return of_curve(fixed, per_sample), {"measured": {"fixed": fixed, "per_sample": per_sample, "at": time.time()}}


def of_curve(fixed: float, per_sample: float) -> Model:
    """Return the model with a target of a few runs of half a batch, and the queue that the runtime then has."""
    half = fixed + per_sample * models.MAX_BATCH / 2
    seconds = round(_RUNS * half, 4)
    # Half a target of work is one full run: so many the runtime lets wait.
    capability = Capability(Curve(fixed, per_sample), models.MAX_BATCH, queue_limit=models.MAX_BATCH)
    return Model(NAME, capability, Target(95, seconds), LOAD)


def _curve(port: int) -> tuple[float, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        page = answer.read().decode()
    found = {
        term: float(value)
        for term, value in re.findall(
            r'^mooring_batch_curve_seconds\{[^}]*term="([ab])"[^}]*\} (\S+)', page, re.MULTILINE
        )
    }
    if set(found) != {"a", "b"} or found["a"] + found["b"] <= 0.0:
        raise UnavailableError("the runtime shows no batch curve after 20 s of load")
    return found["a"], found["b"]
