"""What kubelet and Prometheus ask the process: /healthz, /readyz, /metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .settings import Settings


@dataclass
class Health:
    """Whether the process can do its work. A follower is ready to take over; a leader when its cache is filled."""

    ready: bool = True
    doing: str = "follows"


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="the loop runs\n")


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@asynccontextmanager
async def serve(settings: Settings, health: Health) -> AsyncIterator[None]:
    """Answer on the health port and on the metrics port while the block runs."""

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=200 if health.ready else 503, text=f"{health.doing}\n")

    probes, metrics = web.Application(), web.Application()
    probes.router.add_get("/healthz", _healthz)
    probes.router.add_get("/readyz", readyz)
    metrics.router.add_get("/metrics", _metrics)
    runners = []
    try:
        for app, port in ((probes, settings.health_port), (metrics, settings.metrics_port)):
            runner = web.AppRunner(app, access_log=None)
            runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, port=port).start()
        yield
    finally:
        for runner in runners:
            await runner.cleanup()
