"""Holds the cache against the API server: after a watch had to begin anew, and once in each resync period."""

import asyncio
import logging
import random

from .. import metrics
from ..cluster.cache import Cache
from ..cluster.errors import KubeError
from ..cluster.kube import Kube
from ..work import JITTER, Queue

logger = logging.getLogger(__name__)

SETTLE = 1.0
"""Seconds from the first sign of a new list to the sweep: each object of it is a sign, and kinds come together."""
RETRY = 2.0


class Sweeper:
    """Drops ghosts and lets their services be looked at."""

    def __init__(self, kube: Kube, cache: Cache, queue: Queue, period: float) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self._period = period
        self._relisted = asyncio.Event()

    def relisted(self) -> None:
        """Ask for a sweep soon."""
        self._relisted.set()

    async def run(self) -> None:
        """Sweep whenever asked, and periodically, until cancelled."""
        while True:
            try:
                spread = 1.0 + JITTER * random.uniform(-1.0, 1.0)
                async with asyncio.timeout(self._period * spread):
                    await self._relisted.wait()
                    await asyncio.sleep(SETTLE)
            except TimeoutError:
                pass
            self._relisted.clear()
            try:
                await self._sweep()
            except KubeError as error:
                logger.warning("cannot hold the cache against the API server, next try in %.0f s: %s", RETRY, error)
                await asyncio.sleep(RETRY)
                self._relisted.set()

    async def _sweep(self) -> None:
        # All kinds, whichever began anew: a kind of which nothing is left sends no sign of its own.
        for kind in self._cache.kinds:
            for key in await self._cache.sweep(self._kube, kind):
                self._queue.add(key)
        metrics.LAST_RESYNC.set_to_current_time()
