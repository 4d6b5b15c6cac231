"""The process: follow until we lead, lead until told to stop, give the lease back.

Only the leader lists, watches and writes. Whatever ends it unexpectedly ends the process, and the pod is started anew:
a half-dead leader is worse than none.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import kopf
from prometheus_client import disable_created_metrics

from .. import metrics
from ..cluster.cache import Cache
from ..cluster.connection import Connection
from ..cluster.errors import KubeError
from ..cluster.events import EventRecorder
from ..cluster.kinds import SCALED_OBJECT, SERVICE_MONITOR, WATCHED
from ..cluster.kube import Kube
from ..cluster.lease import DEADLINE, DURATION, Elector
from ..cluster.looks import Looks
from ..cluster.peer_key import PeerKey
from ..cluster.peers import Peers
from ..cluster.prometheus_access import prometheus_of
from ..facts import Cluster
from ..health import Health, serve
from ..reconcile import Reconciler
from ..settings import Settings
from ..work import GRACE, Queue, Workers
from .events import register
from .installation import discover
from .lifecycle import kopf_settings, register_login
from .optional import until_changed
from .scaling import Looking, ScalingWatcher
from .sweep import Sweeper

logger = logging.getLogger(__name__)

FILL_RETRY = 2.0
"""Seconds between two tries to list everything at the start."""
LOST_EXIT = DURATION - DEADLINE - 1.0
"""Seconds after which a leader that lost its lease is gone, whatever hangs: another may lead a second later."""
KOPF_EXIT = 2.0
"""Seconds that kopf gets to close its watches; nothing is lost with them."""
STOP_EXIT = GRACE + 10.0
"""Seconds after which a stop that was asked for is forced."""


async def run(settings: Settings) -> int:
    """Run the operator until SIGTERM or SIGINT; return the exit status of the process."""
    stop = asyncio.Event()
    _listen(stop)
    disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter comes twice
    connection = await Connection.load(settings.kubeconfig)
    health = Health()
    # The lease has a client of its own: renewals never wait behind a burst of applies.
    async with (
        Kube(connection, settings.concurrency) as kube,
        Kube(connection, 1) as lease_kube,
        Peers() as peers,
        serve(settings, health),
    ):
        elector = Elector(lease_kube, settings.namespace, settings.lease_name, settings.pod_name)
        if not await _unless(stop, elector.acquire()):
            return 0
        metrics.LEADER.set(1)
        leader = Leader(settings, connection, kube, health, peers)
        return 0 if await leader.lead(elector, stop) else 1


class Leader:
    """Everything that only the leader does."""

    def __init__(self, settings: Settings, connection: Connection, kube: Kube, health: Health, peers: Peers) -> None:
        self._settings = settings
        self._connection = connection
        self._kube = kube
        self._health = health
        self._peers = peers
        self._prometheus = prometheus_of(settings)
        self._cache = Cache()
        self._queue = Queue()
        self._stop_watching = asyncio.Event()

    async def lead(self, elector: Elector, stop: asyncio.Event) -> bool:
        """Lead until told to stop, then release the lease; return False when something else ended it."""
        self._health.ready, self._health.doing = False, "leads, fills its cache"
        loop = asyncio.get_running_loop()
        held = asyncio.create_task(elector.hold(), name="lease")
        told = asyncio.create_task(stop.wait(), name="stop")
        filled = asyncio.create_task(self._fill(), name="fill")
        await asyncio.wait({held, told, filled}, return_when=asyncio.FIRST_COMPLETED)
        running: list[asyncio.Task[None]] = []
        if filled.done() and not held.done() and not told.done():
            running = self._start(filled.result(), stop)
            self._health.ready, self._health.doing = True, "leads"
            await asyncio.wait({held, told, *running}, return_when=asyncio.FIRST_COMPLETED)
        # kopf takes a signal for itself when it comes while it starts; it then ends without an error.
        asked = not held.done() and all(not task.done() or task.exception() is None for task in running)
        self._health.ready, self._health.doing = False, "stops"
        loop.call_later(STOP_EXIT if asked else LOST_EXIT, os._exit, 1)
        await self._end(filled, *running[:-1])
        await self._end(held)
        if asked:
            await elector.release()
        self._stop_watching.set()
        await asyncio.wait({told, *running[-1:]}, timeout=KOPF_EXIT)
        for task in running[-1:]:
            _complain(task)
        return asked

    async def _fill(self) -> Cluster:
        """List everything, as often as it takes; nothing is reconciled on half a picture."""
        while True:
            try:
                cluster = await discover(self._settings, self._kube)
                await self._cache.fill(self._kube, WATCHED)
                return replace(
                    cluster,
                    keda=SCALED_OBJECT in self._cache.kinds,
                    service_monitors=SERVICE_MONITOR in self._cache.kinds,
                )
            except KubeError as error:
                logger.warning("cannot fill the cache, next try in %.0f s: %s", FILL_RETRY, error)
                await asyncio.sleep(FILL_RETRY)

    def _start(self, cluster: Cluster, stop: asyncio.Event) -> list[asyncio.Task[None]]:
        """Start what never ends by itself, in the order in which it is stopped."""
        settings, cache, queue = self._settings, self._cache, self._queue
        recorder = EventRecorder(self._kube, settings.pod_name)
        looks = Looks(cluster.metrics_api)
        how = Looking(settings.namespace, settings.scaling_seconds, settings.scrape_seconds, cluster.hpa_tolerance)
        watcher = ScalingWatcher(self._kube, cache, queue, looks, self._prometheus, how)
        reconciler = Reconciler(self._kube, cache, cluster, recorder, self._peers, looks)
        workers = Workers(queue, reconciler.reconcile, cache.known, settings.workers, settings.resync_seconds)
        sweeper = Sweeper(self._kube, cache, queue, settings.resync_seconds)
        for key in cache.services():
            queue.add(key)
        asyncio.get_running_loop().call_later(1.0, _listen, stop)
        return [
            asyncio.create_task(workers.run(), name="workers"),
            asyncio.create_task(recorder.run(), name="events"),
            asyncio.create_task(sweeper.run(), name="sweeper"),
            asyncio.create_task(self._find_peer_key(), name="peer key"),
            asyncio.create_task(watcher.run(), name="scaling"),
            asyncio.create_task(until_changed(self._kube, cache.kinds, settings.scaling_seconds), name="kinds"),
            asyncio.create_task(self._watch(sweeper), name="watches"),
        ]

    async def _find_peer_key(self) -> None:
        """Find the key of the peer tokens, then let the services that waited for it be looked at."""
        settings = self._settings
        if settings.peer_key_file is not None:
            finder = PeerKey(self._kube, settings.namespace, settings.peer_key_secret, settings.peer_key_file)
            self._peers.key = await finder.find()
            for key in self._cache.services():
                self._queue.add(key)
        await asyncio.Event().wait()  # what the leader runs ends only with it

    async def _watch(self, sweeper: Sweeper) -> None:
        """Run kopf. When it ends it cancels every task that is younger than itself: it is started and stopped last."""
        # Its default asks who runs the process, and our image has no entry for that user.
        identity: Any = self._settings.pod_name
        registry = kopf.OperatorRegistry()
        register_login(registry, self._connection, self._cache.echoes)
        register(registry, self._cache, self._queue, sweeper.relisted)
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(self._cache.kinds),
            standalone=True,
            clusterwide=True,
            identity=identity,
            stop_flag=self._stop_watching,
        )

    async def _end(self, *tasks: asyncio.Task[Any]) -> None:
        """Cancel tasks one after the other, each when the one before has ended, and say which had failed."""
        for task in tasks:
            task.cancel()
            await asyncio.wait({task})
            _complain(task)


def _complain(task: asyncio.Task[Any]) -> None:
    error = task.exception() if task.done() and not task.cancelled() else None
    if error is not None:
        logger.error("%s ended: %s", task.get_name(), error, exc_info=error)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do some work, unless told to stop first; return whether it was done."""
    told, task = asyncio.create_task(stop.wait()), asyncio.create_task(work)
    await asyncio.wait({told, task}, return_when=asyncio.FIRST_COMPLETED)
    done = task.done() and not told.done()
    for each in (told, task):
        each.cancel()
    await asyncio.gather(told, task, return_exceptions=True)
    return done


def _listen(stop: asyncio.Event) -> None:
    """Let signals stop us in our own order. kopf puts its handlers in place of ours when it starts."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
