"""The supervisor of several workers: starts them, starts a dead one anew, and speaks for them where one must.

- The shared ports belong to the workers, which listen with SO_REUSEPORT; the kernel spreads connections over them. The
  supervisor holds the ports bound, so that they stay ours while a worker is away.
- At the start all workers listen at once, so that probes are answered, and none is ready before all are: a request that
  reached one which still loads would be refused. A worker that is started anew listens when it is ready.
- The metrics port is the supervisor's: its page is the sum of the workers' pages, those of dead ones included.
- A worker that hangs is killed and started anew: what it had accepted is lost, what the others have is not.
- A worker that cannot do its work (a FatalError) ends them all, with its reason: the next one would fail alike. Once
  all have been ready, it does so only when none of the others serves: they go on, and it is tried again and again.
"""

import asyncio
import logging
import os
import signal
from contextlib import suppress
from typing import Any

import uvloop

from mooring_runtime.errors import FatalError, WorkersFailed
from mooring_runtime.frontends.http.exchange import Shared
from mooring_runtime.frontends.http.listener import Listener
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.metrics import constant_labels
from mooring_runtime.settings import ServeSettings
from mooring_runtime.workers.commands import Commands
from mooring_runtime.workers.link import LinkLost
from mooring_runtime.workers.metrics_port import MetricsPort
from mooring_runtime.workers.ports import reserve
from mooring_runtime.workers.process import Worker
from mooring_runtime.workers.restarts import TRIES, Restarts

log = logging.getLogger(__name__)

_LONGEST_PING = 30.0


def serve(settings: ServeSettings) -> None:
    """Serve by several workers until SIGTERM or SIGINT. Raises the FatalError that says why they cannot."""
    uvloop.run(Supervisor(settings).live())


