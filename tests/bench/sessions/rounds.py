"""Starts the servers, makes their sessions, and loads them cell by cell in rotating order."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.bench import report
from tests.bench.runtime.plan import rotated
from tests.bench.runtime.processes import UnavailableError
from tests.bench.sessions import models, servers
from tests.bench.sessions.cells import CONNECTIONS, FEW, Cell, Figure, cells
from tests.bench.sessions.client import Spec
from tests.bench.sessions.servers import Process

PATH = "/v2/models/m/infer"
MODELS = ("recurrent", "tiny")
_EXTRA_SECONDS = 30
_CREATE_SECONDS = 600
_SYNCS = 200


@dataclass
class Rounds:
    """The servers, and what was found of them. All servers are on `core`, and the load comes from `load`."""

    folder: Path
    core: int
    load: int
    live: int
    seconds: float
    running: dict[str, Process] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Servers that are not there, and why."""
    figures: dict[str, dict[int, Figure]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Cells without a figure of some round, and why."""
    facts: dict[str, object] = field(default_factory=dict)

    def start(self, stack: ExitStack) -> None:
        """Start every server, and make the sessions."""
        os.sched_setaffinity(0, {self.core})  # The models are timed where they will run.
        layers = models.calibrate(self.folder)
        redis: int | str
        try:
            redis = stack.enter_context(servers.redis(self.core, self.folder))
        except UnavailableError as error:
            redis = str(error)
        for model in MODELS:
            without, with_state = (self._model(model, layers, stateful=stateful) for stateful in (False, True))
            runs = {batch: models.run_seconds(without, batch) for batch in (1, CONNECTIONS)}
            self.facts[f"{model}_run_ms"] = {batch: round(1000 * spent, 3) for batch, spent in runs.items()}
            self._mooring(stack, f"{model} stateless", without, None)
            self._mooring(stack, f"{model} carried", with_state, None)
            for name, number in (("few", FEW), ("many", self.live)):
                self._mooring(stack, f"{model} {name}", with_state, self.folder / f"volume-{model}-{name}")
                self._create(f"{model} {name}", number)
            carried = self.running.get(f"{model} carried")
            for name, runner in (("served", str(carried.port) if carried else None), ("own", str(with_state))):
                self._naive(stack, f"{model} naive {name}", model, runner, redis)
        self.facts["sync_ms"] = self._sync_milliseconds()
        os.sched_setaffinity(0, {self.load})

    def _model(self, name: str, layers: int, *, stateful: bool) -> Path:
        folder = self.folder / f"{name}-{'stateful' if stateful else 'stateless'}"
        if name == "tiny":
            return models.tiny(folder, stateful=stateful)
        return models.recurrent(folder, layers, stateful=stateful)

    def _mooring(self, stack: ExitStack, name: str, model: Path, volume: Path | None) -> None:
        self._keep(stack, name, servers.mooring(model, self.core, self.folder, volume))

    def _naive(self, stack: ExitStack, name: str, model: str, runner: str | None, redis: int | str) -> None:
        if isinstance(redis, str) or runner is None:
            self.failed[name] = redis if isinstance(redis, str) else f"{model} carried is not there"
            return
        self._keep(stack, name, servers.naive(runner, model, self.core, redis, self.folder))

    def _keep(self, stack: ExitStack, name: str, process: Process) -> None:
        stack.callback(process.stop)
        try:
            self.running[name] = process.until_ready()
        except UnavailableError as error:
            self.failed[name] = str(error)

    def _create(self, name: str, number: int) -> None:
        if name not in self.running:
            return
        began = time.monotonic()
        spec = Spec(self.running[name].port, PATH, number, CONNECTIONS, 0, warm=0, create=True)
        try:
            self._client(spec, _CREATE_SECONDS)
        except UnavailableError as error:
            self.failed[name] = f"its {number} sessions cannot be made: {error}"
            del self.running[name]
        self.facts[f"{name}_created_s"] = round(time.monotonic() - began, 1)

    def round(self, number: int) -> None:
        """Every cell once."""
        for cell in rotated(cells(self.live), number):
            try:
                self.figures.setdefault(cell.name, {})[number] = self._measure(cell, number)
            except UnavailableError as error:
                self.missing[cell.name] = str(error)
            sys.stderr.write(f"round {number}: {cell.name}: {self._told(cell, number)}\n")

    def _measure(self, cell: Cell, number: int) -> Figure:
        process = self.running.get(cell.server)
        if process is None:
            raise UnavailableError(self.failed.get(cell.server, "it was not started"))
        spec = Spec(process.port, PATH, cell.sessions, CONNECTIONS, self.seconds, parameter=cell.parameter, seed=number)
        before, began = process.cpu(), time.monotonic()
        told = self._client(spec, self.seconds + _EXTRA_SECONDS)
        server = 100 * (process.cpu() - before) / (time.monotonic() - began)
        return Figure(told["rate"], told["p50"], told["p99"], told["client"], server)

    def _client(self, spec: Spec, patience: float) -> dict[str, float]:
        command = ["taskset", "-c", str(self.load), sys.executable, "-m", "tests.bench.sessions.client"]
        try:
            done = subprocess.run(
                command, input=json.dumps(asdict(spec)), capture_output=True, text=True, timeout=patience, check=False
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"the load did not end within {patience:.0f} s") from None
        try:
            told: dict[str, float] = json.loads(done.stdout)
        except ValueError:
            raise UnavailableError(f"the load told no result: {done.stderr[-300:]}") from None
        if "error" in told:
            raise UnavailableError(str(told["error"]))
        return told

    def _told(self, cell: Cell, number: int) -> str:
        figure = self.figures.get(cell.name, {}).get(number)
        if figure is None:
            return self.missing.get(cell.name, "nothing")
        return f"{figure.rate:.0f}/s, p50 {figure.p50:.2f} ms, p99 {figure.p99:.2f} ms, client {figure.client:.0f} %"

    def _sync_milliseconds(self) -> float:
        """Median of a 4 KiB write with its sync, one after the other, on the disk of the sessions."""
        file, spent = self.folder / "syncs", []
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
        try:
            os.posix_fallocate(descriptor, 0, _SYNCS * 4096)
            for at in range(_SYNCS):
                began = time.perf_counter()
                os.pwrite(descriptor, b"x" * 4096, at * 4096)
                os.fdatasync(descriptor)
                spent.append(time.perf_counter() - began)
        finally:
            os.close(descriptor)
            file.unlink()
        return round(1000 * report.percentile(spent, 50), 3)
