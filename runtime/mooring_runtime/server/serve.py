"""`serve`: one process, one model, until SIGTERM.

The listeners open first, so that the liveness probe answers while a large model loads on a thread; ready is said after
the warm-up. After SIGTERM the server is not ready and serves on for MOORING_DRAIN_SECONDS, while the cluster's
endpoints forget it; then it accepts no more, answers what is under way, and ends with exit code 0.
"""

import asyncio
import logging
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future

import uvloop

from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.dataplane import DataPlane
from mooring_runtime.frontends.http.connection import Shared
from mooring_runtime.frontends.http.listener import Listener
from mooring_runtime.frontends.http.messages import Handler
from mooring_runtime.frontends.http.metrics_page import MetricsHandler
from mooring_runtime.frontends.http.observed import log_access
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.frontends.http.v2 import V2
from mooring_runtime.metrics import MetricsPage, WholePage
from mooring_runtime.repository import VERSION, Model, ModelSource, Repository, load_backend
from mooring_runtime.settings import ServeSettings

log = logging.getLogger(__name__)


def serve(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises the FatalError that says why it cannot."""
    _raise_open_files()
    uvloop.run(Server(settings).live())
    _leave()


class Server:
    """Everything that one process holds, put together."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        page = MetricsPage()
        self._model = Model(settings.model_name, page.add(settings.model_name, VERSION))
        repository = Repository()
        repository.add(self._model)
        self._plane = DataPlane(repository, settings.queue)
        self._http = self._listener(V2(self._plane), settings.http_port, "MOORING_HTTP_PORT")
        self._metrics = self._listener(
            MetricsHandler(WholePage(page.page, self._workers).render), settings.metrics_port, "MOORING_METRICS_PORT"
        )
        self._stop = asyncio.Event()

    def _workers(self) -> tuple[int, int, int]:
        return 1, int(self._plane.not_ready() is None), 0

    async def live(self) -> None:
        """The whole life: start -> ready -> drain -> stop."""
        self._listen_to_signals()
        await self._http.start()
        await self._metrics.start()
        log.info("listening", extra={"http_port": self._http.port, "metrics_port": self._metrics.port})
        if await self._load():
            log.info("ready")
            await self._stop.wait()
            await self._drain()
        await self._close()

    async def _load(self) -> bool:
        """Load and warm the model; false when the process is told to stop before that is done."""
        loading = asyncio.wrap_future(_in_thread(self._load_model))
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not loading.done():
            return False
        self._model.serve(loading.result())
        return True

    def _load_model(self) -> Backend:
        settings = self._settings
        assert settings.model_path is not None
        source = ModelSource(settings.model_path, settings.model_format, settings.model_sha256)
        options = LoadOptions(self._model.name, self._model.version, settings.threads)
        return load_backend(source, options, loader, self._model.times)

    async def _drain(self) -> None:
        """Not ready, and still serving; a second signal cuts it short."""
        log.info("draining for %g s", self._settings.drain_seconds)
        self._plane.draining = True
        self._http.last_answers()
        self._stop.clear()
        try:
            await asyncio.wait_for(self._stop.wait(), self._settings.drain_seconds)
        except TimeoutError:
            return

    async def _close(self) -> None:
        """Accept no more, answer what is under way, end."""
        self._http.close()
        await self._http.wait_closed()
        self._metrics.close()
        await self._metrics.wait_closed()
        self._model.close()
        log.info("stopped")

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    def _listener(self, handler: Handler, port: int, variable: str) -> Listener:
        settings = self._settings
        limits = Limits(
            header_bytes=settings.max_header_bytes,
            body_bytes=settings.max_body_bytes,
            header_timeout=settings.header_timeout,
            body_timeout=settings.body_timeout,
            idle_timeout=settings.idle_timeout,
            write_timeout=settings.write_timeout,
        )
        shared = Shared(handler, limits, log_access if settings.access_log else None)
        return Listener(shared, settings.host, port, variable)


def _in_thread(work: Callable[[], Backend]) -> Future[Backend]:
    """Run `work` on a thread that does not keep the process alive: loading cannot be interrupted."""
    future: Future[Backend] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="load", daemon=True).start()
    return future


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
