"""Prometheus: every signal of all services in one look, in threads of our own and bounded in time."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar

from .. import metrics
from ..facts import Key, Service
from ..scaling.findings import Findings
from ..scaling.queries import arrivals, latencies, signals
from ..scaling.reading import Results, last_step, read
from .prometheus_http import Access, Client, GarbageError, PrometheusError, SlowError

REMEMBER: Final = 5.0
"""Seconds for which one look stands for the next: many autoscalers ask, and scrapes are farther apart."""
AT_ONCE: Final = 4
"""Queries in flight, and threads."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look found, with which percentiles, and until when it stands (monotonic clock)."""

    until: float
    percentiles: frozenset[int]
    found: Mapping[Key, Findings]
    time: float
    """By Prometheus' clock."""
    error: PrometheusError | None


class Prometheus:
    """Looks at all services at once. Any number may ask; those who ask at the same time share one look."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._client = Client(access)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="prometheus")
        self._last: _Look | None = None
        self._looking: tuple[frozenset[int], asyncio.Task[_Look]] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give up what is under way. A thread that waits for an answer ends with its time."""
        if self._looking is not None:
            self._looking[1].cancel()
            await asyncio.gather(self._looking[1], return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def find(self, services: Collection[Service]) -> dict[Key, Findings]:
        """Return what Prometheus knows of each service; one without series has findings that say so.

        A look is at most `REMEMBER` seconds old, also one that failed.

        Raises:
            PrometheusError: nothing can be said of any service.
        """
        look = await self._shared(
            frozenset(
                service.spec.scaling.latency.percentile
                for service in services
                if service.spec.scaling is not None and service.spec.scaling.latency is not None
            )
        )
        if look.error is not None:
            raise type(look.error)(str(look.error))
        keys = [Key(service.namespace, service.name) for service in services]
        return {key: look.found.get(key, Findings(look.time)) for key in keys}

    async def _shared(self, percentiles: frozenset[int]) -> _Look:
        last = self._last
        if last is not None and time.monotonic() < last.until and percentiles <= last.percentiles:
            return last
        if self._looking is None or self._looking[1].done() or not percentiles <= self._looking[0]:
            # Once asked, a percentile stays: callers with different services would else start a look each.
            asked = percentiles if last is None else percentiles | last.percentiles
            self._looking = (asked, asyncio.create_task(self._look(asked)))
        # Who gives up waiting must not take the answer from the others.
        return await asyncio.shield(self._looking[1])

    async def _look(self, percentiles: frozenset[int]) -> _Look:
        started = time.monotonic()
        found: Mapping[Key, Findings] = {}
        now = 0.0
        error: PrometheusError | None = None
        try:
            async with asyncio.timeout(self.access.timeout):
                results = await self._results(percentiles, started + self.access.timeout)
                # In a thread: an hour of hundreds of services would stop the event loop.
                now, found = results.time, await self._in_thread(partial(read, results))
        except TimeoutError:
            error = SlowError(f"{self.access.url} has not answered all queries in {self.access.timeout:g} s")
        except ValueError as caught:
            error = GarbageError(f"{self.access.url} does not answer as Prometheus does: {caught}")
        except PrometheusError as caught:
            error = caught
        metrics.PROMETHEUS_LOOKS.labels("ok" if error is None else error.reason).inc()
        metrics.PROMETHEUS_SECONDS.observe(time.monotonic() - started)
        self._last = _Look(time.monotonic() + REMEMBER, percentiles, found, now, error)
        return self._last

    async def _results(self, percentiles: frozenset[int], deadline: float) -> Results:
        scraping, client = self.access.scraping, self._client
        now = await self._in_thread(partial(client.now, deadline))
        end = last_step(now, scraping)
        asked, slow = signals(scraping), latencies(scraping, percentiles)
        history, *vectors = await asyncio.gather(
            self._in_thread(
                partial(client.range, arrivals(scraping), (end - scraping.history, end), scraping.step, deadline)
            ),
            *(
                self._in_thread(partial(client.instant, query, now, deadline))
                for query in (*slow.values(), *asked.values())
            ),
        )
        return Results(
            now,
            dict(zip(asked, vectors[len(slow) :], strict=True)),
            dict(zip(slow, vectors[: len(slow)], strict=True)),
            history,
            scraping,
        )

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
