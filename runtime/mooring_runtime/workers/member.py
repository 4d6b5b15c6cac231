"""One worker's side: what it tells the supervisor, and what it does when it is asked."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

from mooring_runtime.dataplane.control import Administration, Control, IndexEntry
from mooring_runtime.errors import RequestError
from mooring_runtime.metrics.pages import to_wire
from mooring_runtime.server.crew import Member
from mooring_runtime.workers.link import Link, files_of, files_on_wire

log = logging.getLogger(__name__)

_ALONE = 60.0
"""Seconds in which a worker without a supervisor must have answered what it has; nobody would kill it later."""


class Crew:
    """The other workers, as `server.crew.Crew` describes them."""

    def __init__(self, end: socket.socket, *, at_once: bool) -> None:
        """`end` is that of the socket pair whose other end the supervisor holds."""
        self.at_once = at_once
        self._end = end
        self._server: Member | None = None
        self._talk: asyncio.Task[None] | None = None
        self._link = Link(
            {
                "metrics": self._metrics,
                "not_ready": self._not_ready,
                "rows": self._rows,
                "load": self._load,
                "unload": self._unload,
                "open": self._open,
                "ping": self._ping,
            },
            {"release": self._release, "logs": self._logs, "traces": self._traces},
        )

    # --- what the server calls

    def control(self, own: Control) -> Administration:
        """The administration of all workers' models."""
        return CrewControl(own, self._link)

    def join(self, server: Member) -> None:
        """Begin to talk with the supervisor."""
        self._server = server
        server.plane.held = "other workers are loading"
        observation = server.observation
        observation.logs.changed = lambda wanted: self._link.tell("logs", wanted)
        observation.traces.changed = lambda model, wanted: self._link.tell("traces", [model, wanted])
        self._talk = asyncio.ensure_future(self._link.run(self._end))
        self._talk.add_done_callback(self._alone)
        if self.at_once:
            self._link.tell("listens")

    def _alone(self, talk: asyncio.Task[None]) -> None:
        """The supervisor is gone: nobody would end this process, nor count what it does."""
        if talk.cancelled():
            return
        log.error("the supervisor is gone; this worker ends")
        self._member.stop()
        asyncio.get_running_loop().call_later(_ALONE, os._exit, 1)

    def loaded(self, not_ready: str | None) -> None:
        """All loads have ended."""
        self._link.tell("loaded", not_ready)

    def stuck(self, reason: str) -> None:
        """A run does not end."""
        self._link.tell("stuck", reason)

    # --- what the supervisor asks and tells

    @property
    def _member(self) -> Member:
        assert self._server is not None
        return self._server

    async def _metrics(self, _: Any) -> Any:
        return to_wire(self._member.page.page())

    async def _not_ready(self, _: Any) -> Any:
        return self._member.plane.not_ready()

    async def _rows(self, _: Any) -> Any:
        return self._member.control.statistics(None, None)

    async def _load(self, value: Any) -> None:
        await self._member.control.load(value["name"], value["config"], files_of(value["files"]))

    async def _unload(self, value: Any) -> None:
        await self._member.control.unload(value["name"])

    async def _open(self, _: Any) -> None:
        await self._member.open()

    async def _ping(self, _: Any) -> None:
        return None

    def _release(self, _: Any) -> None:
        self._member.plane.held = None

    def _logs(self, wanted: Any) -> None:
        logs = self._member.observation.logs
        changed, logs.changed = logs.changed, None  # It is known to all.
        logs.update(wanted)
        logs.changed = changed

    def _traces(self, value: Any) -> None:
        traces = self._member.observation.traces
        changed, traces.changed = traces.changed, None
        try:
            traces.update(*value)
        except RequestError as error:
            log.error("this worker traces differently from the others: %s", error)
        finally:
            traces.changed = changed


class CrewControl:
    """`Control` of all workers together. What loading has made the same in each is answered from this one."""

    def __init__(self, own: Control, link: Link) -> None:
        self._own = own
        self._link = link

    def index(self, ready_only: bool) -> list[IndexEntry]:
        """See `Control.index`."""
        return self._own.index(ready_only)

    def config(self, name: str, version: str | None) -> dict[str, Any]:
        """See `Control.config`."""
        return self._own.config(name, version)

    def versions(self, name: str) -> list[str]:
        """See `Control.versions`."""
        return self._own.versions(name)

    async def load(self, name: str, config: str | None = None, files: Mapping[str, bytes] | None = None) -> None:
        """Load a model in every worker; see `Control.load`."""
        await self._link.ask("load", {"name": name, "config": config, "files": files_on_wire(files)})

    async def unload(self, name: str) -> None:
        """Unload a model in every worker; see `Control.unload`."""
        await self._link.ask("unload", {"name": name})

    async def statistics(self, name: str | None, version: str | None) -> list[dict[str, Any]]:
        """The rows of `Control.statistics`, of all workers added up. Raises as that does."""
        own = self._own.statistics(name, version)
        rows: list[dict[str, Any]] = await self._link.ask("statistics", [name, version])
        # A request that names no version asks for those that this worker tells of.
        told = {(row["name"], row["version"]) for row in own}
        return [row for row in rows if (row["name"], row["version"]) in told]
