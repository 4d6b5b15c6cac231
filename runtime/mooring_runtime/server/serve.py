"""`serve`: one process and its models, until SIGTERM.

The listeners open first, so that the liveness probe answers while large models load on threads. One of several replicas
that keep sessions listens for clients last: a session that was moved away goes on at another replica while the one that
made its id starts, and a router that finds nobody here tries another, but takes a refusal for the answer. What it holds
itself is asked for at its peer port.

Ready is said when all models that the settings name are loaded and warm. One that cannot be loaded:

- is the only one, or none of the others can be either: the process ends with the reason, and the kubelet tries again;
- has others beside it: they are served, it is UNAVAILABLE with its reason in the index, and the server is not ready, so
  that a rollout stops here; with MOORING_STRICT_READINESS=false (Triton's --strict-readiness) it is ready all the same.

What clients load and unload later changes nothing about readiness: a mistake of theirs must not take a pod out of
service.

After SIGTERM the server is not ready and serves on for MOORING_DRAIN_SECONDS, while the cluster's endpoints forget it;
then it accepts no more, answers what is under way, and ends with exit code 0.
"""

import asyncio
import logging
import os
import resource
import signal
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn

import uvloop

from mooring_runtime.dataplane import DataPlane
from mooring_runtime.dataplane.control import Control
from mooring_runtime.errors import Wedged
from mooring_runtime.errors.termination import leave_termination_message
from mooring_runtime.frontends.http.metrics_page import MetricsHandler
from mooring_runtime.frontends.http.services import Services
from mooring_runtime.metrics import Aims, MetricsPage, WholePage, constant_labels
from mooring_runtime.repository import VERSION, Manager, Repository, stock_of
from mooring_runtime.server.crew import Crew
from mooring_runtime.server.fronts import Front, fronts_of, listener, options_of
from mooring_runtime.server.observation import Observation
from mooring_runtime.server.watchdog import Watchdog
from mooring_runtime.settings import ServeSettings

if TYPE_CHECKING:
    from mooring_runtime.server.sessions import SessionService

log = logging.getLogger(__name__)

_LAST_ANSWERS = 2.0
"""Seconds for the other answers when a run hangs while the server ends."""


