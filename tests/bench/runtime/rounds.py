"""Runs the plan: starts the servers of a round, loads them cell by cell in rotating order, stops them."""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench import report
from tests.bench.runtime import load
from tests.bench.runtime.cells import MODELS, PROTOCOLS, Cell, Figure, Load, Results
from tests.bench.runtime.limits import RAW, Constant, Raw
from tests.bench.runtime.load import LoadError
from tests.bench.runtime.models import Model, make
from tests.bench.runtime.peers.base import Peer
from tests.bench.runtime.peers.mooring import Mooring, has_setting
from tests.bench.runtime.peers.registry import OURS, TRITONS, everyone
from tests.bench.runtime.plan import Plan, is_overloaded, rotated
from tests.bench.runtime.processes import Server, UnavailableError, busy_seconds

_WARM_CONNECTIONS = 8
_FULL = 32
"""Connections at which a server's capacity is taken."""


@dataclass(frozen=True)
class Cores:
    """Who runs where: every server on one core, every load generator on another.

    Two workers have the first two cores, and the load a third one where the machine has it.
    """

    server: tuple[int, ...]
    load: tuple[int, ...]
    workers: tuple[int, ...]
    workers_load: tuple[int, ...]

    @classmethod
    def of(cls, usable: list[int]) -> "Cores":
        """Raises UnavailableError where there is one core only."""
        if len(usable) < 2:
            raise UnavailableError(f"server and load need a core each, and this process may use {usable} only")
        return cls((usable[0],), (usable[1],), tuple(usable[:2]), tuple(usable[2:3] or usable[:2]))


