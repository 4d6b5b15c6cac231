"""What clients ask of one worker and concerns them all: statistics, loads and unloads, log and trace settings."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from mooring_runtime.dataplane.observability import LogSettings
from mooring_runtime.errors import ModelNotReady, RequestError
from mooring_runtime.metrics import Ledger
from mooring_runtime.workers.link import LinkLost
from mooring_runtime.workers.process import Worker
from mooring_runtime.workers.statistics import Rows, chosen, kept_rows, merge_rows

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that a worker may take to tell its numbers; those that it told last stand in for it then."""


async def gather(
    workers: Iterable[Worker], what: str, found: Callable[[int, Any], None], patience: float = PATIENCE
) -> None:
    """Ask every worker the same at once, and give the answer of each to `found` with the worker's own number.

    Who does not answer within `patience` seconds is passed over.
    """

    async def one(worker: Worker) -> None:
        try:
            answer = await asyncio.wait_for(worker.link.ask(what), patience)
        except (TimeoutError, LinkLost):
            return
        if not worker.gone:  # Else its last numbers have been added to those of the dead.
            found(worker.number, answer)

    await asyncio.gather(*(one(worker) for worker in workers))


class Commands:
    """Passes on what one worker was asked, and keeps what a worker that is started anew must know of it."""

    def __init__(self, workers: Callable[[], list[Worker]]) -> None:
        self._workers = workers
        self._rows: Ledger[Rows] = Ledger(merge_rows, kept_rows)
        self._turn = asyncio.Lock()
        self._models: dict[str, tuple[str, Any]] = {}
        """The last load or unload of each model, and what came with it."""
        self._own_logs = LogSettings()
        self._logs: dict[str, Any] = {}
        self._traces: dict[str | None, dict[str, Any]] = {}

    # --- asked

    async def statistics(self, value: Any) -> Rows:
        """V2's rows of the whole server; `value` names a model and a version, or None for all."""
        await gather(self._workers(), "rows", self._rows.update)
        return chosen(self._rows.total(), *value)

    async def load(self, value: Any) -> None:
        """Load a model in every worker. Raises what the first that fails raises; the others may have loaded it.

        Raises ModelNotReady when no worker is there for it.
        """
        await self._control("load", value)

    async def unload(self, value: Any) -> None:
        """Unload a model in every worker. Raises as `load` does."""
        await self._control("unload", value)

    async def _control(self, what: str, value: Any) -> None:
        async with self._turn:
            asked = [worker.link.ask(what, value) for worker in self._workers() if worker.current]
            results = await asyncio.gather(*asked, return_exceptions=True)
            for result in results:
                if isinstance(result, RequestError) and not isinstance(result, LinkLost):
                    raise result
            if all(isinstance(result, BaseException) for result in results):
                raise ModelNotReady(
                    f"no worker could {what} model '{value['name']}': the workers are starting; try again"
                )
            self._models[value["name"]] = (what, value)

    # --- told

    def logs(self, source: Worker, wanted: dict[str, Any]) -> None:
        """A client has changed how `source` logs; so shall all."""
        self._logs.update(wanted)
        self._own_logs.update(wanted)
        for worker in self._workers():
            if worker is not source:
                worker.link.tell("logs", wanted)

    def traces(self, source: Worker, value: Any) -> None:
        """A client has changed what `source` traces of a model, or of all."""
        model, wanted = value
        self._traces.setdefault(model, {}).update(wanted)
        for worker in self._workers():
            if worker is not source:
                worker.link.tell("traces", value)

    # --- who comes and goes

    async def bring_up_to_date(self, worker: Worker) -> None:
        """Make a worker that has just loaded its models one like the others."""
        async with self._turn:
            if self._logs:
                worker.link.tell("logs", self._logs)
            for model, wanted in self._traces.items():
                worker.link.tell("traces", [model, wanted])
            for what, value in self._models.values():
                try:
                    await worker.link.ask(what, value)
                except RequestError as error:
                    log.error("worker %d differs from the others: %s", worker.number, error)
            worker.current = True

    def ended(self, worker: Worker) -> None:
        """A worker is gone; what it counted stays."""
        self._rows.end(worker.number)