class Supervisor:
    """Keeps `settings.workers` workers; see the module."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._workers: dict[int, Worker] = {}
        self._commands = Commands(lambda: list(self._workers.values()))
        labels = constant_labels(settings.service, settings.namespace)
        self._metrics = MetricsPort(lambda: list(self._workers.values()), self._counts, labels)
        self._stopping = asyncio.Event()
        self._ports: dict[str, int] = {}
        self._listening: set[int] = set()
        """Workers that have listened, until it is told that all do."""
        self._released = False
        """All workers have been ready at the same time."""
        self._restarted = 0
        self._failure: FatalError | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def live(self) -> None:
        """The whole life. Raises the FatalError of a worker that cannot do its work."""
        settings = self._settings
        reserved = {"http_port": reserve(settings.host, settings.http_port, "MOORING_HTTP_PORT")}
        if settings.grpc:
            reserved["grpc_port"] = reserve(settings.host, settings.grpc_port, "MOORING_GRPC_PORT")
        ports = {name: each.getsockname()[1] for name, each in reserved.items()}
        shared = Shared(self._metrics, Limits())
        metrics = Listener(shared, settings.host, settings.metrics_port, "MOORING_METRICS_PORT")
        await metrics.start()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        variables = {f"MOORING_{name.upper()}": str(port) for name, port in ports.items()}
        self._ports = {**ports, "metrics_port": metrics.port}
        await asyncio.gather(*(self._keep(number, variables) for number in range(settings.workers)))
        metrics.close()
        await metrics.wait_closed()
        for each in reserved.values():
            each.close()
        if self._failure is not None:
            raise self._failure
        log.info("stopped")

    def _stop(self) -> None:
        """Told to end: each worker drains by itself. A second signal cuts that short, as it does without workers."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.signal(signal.SIGTERM)

    def _fail(self, error: FatalError) -> None:
        self._failure = self._failure or error
        self._stop()

    # --- one worker after the other

    async def _keep(self, number: int, variables: dict[str, str]) -> None:
        """One worker, and the next when it ends, until the server stops."""
        restarts = Restarts()
        while not self._stopping.is_set():
            worker = self._worker(number, restarts)
            try:
                await worker.start(self._variables(number, variables), early=not self._released)
            except OSError as error:  # No memory, or too many processes: as if it had died at once.
                log.error("worker %d cannot be started: %s", number, error)
            if self._stopping.is_set():
                worker.signal(signal.SIGTERM)
            code = await worker.ended()
            self._metrics.ended(worker)
            self._commands.ended(worker)
            if worker.fatal is not None and not (self._released and any(each.ready for each in self._workers.values())):
                self._fail(worker.fatal)
            if self._stopping.is_set():
                return
            seconds = restarts.ended()
            how = f"has ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"
            if worker.fatal is not None:
                how += f" ({worker.fatal})"
            if restarts.hopeless and not self._released:
                self._fail(WorkersFailed(f"worker {number} {how} before it was ready, as had {TRIES - 1} before it"))
                return
            self._restarted += 1
            log.error("worker %d, process %d, %s; it is started anew in %g s", number, worker.pid, how, seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    def _variables(self, number: int, ports: dict[str, str]) -> dict[str, str]:
        settings = self._settings
        # A worker that finds this set takes it; one that had to count the CPUs itself would take them all.
        threads = os.environ.get("MOORING_THREADS", "").strip() or str(max(1, settings.threads // settings.workers))
        variables = {**ports, "MOORING_THREADS": threads}
        if settings.trace_file is not None:
            variables["MOORING_TRACE_FILE"] = f"{settings.trace_file}.{number}"
        return variables

    def _worker(self, number: int, restarts: Restarts) -> Worker:
        commands = self._commands
        worker = Worker(
            number,
            {"statistics": commands.statistics, "load": commands.load, "unload": commands.unload},
            {
                "listens": lambda _: self._listens(number),
                "loaded": lambda not_ready: self._spawn(self._admit(worker, restarts, not_ready)),
                "stuck": lambda reason: self._kill(worker, reason),
                "logs": lambda wanted: commands.logs(worker, wanted),
                "traces": lambda value: commands.traces(worker, value),
            },
        )
        self._workers[number] = worker
        return worker

    def _listens(self, number: int) -> None:
        self._listening.add(number)
        if self._ports and len(self._listening) == self._settings.workers:
            log.info("listening", extra=self._ports)
            self._ports = {}

    async def _admit(self, worker: Worker, restarts: Restarts, not_ready: str | None) -> None:
        """A worker has loaded its models, or as many as could be: let it serve them."""
        with suppress(LinkLost):
            await self._commands.bring_up_to_date(worker)
            await worker.link.ask("open")
            worker.ready = True
            restarts.ready()
            if self._released:
                worker.link.tell("release")
                log.info("worker %d is ready again", worker.number)
            elif len(self._workers) == self._settings.workers and all(each.ready for each in self._workers.values()):
                self._released = True
                for each in self._workers.values():
                    each.link.tell("release")
                if not_ready is None:
                    log.info("ready")
                else:  # As each worker's probe says too.
                    log.error("not ready: %s", not_ready)
            if self._settings.run_timeout:
                await self._ping(worker)

    async def _ping(self, worker: Worker) -> None:
        """Kill a worker whose loop stands still. Its own watchdog cannot where the model holds the interpreter."""
        limit = self._settings.run_timeout
        while True:
            try:
                await asyncio.wait_for(worker.link.ask("ping"), limit)
            except TimeoutError:
                self._kill(worker, f"it has not answered for longer than MOORING_RUN_TIMEOUT, {limit:g} s")
                return
            await asyncio.sleep(min(_LONGEST_PING, limit / 4))

    def _kill(self, worker: Worker, reason: str) -> None:
        log.error("worker %d, process %d, is killed: %s", worker.number, worker.pid, reason)
        worker.signal(signal.SIGKILL)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _counts(self) -> tuple[int, int, int]:
        return self._settings.workers, sum(worker.ready for worker in self._workers.values()), self._restarted
