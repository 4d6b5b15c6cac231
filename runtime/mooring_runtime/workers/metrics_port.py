"""The metrics port of several workers: one page for all of them, and probes that ask all."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from mooring_runtime.errors import RequestError
from mooring_runtime.frontends.http.messages import Request, Respond, error_reply
from mooring_runtime.frontends.http.metrics_page import MetricsHandler
from mooring_runtime.metrics import Ledger, Page, WholePage, kept, merge
from mooring_runtime.metrics.collect import of_process
from mooring_runtime.metrics.pages import from_wire
from mooring_runtime.workers.commands import gather
from mooring_runtime.workers.process import Worker

_PROBE_PATIENCE = 0.5
"""Seconds for a worker to answer a probe: the kubelet waits 1 s for all of it."""


class MetricsPort:
    """The handler of the port; it answers when the workers have answered."""

    def __init__(
        self,
        workers: Callable[[], list[Worker]],
        counts: Callable[[], tuple[int, int, int]],
        constant: Mapping[str, str],
    ) -> None:
        """`counts` gives how many workers there should be, how many are ready, and how often one was started anew;
        `constant` are labels of every sample.
        """
        self._workers = workers
        self._pages: Ledger[Page] = Ledger(merge, kept)
        self._page = WholePage(lambda: merge((self._pages.total(), of_process())), counts, constant)
        self._tasks: set[asyncio.Task[None]] = set()

    def ended(self, worker: Worker) -> None:
        """A worker is gone; what it counted stays."""
        self._pages.end(worker.number)

    def __call__(self, request: Request, respond: Respond) -> None:
        """Answer one request."""
        task = asyncio.ensure_future(self._answer(request, respond))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Request, respond: Respond) -> None:
        reasons: dict[int, str | None] = {}
        if request.target.startswith(b"/v2/health/"):
            await gather(self._workers(), "not_ready", reasons.__setitem__, _PROBE_PATIENCE)
        else:
            await gather(self._workers(), "metrics", self._told)
        # No worker is not live for long: one that hangs is ended by the supervisor.
        handler = MetricsHandler(self._page.render, lambda: None, lambda: _not_ready(list(reasons.values())))
        try:
            handler(request, respond)
        except RequestError as error:
            respond(error_reply(error))

    def _told(self, number: int, wire: Any) -> None:
        self._pages.update(number, from_wire(wire))


def _not_ready(reasons: list[str | None]) -> str | None:
    """None when some worker is ready, which none is before all were; else why one is not."""
    return None if None in reasons else reasons[0] if reasons else "no worker answers"