@dataclass
class Rounds:
    """All rounds of a plan, and what they found."""

    plan: Plan
    cores: Cores
    folder: Path = report.FOLDER
    results: Results = field(default_factory=Results)
    rates: dict[tuple[str, str], float] = field(default_factory=dict)
    """Our capacity by model and protocol: right answers a second at 32 connections, taken once before the rounds."""
    models: dict[str, Model] = field(default_factory=dict)

    def run(self) -> None:
        """Measure everything; what cannot be measured is kept with its reason."""
        os.sched_setaffinity(0, self.cores.load)  # Also of what this process starts, servers aside.
        self.models = {name: make(name, self.folder / "models") for name in MODELS}
        peers = [peer for peer in (*everyone(), Constant()) if self.plan.wants_server(peer.name)]
        self._calibrate()
        for number in self.plan.all_rounds():
            for name in MODELS:
                self._round(number, self.models[name], peers)
            if number <= self.plan.rounds and self.plan.wants_workers():
                self._workers(number)

    def _calibrate(self) -> None:
        """Take our capacity, which gives the rates of the open loops of all rounds."""
        cells = [cell for name in MODELS for cell in self.plan.cells(1, name) if cell.load.kind == "open"]
        wanted = {(cell.model, cell.protocol) for cell in cells}
        for model in self.models.values():
            if model.name not in {name for name, _ in wanted}:
                continue
            with ExitStack() as stack:
                try:
                    server = self._start(Mooring(), model, stack)
                except UnavailableError as error:
                    _say(f"our capacity with {model.name}: {error}")
                    continue
                for protocol, target in server.targets.items():
                    if (model.name, protocol) not in wanted:
                        continue
                    try:
                        figure = load.closed(target, _FULL, self.plan.calibrate, self.cores.load)
                    except LoadError as error:
                        _say(f"our capacity with {model.name}, {protocol}: {error}")
                        continue
                    self.rates[model.name, protocol] = figure.rate
                    _say(f"our capacity with {model.name}, {protocol}: {figure.rate:.0f}/s")

    def _round(self, number: int, model: Model, peers: list[Peer]) -> None:
        cells = list(self.plan.cells(number, model.name))
        if number > self.plan.rounds:
            peers = [peer for peer in peers if peer.name in {OURS, *TRITONS}]
        peers = [peer for peer in peers if model.name in peer.models]
        if not cells:
            return
        with ExitStack() as stack:
            servers = self._start_all(number, model, peers, cells, stack)
            raw: Raw | None = None
            if any(cell.protocol == "json" and cell.load.kind == "closed" for cell in cells):
                raw = Raw(model, self.cores.server)
                stack.callback(raw.stop)
            for index, cell in enumerate(cells):
                turns = self._turns(number, cell, peers, servers, raw)
                told = [f"{name} {turn()}" for name, turn in rotated(list(turns.items()), number + index)]
                _say(f"round {number}, {cell}: {', '.join(told)}")
            for name, server in servers.items():
                self.results.memory.setdefault((name, model.name), []).append(server.memory())

    def _turns(
        self, number: int, cell: Cell, peers: list[Peer], servers: Mapping[str, Server], raw: Raw | None
    ) -> dict[str, Callable[[], str]]:
        """For each server that takes part in a cell: what measures it, keeps the figure and tells it."""
        turns: dict[str, Callable[[], str]] = {}
        for peer in peers:
            limit_in_open = peer.name == Constant.name and cell.load.kind == "open"
            if cell.protocol in peer.protocols and peer.name in servers and not limit_in_open:
                turns[peer.name] = self._turn(number, cell, peer.name, servers[peer.name])
        if raw is not None and cell.protocol == "json" and cell.load.kind == "closed":
            turns[RAW] = self._raw_turn(number, cell, raw)
        return turns

    def _turn(self, number: int, cell: Cell, name: str, server: Server) -> Callable[[], str]:
        def measure() -> str:
            try:
                figure = self._measure(number, cell, server)
            except (LoadError, UnavailableError) as error:
                self.results.miss(name, cell, str(error))
                return "-"
            self.results.add(name, cell, number, figure)
            return f"{figure.rate:.0f}/s {figure.p99:.1f} ms"

        return measure

    def _raw_turn(self, number: int, cell: Cell, raw: Raw) -> Callable[[], str]:
        def measure() -> str:
            try:
                figure = raw.measure(cell.load.number, self.plan.seconds(cell, RAW))
            except UnavailableError as error:
                self.results.miss(RAW, cell, str(error))
                return "-"
            self.results.add(RAW, cell, number, figure)
            return f"{figure.rate:.0f}/s"

        return measure

    def _measure(self, number: int, cell: Cell, server: Server) -> Figure:
        target = server.targets.get(cell.protocol)
        if target is None:
            raise UnavailableError(server.refused[cell.protocol])
        seconds = self.plan.seconds(cell, server.name)
        if cell.load.kind == "closed":
            reason = load.missing_generator(cell.protocol)
            if reason:
                raise UnavailableError(reason)
            return self._watched(server, lambda: load.closed(target, cell.load.number, seconds, self.cores.load))
        rate = self._rate(cell)
        at_full = self.results.figures.get((server.name, cell._replace(load=Load("closed", _FULL))), {})
        capacity = at_full[number].rate if number in at_full else None
        if is_overloaded(cell, server.name, rate, capacity):
            raise UnavailableError(
                f"{rate:.0f} requests/s would come, and at {_FULL} connections it did {capacity:.0f}"
            )
        return self._watched(server, lambda: load.opened(target, rate, seconds, number, self.cores.load))

    def _rate(self, cell: Cell) -> float:
        """Arrivals a second of an open loop."""
        if (cell.model, cell.protocol) not in self.rates:
            raise UnavailableError("our own capacity, which gives the rate, could not be measured")
        return self.rates[cell.model, cell.protocol] * cell.load.number / 100

    def _watched(self, server: Server, run: Callable[[], Figure]) -> Figure:
        """The figure with the CPU of the server, and of everybody else on the machine."""
        busy, cpu, own, began = busy_seconds(), server.cpu(), _own_cpu(), time.monotonic()
        figure = run()
        passed = time.monotonic() - began
        used = server.cpu() - cpu
        others = busy_seconds() - busy - used - (_own_cpu() - own)
        return replace(figure, cpu=100 * used / passed, others=max(0.0, 100 * others / passed))

    def _start_all(
        self, number: int, model: Model, peers: list[Peer], cells: list[Cell], stack: ExitStack
    ) -> dict[str, Server]:
        servers: dict[str, Server] = {}
        for peer in rotated(peers, number):
            try:
                servers[peer.name] = self._start(peer, model, stack)
            except (UnavailableError, LoadError) as error:
                for cell in cells:
                    if cell.protocol in peer.protocols:
                        self.results.miss(peer.name, cell, str(error))
                _say(f"round {number}, {model.name}: {peer.name} is missing: {error}")
        return servers

    def _start(self, peer: Peer, model: Model, stack: ExitStack, cores: tuple[int, ...] = ()) -> Server:
        """Start a server, wait until it is ready, and warm it up; `stack` stops it."""
        folder = self.folder / "run" / f"{peer.name}-{model.name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        launch = peer.launch(model, folder)
        server = Server(peer.name, launch, model, cores or self.cores.server, folder / "log.txt")
        stack.callback(server.stop)
        seconds = server.until_ready()
        if not cores:
            self.results.starts.setdefault((peer.name, model.name), []).append(seconds)
        load.closed(server.targets["json"], _WARM_CONNECTIONS, self.plan.warm, self.cores.load)
        return server

    def _workers(self, number: int) -> None:
        """One worker and two, both on the same two cores, with the medium model."""
        if not has_setting("MOORING_WORKERS"):
            self.results.workers_missing = "this build has no MOORING_WORKERS"
            return
        for workers in rotated((1, 2), number):
            with ExitStack() as stack:
                try:
                    peer = Mooring(f"mooring-{workers}", workers=workers)
                    server = self._start(peer, self.models["medium"], stack, self.cores.workers)
                    target, seconds = server.targets["json"], self.plan.workers
                    figure = load.closed(target, _FULL, seconds, self.cores.workers_load)
                except (UnavailableError, LoadError) as error:
                    self.results.workers_missing = str(error)
                    continue
            self.results.workers.setdefault(workers, {})[number] = figure
            _say(f"round {number}, {workers} of ours on two cores: {figure.rate:.0f}/s")


def protocols_of(peers: tuple[Peer, ...]) -> dict[str, tuple[str, ...]]:
    """By name: the models and protocols of each server, and of onnxruntime alone; for `plan.estimate`."""
    return {**{peer.name: (*peer.models, *peer.protocols) for peer in peers}, RAW: (*MODELS, PROTOCOLS[0])}


def _own_cpu() -> float:
    """Seconds of CPU of this process and of the load generators that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
