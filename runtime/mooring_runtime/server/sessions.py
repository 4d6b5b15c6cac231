"""The sessions of one server, put together: opened while the models load, closed when the last answer has left.

open  -> the volume is locked and read, others are found, steps may come
close -> nobody is looked for any more, what waits is committed, the volume says that the end was in order
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import NoReturn

from mooring_runtime.dataplane import DataPlane
from mooring_runtime.dataplane.carriers import needed, schema_of, unreadable
from mooring_runtime.dataplane.endings import Endings
from mooring_runtime.dataplane.sessions import Sessions
from mooring_runtime.errors import FatalError
from mooring_runtime.errors.termination import leave_termination_message
from mooring_runtime.frontends.http.services import Opening
from mooring_runtime.frontends.http.sessions import PeerSessionsHandler
from mooring_runtime.metrics import MetricsPage
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.repository import Manager
from mooring_runtime.repository.tasks import on_thread
from mooring_runtime.server.fronts import Front
from mooring_runtime.server.replica import Replica
from mooring_runtime.server.session_peers import PeerSessions
from mooring_runtime.sessions.administration import SessionAdministration
from mooring_runtime.sessions.budget import Clock, Limits
from mooring_runtime.sessions.elsewhere import Alone
from mooring_runtime.sessions.holder import Holder
from mooring_runtime.sessions.lmdb_store import LmdbStore, StoreOptions, open_store
from mooring_runtime.sessions.record import ALONE
from mooring_runtime.sessions.store import Usage
from mooring_runtime.sessions.table import Table
from mooring_runtime.sessions.trace import Traces
from mooring_runtime.settings import ServeSettings

log = logging.getLogger(__name__)

_LAST_WORDS = 5.0
"""Seconds that a model's own code has at the end for sessions that ended before."""
_RELEASE = 1.0
"""Seconds between two looks at versions that were kept for sessions."""
_NOT_OPEN = "the volume of the sessions is not open yet"


