"""Which service is looked at next: a de-duplicating queue, workers, back-off per service and a jittered resync.

A service is worked on by one worker at a time. What arrives for it meanwhile is remembered once and looked at
afterwards. Nothing is lost: a round that failed comes again after its back-off, and every service comes again after
the resync period. All times are the event loop's.
"""

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable

from . import metrics
from .cluster.errors import KubeError, OwnerGoneError
from .facts import Key

logger = logging.getLogger(__name__)

Reconcile = Callable[[Key], Awaitable[float | None]]
"""One round for a service; returns the seconds after which to look again, or None to wait for events."""

FIRST_BACKOFF = 0.25
LONGEST_BACKOFF = 300.0
JITTER = 0.2
"""Part of a wait that varies, so that services that failed or started together do not stay together."""
PATIENCE = 5.0
"""Seconds after which a look that was only due has waited long enough to be given every second turn."""
FEW = 4
"""Looks that were only due, at once, while news is worked on: their requests would stand before those for the news."""
GRACE = 5.0
"""Seconds that a stop leaves to the rounds in flight."""


class Queue:
    """Services that wait, those that are worked on, and those that are due later. One task takes; anyone adds.

    News goes before what has become due (a status to write, a resync): with many new services at once each would else
    wait for the statuses of those before it, and a change of one for the resync of all.
    """

    def __init__(self) -> None:
        self._news: dict[Key, float] = {}
        self._ripe: dict[Key, float] = {}
        self._last_was_news = False
        self._working: dict[Key, bool] = {}
        self._again: set[Key] = set()
        self._due: dict[Key, tuple[float, int]] = {}
        self._timers: list[tuple[float, int, Key]] = []
        self._numbers = itertools.count()
        self._arrived = asyncio.Event()

    def add(self, key: Key) -> None:
        """Let a service be looked at now, or again if a worker is at it."""
        since = self._ripe.pop(key, None)
        self._put(key, self._news, _now() if since is None else since)

    def add_after(self, key: Key, seconds: float) -> None:
        """Let a service be looked at in so many seconds, unless it is due earlier anyway."""
        at = _now() + seconds
        if key in self._due and self._due[key][0] <= at:
            return
        number = next(self._numbers)
        self._due[key] = (at, number)
        heapq.heappush(self._timers, (at, number, key))
        if self._timers[0][1] == number:
            self._arrived.set()

    async def take(self) -> Key:
        """Return the next service; it is not given out again before `done`."""
        while True:
            self._ripen()
            if lane := self._lane():
                key = next(iter(lane))
                metrics.QUEUE_SECONDS.observe(_now() - lane.pop(key))
                self._working[key] = self._last_was_news = lane is self._news
                self._changed()
                self._due.pop(key, None)  # this look stands for the later one; its round says when the next is due
                return key
            self._arrived.clear()
            timer = asyncio.timeout_at(self._timers[0][0] if self._timers else None)
            try:
                async with timer:
                    await self._arrived.wait()
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """Give a service back; it is next again if something arrived for it meanwhile."""
        self._working.pop(key, None)
        self._changed()
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _ripen(self) -> None:
        while self._timers and self._timers[0][0] <= _now():
            at, number, key = heapq.heappop(self._timers)
            if self._due.get(key) == (at, number):
                del self._due[key]
                self._put(key, self._ripe, _now())

    def _put(self, key: Key, lane: dict[Key, float], since: float) -> None:
        """Let a service wait in a lane, unless it does in one already; one that is worked on comes again after it."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._news and key not in self._ripe:
            lane[key] = since
            self._changed()

    def _lane(self) -> dict[Key, float]:
        """Which of the two gives the next service; an empty one when none is to be given now."""
        if self._news:
            starving = self._ripe and _now() - next(iter(self._ripe.values())) >= PATIENCE and self._last_was_news
            return self._ripe if starving else self._news
        news = sum(self._working.values())
        return self._ripe if not news or len(self._working) - news < FEW else {}

    def _changed(self) -> None:
        metrics.QUEUE_DEPTH.set(len(self._news) + len(self._ripe))
        if self._news or self._ripe:
            self._arrived.set()


class Workers:
    """Reconciles what the queue gives, `count` services at once."""

    def __init__(
        self, queue: Queue, reconcile: Reconcile, known: Callable[[Key], bool], count: int, resync: float
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._known = known
        self._resync = resync
        self._slots = asyncio.Semaphore(count)
        self._rounds: set[asyncio.Task[None]] = set()
        self._failures: dict[Key, int] = {}

    async def run(self) -> None:
        """Work until cancelled; then take nothing new, and give the rounds in flight `GRACE` seconds."""
        try:
            while True:
                await self._slots.acquire()
                key = await self._queue.take()
                task = asyncio.create_task(self._round(key), name=f"reconcile {key.namespace}/{key.name}")
                self._rounds.add(task)
                task.add_done_callback(self._rounds.discard)
        finally:
            if self._rounds:
                _, late = await asyncio.wait(self._rounds, timeout=GRACE)
                for task in late:
                    task.cancel()

    async def _round(self, key: Key) -> None:
        started = _now()
        try:
            again = await self._reconcile(key)
        except OwnerGoneError as gone:
            logger.info("%s", gone)
            self._forget(key, "ok")
        # Whatever went wrong, this service comes again and the others go on.
        except Exception as error:
            self._fail(key, error)
        else:
            self._forget(key, "ok")
            if self._known(key):
                spread = self._resync * (1.0 + JITTER * random.uniform(-1.0, 1.0))
                self._queue.add_after(key, spread if again is None else min(again, spread))
        finally:
            metrics.RECONCILE_SECONDS.observe(_now() - started)
            self._slots.release()
            self._queue.done(key)

    def _forget(self, key: Key, result: str) -> None:
        self._failures.pop(key, None)
        metrics.RECONCILES.labels(result).inc()

    def _fail(self, key: Key, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        wait = backoff(failures, error) * (1.0 - JITTER * random.random())
        self._queue.add_after(key, wait)
        metrics.RECONCILES.labels(type(error).__name__).inc()
        told = "InferenceService %s/%s: round failed, next try in %.1f s: %s"
        # The API server's answers explain themselves; anything else is a defect of ours.
        trace = None if isinstance(error, KubeError) else error
        logger.warning(told, key.namespace, key.name, wait, error, exc_info=trace)


def backoff(failures: int, error: Exception) -> float:
    """Return the seconds to wait after so many failures in a row, the last of which was this one."""
    limit: float = getattr(error, "backoff_limit", LONGEST_BACKOFF)
    asked: float | None = getattr(error, "retry_after", None)
    wait = min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 30), LONGEST_BACKOFF, limit)
    return wait if asked is None else max(wait, min(asked, LONGEST_BACKOFF))


def _now() -> float:
    return asyncio.get_running_loop().time()
