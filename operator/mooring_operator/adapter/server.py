"""The process: learn whom to believe and what to show, keep the answers fresh, serve until told to stop."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from aiohttp import web
from prometheus_client import disable_created_metrics

from ..cluster.connection import Connection
from ..cluster.errors import KubeError
from ..cluster.kinds import CONFIG_MAP
from ..cluster.kube import Kube
from ..cluster.prometheus_access import prometheus_of
from ..facts import Cluster
from ..health import Health, serve
from ..settings import Settings
from . import identity, metrics
from .access import Permissions
from .app import Api
from .board import Refresher
from .certificates import Certificates, Files, Owner, SharedSecret
from .listener import Listener, Tls
from .registration import Registration
from .services import RETRY, Services

logger = logging.getLogger(__name__)

UPKEEP_SECONDS: Final = 30.0
"""Between two looks at certificates, at the APIService and at whose front proxy is believed."""
_UPKEEPS_A_LIFETIME: Final = 60
"""A certificate of a short life is looked at more often."""
KEEP_ALIVE: Final = 120.0
"""Longer than the API server keeps an idle connection: it is the one to close it, so that no request is lost."""
STOP_SECONDS: Final = 5.0
"""For requests that are under way when the socket closes."""

Discover = Callable[[Settings, Kube], Awaitable[Cluster]]


async def run(settings: Settings, discover: Discover) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. `discover` asks what the API server has."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter comes twice
    connection = await Connection.load(settings.kubeconfig)
    health = Health(ready=False, doing="starts")
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(Kube(connection, settings.concurrency))
        await stack.enter_async_context(serve(settings, health))
        prometheus = prometheus_of(settings)
        if prometheus is not None:
            await stack.enter_async_context(prometheus)
        cluster = await _unless(stop, _patiently(settings, kube, discover))
        if cluster is None:
            return 0
        services = Services(kube)
        seconds = settings.scrape_seconds, settings.adapter_answer_seconds
        refresher = Refresher(services, prometheus, cluster.hpa_tolerance, *seconds)
        api = Api(services, refresher, Permissions(kube))
        runner = web.AppRunner(api.app(), access_log=None, keepalive_timeout=KEEP_ALIVE, shutdown_timeout=STOP_SECONDS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        listener = Listener(runner, settings.adapter_port)
        stack.callback(listener.close)
        api.believes = listener.believes
        upkeep = Upkeep(settings, kube, api, listener)

        def tell() -> None:
            _tell(health, services, listener)

        tasks = [
            asyncio.create_task(services.run(tell), name="services"),
            asyncio.create_task(refresher.run(settings.adapter_refresh_seconds), name="answers"),
            asyncio.create_task(upkeep.run(tell), name="upkeep"),
        ]
        stack.push_async_callback(_end, tasks)
        told = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({told, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        health.ready, health.doing = False, "stops"
        if not stop.is_set():
            return 1
        # The endpoint is gone only when the API server has heard of it; until then requests still come.
        await asyncio.sleep(settings.adapter_drain_seconds)
        return 0


class Upkeep:
    """Whom the socket believes, what it shows, and that the API server comes to it."""

    def __init__(self, settings: Settings, kube: Kube, api: Api, listener: Listener) -> None:
        owner = Owner(kube)
        self._kube = kube
        self._api = api
        self._listener = listener
        self._registration = Registration(kube, settings.namespace, owner)
        self._certificates: Certificates
        self._pause = UPKEEP_SECONDS
        if settings.adapter_certificate_dir is not None:
            self._certificates = Files(settings.adapter_certificate_dir, kube.now)
        else:
            lifetime = timedelta(seconds=settings.adapter_certificate_seconds)
            place = (settings.namespace, settings.adapter_secret)
            self._certificates = SharedSecret(kube, place, lifetime, owner)
            self._pause = min(self._pause, settings.adapter_certificate_seconds / _UPKEEPS_A_LIFETIME)

    async def run(self, done: Callable[[], None]) -> None:
        """Look again and again, until cancelled; what stands goes on while a look fails."""
        while True:
            pause = self._pause
            try:
                await self._look()
            except (KubeError, ValueError, OSError) as error:
                logger.warning("cannot look after the certificates: %s", error)
                pause = min(pause, RETRY)
            done()
            await asyncio.sleep(pause)

    async def _look(self) -> None:
        config = await self._kube.get(CONFIG_MAP, identity.CONFIG_NAMESPACE, identity.CONFIG_NAME)
        proxy = identity.front_proxy(config)
        bundle = await self._certificates.bundle(await self._registration.trusted())
        registered = await self._registration.register(bundle)
        shown = self._certificates.served(bundle if registered else "")
        await self._listener.use(Tls(shown.certificate, shown.key, proxy.authority))
        # After the socket: names are believed only of certificates that it has checked against this authority.
        self._api.proxy = proxy
        metrics.CERTIFICATE_EXPIRES.set(shown.expires.timestamp())


async def _patiently(settings: Settings, kube: Kube, discover: Discover) -> Cluster:
    while True:
        try:
            return await discover(settings, kube)
        except KubeError as error:
            logger.warning("cannot ask the API server, next try in %.0f s: %s", RETRY, error)
            await asyncio.sleep(RETRY)


def _tell(health: Health, services: Services, listener: Listener) -> None:
    """Ready is who can be asked. Prometheus is no part of it: without it there are errors that say so, from here; with
    no replica ready, discovery of the whole cluster would suffer, and nobody would be told why.
    """
    health.ready = listener.serving and services.ready
    health.doing = "serves" if health.ready else "waits for its certificate and its first list of services"


async def _unless(stop: asyncio.Event, work: Awaitable[Cluster]) -> Cluster | None:
    told, task = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(work)
    await asyncio.wait({told, task}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return None
    return task.result()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task, outcome in zip(tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
        if isinstance(outcome, Exception):
            logger.error("%s ended: %s", task.get_name(), outcome, exc_info=outcome)