def serve(settings: ServeSettings, crew: Crew | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `crew`: as one of several. Raises the FatalError that says why it cannot."""
    _raise_open_files()
    uvloop.run(Server(settings, crew).live())
    _leave()


class Server:
    """Everything that one process holds, put together."""

    def __init__(self, settings: ServeSettings, crew: Crew | None = None) -> None:
        self._settings = settings
        self._crew = crew
        aims = Aims(settings.latency_target, settings.queue)
        self.page = MetricsPage(aims)
        self._repository = repository = Repository()
        self._manager = Manager(repository, stock_of(settings), settings, self.page)
        if settings.model_repository is None:
            self._manager.expect(settings.model_name, VERSION)
        self.plane = DataPlane(repository, aims)
        self.control = Control(repository, self._manager)
        self.observation = Observation(settings, self.plane)
        self._sessions = _sessions(settings, self.plane, self._manager, self.page)
        services = Services(
            self.plane,
            self.control if crew is None else crew.control(self.control),
            self.observation.logs,
            self.observation.traces,
            options_of(settings),
            None if self._sessions is None else self._sessions.opening,
        )
        self._doors = fronts_of(settings, services, self.observation)
        self._fronts = dict(self._doors)
        if crew is None:
            labels = constant_labels(settings.service, settings.namespace)
            page = WholePage(self.page.page, self._workers, labels)
            metrics = MetricsHandler(page.render, self.plane.not_live, self.plane.not_ready)
            self._metrics: Front | None = listener(settings, metrics, settings.metrics_port, "MOORING_METRICS_PORT")
        else:
            self._metrics = None
        self._opened: set[str] = set()
        self._awaited = repository.not_ready
        self._watchdog = Watchdog(settings.run_timeout, self._busy, self._stuck, self._end)
        self._stop = asyncio.Event()
        self._hung = asyncio.Event()
        """Set while a run hangs."""

    def _workers(self) -> tuple[int, int, int]:
        return 1, int(self.plane.not_ready() is None), 0

    async def live(self) -> None:
        """The whole life: start -> ready -> drain -> stop."""
        self._listen_to_signals()
        if self._settings.run_timeout:
            self._watchdog.start()
        shares = self._sessions is not None and not self._settings.stand_alone
        if shares:
            await self.open(clients=False)
        elif self._crew is None or self._crew.at_once:
            await self.open()
        if self._crew is not None:
            self._crew.join(self)
        if await self._load():
            if shares:
                await self.open()
            reason = self._awaited()
            if self._crew is not None:
                self._crew.loaded(reason)
            elif reason is None:
                log.info("ready")
            else:
                log.error("not ready: %s", reason)
            await self._stop.wait()
            await self._drain()
        await self._close()

    async def open(self, *, clients: bool = True) -> None:
        """Listen on every port where that is not done yet; without `clients` not on theirs."""
        ports = dict(self._doors) if clients else {}
        if self._metrics is not None:
            ports["metrics_port"] = self._metrics
        await self._open({word: front for word, front in ports.items() if word not in self._opened})

    async def _open(self, ports: Mapping[str, Front]) -> None:
        self._opened.update(ports)
        for front in ports.values():
            await front.start()
        if self._crew is None:
            log.info("listening", extra={word: front.port for word, front in ports.items()})

    def stop(self) -> None:
        """Drain and end; called again, end without draining further."""
        self._stop.set()
        if self._sessions is not None:
            self._sessions.stop()

    async def _load(self) -> bool:
        """Load and warm the models, and open what else they need; false when the process is told to stop before that
        is done.
        """
        loading = asyncio.ensure_future(self._start())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not loading.done():
            loading.cancel()
            return False
        await loading
        return True

    async def _start(self) -> None:
        """Raises the FatalError that says why this server cannot serve."""
        await asyncio.gather(self._manager.start(), self._open_sessions())
        if self._sessions is not None:
            await self._sessions.loaded()

    async def _open_sessions(self) -> None:
        if self._sessions is None:
            return
        if peers := await self._sessions.open():
            self._fronts.update(peers)
            await self._open(peers)

    async def _drain(self) -> None:
        """Not ready, and still serving; a second signal cuts it short."""
        log.info("draining for %g s", self._settings.drain_seconds)
        self.plane.draining = True
        for front in self._fronts.values():
            front.last_answers()
        self._stop.clear()
        try:
            await asyncio.wait_for(self._stop.wait(), self._settings.drain_seconds)
        except TimeoutError:
            return

    async def _close(self) -> None:
        """Accept no more, answer what is under way, end; the metrics can be read until the last answer has left."""
        for front in self._fronts.values():
            front.close()
        await self._last_answers()
        if self._sessions is not None:
            await self._sessions.close()
        if self._metrics is not None:
            self._metrics.close()
            await self._metrics.wait_closed()
        self._watchdog.stop()
        self._manager.close()
        self.observation.close()
        log.info("stopped")

    async def _last_answers(self) -> None:
        """Return when the last answer has left. A run that hangs gives none: then end without it, after a moment for
        the answers of others; the kubelet's stop is most likely there because of it.
        """
        waiting = asyncio.gather(*(front.wait_closed() for front in self._fronts.values()))
        hung = asyncio.ensure_future(self._hung.wait())
        await asyncio.wait((waiting, hung), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            await asyncio.wait((waiting,), timeout=_LAST_ANSWERS)
        hung.cancel()
        if not waiting.done() and self.plane.stuck is not None:
            self._end(self.plane.stuck)
        await waiting

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    # --- what hangs

    def _busy(self) -> Iterator[tuple[str, float]]:
        yield from self._manager.busy()
        if self.plane.sessions is not None:
            yield from self.plane.sessions.busy()

    def _stuck(self, reason: str | None) -> None:
        self.plane.stuck = reason
        if reason is None:
            self._hung.clear()
            return
        self._hung.set()
        if self._crew is not None:
            self._crew.stuck(reason)

    def _end(self, reason: str) -> NoReturn:
        """End the process at once; on the watchdog's thread, when the loop stands still."""
        if self._crew is None:
            leave_termination_message(self._settings.termination_log, Wedged(reason))
        logging.shutdown()
        os._exit(Wedged.exit_code)


def _sessions(
    settings: ServeSettings, plane: DataPlane, manager: Manager, page: MetricsPage
) -> "SessionService | None":
    """None where the settings name no volume for them: then nothing of what keeps sessions is imported, which takes its
    time at the start, and memory (measured: 0.1 s and 5 MiB).
    """
    if settings.session_path is None:
        return None
    from mooring_runtime.server.sessions import SessionService  # noqa: PLC0415

    return SessionService(settings, plane, manager, page)


def _raise_open_files() -> None:
    """As many connections as the kernel lets us have: containerd 2 gives containers a soft limit of 1024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _leave() -> None:
    """End at once when a thread is still inside a model or its loading: nothing waits for what it computes, and the
    interpreter cannot be taken down beneath a thread that is in a framework's own code without crashing.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(0)
