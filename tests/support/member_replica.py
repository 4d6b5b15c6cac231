"""A replica of a stateful service, as the operator sees it: the peer port on an address of its own, a volume behind it.

It follows the runtime's rules of adopting and reporting, and keeps no sessions but their number. `tests/contract` holds
its answers against the runtime's; `tests/faults` tries the runtime itself.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from mooring_operator.api import names
from mooring_operator.api.membership import Record


@dataclass
class Volume:
    """What is on the disk of a claim. It outlives pods and services."""

    store: str = field(default_factory=lambda: secrets.token_hex(8))
    boot: int = 0
    record: Record | None = None
    sessions: int = 0


@dataclass
class Replica:
    """One process. `moves_on` is called when it has sessions that belong elsewhere; it returns whether they went."""

    ordinal: int
    address: str
    token: str
    volume: Volume
    moves_on: Callable[["Replica"], bool]
    heard: dict[int, Record]
    """Records by epoch, that any replica of the service was sent."""
    clashes: list[tuple[Record, Record]]
    """Two of one epoch that differ: nobody could tell then at which of two places a session is."""
    can_read: bool = True
    """The model that is loaded can go on from the states on the volume."""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Open the volume and the peer port."""
        self.volume.boot += 1
        app = web.Application()
        app.router.add_get(names.PEER_PATH_MEMBERSHIP, self._get)
        app.router.add_put(names.PEER_PATH_MEMBERSHIP, self._put)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, names.PEER_PORT).start()

    async def stop(self) -> None:
        """End as a process does that is killed."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def serves(self) -> bool:
        """It goes by a record that lets it do something."""
        record, volume = self.volume.record, self.volume
        return record is not None and record.stores.get(self.ordinal, volume.store) == volume.store

    @property
    def foreign(self) -> int:
        """Sessions that belong elsewhere."""
        record = self.volume.record
        if record is None or self.ordinal < record.size or not self.volume.sessions or self.moves_on(self):
            return 0
        return self.volume.sessions

    async def _get(self, request: web.Request) -> web.Response:
        return self._refused(request) or web.json_response(self.report())

    async def _put(self, request: web.Request) -> web.Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        record = Record.parse(await request.text())
        if self.heard.setdefault(record.epoch, record) != record:
            self.clashes.append((self.heard[record.epoch], record))
        if self.volume.record is None or record.epoch > self.volume.record.epoch:
            self.volume.record = record
        return web.json_response(self.report())

    def _refused(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "the token is wrong"}, status=401)
        if request.headers.get(names.HEADER_PEER_TO, str(self.ordinal)) != str(self.ordinal):
            return web.json_response({"error": f"this is ordinal {self.ordinal}"}, status=421)
        return None

    def report(self) -> dict[str, object]:
        """What it says of itself."""
        foreign, volume = self.foreign, self.volume
        return {
            "ordinal": self.ordinal,
            "store": volume.store,
            "boot": volume.boot,
            "record": None if volume.record is None else json.loads(volume.record.to_json()),
            "clean": self.serves and not foreign,
            "counts": {
                "held": volume.sessions,
                "ended": 0,
                "foreign": foreign,
                "unreadable": 0 if self.can_read else volume.sessions,
                "bytes": 100 * volume.sessions,
                "quarantined": 0,
            },
        }
