"""A server that is one of several which share the sessions of a service: everything of it that knows the others.

    start -> the record on the volume and in the mounted file is adopted, handoffs begin
    close -> nothing is handed over, asked or passed on any more

To be told to stop is no resize: a replica that drains hands nothing over, and its sessions wait for it on its volume.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mooring_runtime.dataplane import DataPlane
from mooring_runtime.errors import RequestError
from mooring_runtime.frontends.http import parser
from mooring_runtime.frontends.http.exchange import Shared
from mooring_runtime.frontends.http.listener import Listener
from mooring_runtime.frontends.http.messages import Handler
from mooring_runtime.frontends.http.peers import PeerHandler
from mooring_runtime.frontends.http.session_access import TokenFile
from mooring_runtime.frontends.tls import Tls, TlsFiles
from mooring_runtime.server.fronts import Front, limits_of
from mooring_runtime.server.peer_client import IDLE, PeerClient
from mooring_runtime.sessions import budget
from mooring_runtime.sessions.finding import Finding
from mooring_runtime.sessions.handoff import Handoff
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.peers import Talk
from mooring_runtime.sessions.receiving import Receiver
from mooring_runtime.sessions.record import Record, parse
from mooring_runtime.sessions.table import Table
from mooring_runtime.settings import ServeSettings

log = logging.getLogger(__name__)

_LOOK = 1.0
"""Seconds between two looks at the mounted record."""
_MORE_THAN_A_STATE = 256 * 2**20
"""Bytes of a message beside the largest state: its replies, of which the last is kept however large it is. A session
that was frozen and does not fit would answer nobody for ever."""
_UNFOLDED = 4
"""Bytes that a tensor may have for each byte of the body that brought it: a number in JSON takes two or more."""


class Models(Protocol):
    """What is known of the models that are served here."""

    def readable(self, model: str, version: str, fingerprint: str) -> str | None:
        """See `receiving.Readable`."""

    def unreadable(self) -> int:
        """See `membership.Report`."""


class Replica:
    """One of several. `finding` is the `Elsewhere` of its holder."""

    def __init__(
        self, settings: ServeSettings, table: Table, models: Models, limits: budget.Limits, now: Callable[[], int]
    ) -> None:
        """`limits` of the sessions; `now`: milliseconds since 1970. Raises SettingsInvalid."""
        assert settings.ordinal is not None and settings.peer_token_file is not None
        self._settings = settings
        self._token = TokenFile(settings.peer_token_file)
        self.membership = Membership(table, settings.ordinal)
        self.membership.unreadable = models.unreadable
        self.client = PeerClient(settings.peer_address, self._token, settings.peer_ca_file)
        self._talk = Talk(self.client, self.membership)
        self.finding = Finding(self.membership, self._talk, table.stats)
        self.handoff = Handoff(self.membership, table, self._talk, self.finding.newer, table.stats)
        self.handoff.clock = now
        self.receiver = Receiver(
            self.membership, table, table.stats, models.readable, lambda idle: budget.arrived(idle, limits, now())
        )
        self._looking: asyncio.Task[None] | None = None
        table.stats.membership = self._numbers

    def _numbers(self) -> dict[str, int]:
        adopted = self.membership.adopted
        return {
            "epoch": self.membership.epoch,
            "size": 0 if adopted is None else adopted.size,
            "foreign": len(self.membership.foreign),
        }

    def front(self, plane: DataPlane, beyond: Handler | None = None) -> Front:
        """The peer port; `beyond` answers what is none of the messages. Raises SettingsInvalid."""
        settings = self._settings
        handler = PeerHandler(plane, self.membership, self.receiver, self._token, beyond)
        limits = peer_limits(limits_of(settings), settings.max_session_bytes)
        tls = None
        if settings.peer_address.startswith("https://") and settings.tls_cert_file and settings.tls_key_file:
            # Without an authority for clients: here the token says who may speak.
            tls = Tls(TlsFiles(settings.tls_cert_file, settings.tls_key_file), ["http/1.1"])
        return Listener(Shared(handler, limits), settings.host, settings.peer_port, "MOORING_PEER_PORT", tls=tls)

    async def start(self) -> None:
        """Adopt the mounted record, and begin to hand over what should be elsewhere."""
        self.membership.start()
        file = self._settings.membership_file
        if file is not None:
            mounted = Mounted(file)
            await self._adopt(mounted)
            self._looking = asyncio.get_running_loop().create_task(self._keep_looking(mounted))
        self.handoff.start()

    async def _keep_looking(self, mounted: "Mounted") -> None:
        while True:
            await asyncio.sleep(_LOOK)
            await self._adopt(mounted)

    async def _adopt(self, mounted: "Mounted") -> None:
        found = mounted.read()
        try:
            if found is not None:
                await self.membership.adopt(found)
        except RequestError as error:
            log.error("cannot adopt the mounted membership record: %s", error)

    def close(self) -> None:
        """Hand over, ask and pass on no more."""
        if self._looking is not None:
            self._looking.cancel()
        self.handoff.close()
        self.finding.close()
        self._talk.close()
        self.membership.close()
        self.client.close()


def peer_limits(limits: parser.Limits, state: int) -> parser.Limits:
    """Those of the peer port, from those of clients; `state`: bytes of the largest one."""
    return parser.Limits(
        header_bytes=limits.header_bytes,
        body_bytes=max(_UNFOLDED * limits.body_bytes, state + _MORE_THAN_A_STATE),
        header_timeout=limits.header_timeout,
        body_timeout=limits.body_timeout,
        # It is the other replica that closes: a step that crosses our close has an outcome that nobody knows.
        idle_timeout=max(limits.idle_timeout, 4 * IDLE),
        write_timeout=limits.write_timeout,
    )


class Mounted:
    """The record in a file, which Kubernetes exchanges beneath us."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._told = ""

    def read(self) -> Record | None:
        """The record, if it is another than the last time. What cannot be read is told once."""
        try:
            status = self._file.stat()
            seen = (status.st_ino, status.st_mtime_ns)
            if seen == self._seen:
                return None
            self._seen = seen
            return parse(self._file.read_bytes())
        except (OSError, ValueError) as error:
            if str(error) != self._told:
                self._told = str(error)
                log.warning("cannot read the membership record in %s: %s", self._file, error)
            return None