class SessionService:
    """Of one server whose settings name a volume for sessions."""

    def __init__(self, settings: ServeSettings, plane: DataPlane, manager: Manager, page: MetricsPage) -> None:
        self._settings = settings
        self._plane = plane
        self._manager = manager
        self._releasing: asyncio.TimerHandle | None = None
        repository = manager.repository
        self._repository = repository
        self._stats = page.sessions = SessionStats()
        self._give_up = threading.Event()
        self._replica: Replica | None = None
        self._holder: Holder | None = None
        self._table: Table | None = None
        self._loaded = False
        self._endings = Endings(repository)
        self.opening = Opening()
        """What the routes of /v2/sessions wait for."""
        plane.unopened = _NOT_OPEN

    async def open(self) -> Mapping[str, Front]:
        """Open the volume, which waits for whoever has it, and let steps come; the ports that are to be opened then.

        Raises the FatalError that says why the volume cannot be had.
        """
        settings, clock = self._settings, Clock()
        loop = asyncio.get_running_loop()
        table = self._table = await on_thread(partial(self._read, loop))
        limits = limits_of(settings)
        if settings.stand_alone:
            holder = Holder(table, Alone(), limits, now=clock)
            self._stats.membership = lambda: {"epoch": ALONE.epoch, "size": ALONE.size, "foreign": 0}
        else:
            self._replica = Replica(settings, table, self, limits, clock)
            holder = Holder(table, self._replica.finding, limits, now=clock)
        holder.hooks = self._endings.hook
        self._holder = holder
        traces = Traces()
        replica = self._replica
        others = None if replica is None else PeerSessions(replica.client, replica.membership)
        administration = SessionAdministration(holder, traces, self._models, others=others, readable=self.readable)
        self.opening.administration = administration
        if self._replica is not None:
            await self._replica.start()
            membership = self._replica.membership
            self._plane.misfit = lambda: membership.misfit
        holder.sweep.start()
        self._manager.needed = lambda model: needed(self._repository, model, table.schemas)
        self._release()
        self._plane.sessions = Sessions(self._plane, self._repository, holder, traces)
        self._plane.unopened = None
        if self._replica is None:
            return {}
        return {"peer_port": self._replica.front(self._plane, PeerSessionsHandler(administration))}

    def _release(self) -> None:
        """Let go of versions that were kept for sessions, from time to time."""
        self._manager.release()
        self._releasing = asyncio.get_running_loop().call_later(_RELEASE, self._release)

    def _read(self, loop: asyncio.AbstractEventLoop) -> Table:
        settings, stats = self._settings, self._stats
        assert settings.session_path is not None
        options = StoreOptions(
            limit=settings.max_volume_bytes,
            interval=settings.session_interval,
            lazy=settings.session_durability == "interval",
            observe=stats.observe_commit,
        )
        store = open_store(settings.session_path, loop, options, fatal=self._die, give_up=self._give_up)
        table = Table(store, settings.session_memory, stats, doubt=store.doubt)
        self._show(store, table)
        log.info("sessions of %s: %d, store %s", settings.session_path, len(table), store.id)
        return table

    def _show(self, store: LmdbStore, table: Table) -> None:
        """Let the page of metrics look at them."""

        def bytes_of(name: str) -> int:
            usage: Usage = store.usage()
            return int(getattr(usage, name))

        self._stats.sessions = lambda: table.counts
        self._stats.tiers = lambda: {"memory": table.warm_bytes, "disk": bytes_of("used")}
        self._stats.volume = lambda: {"limit": bytes_of("limit"), "free": bytes_of("free")}
        self._stats.quarantined = lambda: len(table.quarantined)
        self._stats.unsynced = table.unsynced

    def _models(self) -> list[str]:
        """The models that keep state here."""
        return [
            entry.name
            for entry in self._repository
            if any(schema_of(model) is not None for model in entry.versions.values())
        ]

    def readable(self, model: str, version: str, fingerprint: str) -> str | None:
        """Why no version that is here can go on from a state; None: one can."""
        return unreadable(self._repository, model, version, fingerprint)

    def unreadable(self) -> int:
        """Sessions whose state no version that is here can go on from; 0 until the models are loaded.

        Counted earlier, every session would be one, and a container that starts again amid a rollout would let the
        operator put back a version that reads all of them.
        """
        table = self._table
        assert table is not None
        if not self._loaded:
            return 0
        return sum(
            count
            for (model, fingerprint, version), count in table.schemas.items()
            if fingerprint and self.readable(model, version, fingerprint) is not None
        )

    async def loaded(self) -> None:
        """The models are loaded: bring back versions that are on disk still and that only sessions need."""
        assert self._table is not None
        for model, fingerprint, version in list(self._table.schemas):
            if fingerprint and self.readable(model, version, fingerprint) is not None:
                await self._manager.bring_back(model, version)
        self._loaded = True

    def stop(self) -> None:
        """The server is to end: do not wait for the volume any more."""
        self._give_up.set()

    async def close(self) -> None:
        """Every client has its answer: commit what waits, and leave the volume in order."""
        if self._releasing is not None:
            self._releasing.cancel()
        if self._replica is not None:
            self._replica.close()
        if self._holder is not None:
            await self._holder.close()
        if self._plane.sessions is not None:
            await _within(_LAST_WORDS, self._plane.sessions.close, "a converter of states")
        if self._table is not None:
            await on_thread(self._table.close)
        await _within(_LAST_WORDS, self._endings.close, "what a model does at the end of a session")

    def _die(self, error: FatalError) -> NoReturn:
        """End the process at once, on whatever thread: nobody knows what of the last commit is on disk."""
        log.critical("%s", error)
        leave_termination_message(self._settings.termination_log, error)
        logging.shutdown()
        os._exit(error.exit_code)


async def _within(seconds: float, close: Callable[[], None], what: str) -> None:
    """Wait for the end of a model's own code, but not for ever."""
    try:
        await asyncio.wait_for(on_thread(close), seconds)
    except TimeoutError:
        log.error("%s still runs; it is left alone", what)


def limits_of(settings: ServeSettings) -> Limits:
    """What the settings say of sessions."""
    return Limits(
        ttl=int(settings.session_ttl * 1000),
        session_bytes=settings.max_session_bytes,
        sessions=settings.max_sessions,
        evict=settings.session_eviction == "idle",
        lazy=settings.session_durability == "interval",
    )
