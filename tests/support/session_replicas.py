"""Replicas of a service with sessions in one process: real holders over stores in memory, and no network between them.

service = Replicas(3)                the members are 0, 1, 2, and their record is settled
service.down.add(1)                  nobody reaches ordinal 1 any more
service.record = Record(2, 4, past=(3,))
await service.ask(0, "GET", "/v2/sessions")
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.frontends.http.app import HttpApp
from mooring_runtime.frontends.http.messages import JSON, Handler, Reply, Request, Respond
from mooring_runtime.frontends.http.services import Options
from mooring_runtime.frontends.http.sessions import PeerSessionsHandler
from mooring_runtime.messages import InferResponse, Tensor
from mooring_runtime.scheduling import Ticket
from mooring_runtime.sessions.administration import Call, Nobody, SessionAdministration, Told
from mooring_runtime.sessions.budget import Limits
from mooring_runtime.sessions.copies import Phase, StoredReply, Target
from mooring_runtime.sessions.elsewhere import At, Passed
from mooring_runtime.sessions.holder import Birth, Holder
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import places
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.table import Table
from mooring_runtime.sessions.trace import Traces
from tests.support.memory_store import MemoryStore
from tests.support.openapi import Document
from tests.support.serving import Line, Served, http

OPENAPI = Document(Path(__file__).parents[2] / "docs" / "openapi" / "sessions.yaml")
MODEL = "m"
FULL = Options(session_api="full")


def tensor(value: float, size: int = 4) -> Tensor:
    return Tensor("h", "FP32", np.full((1, size), value, np.float32))


def birth(step: int = 3, value: float = 1.5) -> Birth:
    """What a session is after so many steps."""
    replies = tuple(StoredReply(number, b"d%d" % number, (tensor(number),)) for number in range(1, step + 1))
    return Birth("1", "f" * 32, (tensor(value),), step, replies[-4:])


class Replica:
    """One of them."""

    def __init__(self, service: "Replicas", ordinal: int, options: Options) -> None:
        self.ordinal = ordinal
        self.now = 1_700_000_000_000
        self.store = MemoryStore()
        self.table = Table(self.store, 2**20)
        self.traces = Traces(lambda: self.now)
        self.holder = Holder(self.table, _Elsewhere(service, ordinal), service.limits, now=lambda: self.now)
        self.administration = SessionAdministration(
            self.holder,
            self.traces,
            lambda: service.models,
            others=_Others(service, ordinal) if service.many else Nobody(),
            readable=lambda *state: service.unreadable,
        )
        self.app: Handler = HttpApp(replace(Served(options=options).services, sessions=self.administration))
        self.peers: Handler = PeerSessionsHandler(self.administration)

    async def hold(self, session: str, made: Birth | None = None) -> Key:
        """Let a session be here, wherever its place is."""
        key = Key(MODEL, session)
        async with self.table.turn(key) as entry:
            await self.holder._born(entry, self.holder.elsewhere.record().epoch, made or birth())
        return key

    async def freeze(self, key: Key, to: int) -> None:
        """Let a session be on its way to another replica."""
        async with self.table.turn(key) as entry:
            assert entry.copy is not None
            moving = entry.copy._replace(phase=Phase.MOVING, to=Target(to, "store"))
            written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.table.mark(entry, moving, lambda error: written.set_result(None))
            await written


class Replicas:
    """A service of so many."""

    def __init__(self, size: int = 1, *, options: Options = FULL, limits: Limits | None = None) -> None:
        self.record = Record(1, size)
        self.down: set[int] = set()
        self.replaced: set[int] = set()
        """Ordinals whose volume is not the one that the record names."""
        self.models: set[str] = {MODEL}
        self.unreadable: str | None = None
        self.limits = limits or Limits(ttl=60_000)
        self.many = size > 1
        self.asked: list[tuple[int, Call]] = []
        """What replicas have asked each other."""
        self.replicas = [Replica(self, ordinal, options) for ordinal in range(size)]

    def __getitem__(self, ordinal: int) -> Replica:
        return self.replicas[ordinal]

    async def ask(
        self, ordinal: int, method: str, target: str, body: bytes = b"", headers: Mapping[bytes, bytes] | None = None
    ) -> Reply:
        """What the port of HTTP of a replica answers, which must be as OPENAPI says."""
        reply = await answered(self[ordinal].app, method, target, body, headers)
        OPENAPI.check(method, target, reply)
        return reply

    def close(self) -> None:
        """Let go of everything."""
        for replica in self.replicas:
            replica.table.close()


@contextmanager
def replicas(size: int = 1, *, options: Options = FULL, limits: Limits | None = None) -> Iterator[Replicas]:
    """A service, until the block ends."""
    service = Replicas(size, options=options, limits=limits)
    try:
        yield service
    finally:
        service.close()


async def answered(
    handler: Handler, method: str, target: str, body: bytes = b"", headers: Mapping[bytes, bytes] | None = None
) -> Reply:
    """The reply to one request."""
    got: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def handle(request: Request, respond: Respond) -> Ticket | None:
        def keep(reply: Reply) -> None:
            respond(reply)
            got.set_result(reply)

        return handler(request, keep)

    line = Line(handle)
    line.send(http(method, target, body, headers or {}))
    if line.replies and not got.done():
        return line.replies[0]
    return await asyncio.wait_for(got, 1)


def body(reply: Reply, status: int = 200) -> Any:
    """The JSON of a reply, which must have this status."""
    assert (reply.status, reply.content_type) == (status, JSON), b"".join(reply.body)
    return orjson.loads(b"".join(reply.body))


def cause(reply: Reply, status: int) -> str:
    """The cause in the JSON of an error."""
    document = body(reply, status)
    assert document["error"]
    return str(document["cause"])


async def get(service: Replicas, target: str, at: int = 0) -> Reply:
    """Ask one of the replicas."""
    return await service.ask(at, "GET", target)


async def post(service: Replicas, target: str, document: object = None, at: int = 0) -> Reply:
    """Send JSON to one of the replicas."""
    return await service.ask(at, "POST", target, b"" if document is None else orjson.dumps(document))


class _Elsewhere:
    def __init__(self, service: Replicas, ordinal: int) -> None:
        self.ordinal = ordinal
        self._service = service

    def record(self) -> Record:
        if self.ordinal in self._service.replaced:
            raise SessionUnavailable("this volume is not the one of this ordinal", "volume-replaced")
        return self._service.record

    async def absent(self, key: Key) -> At | None:
        record = self._service.record
        if record.settled:
            return None
        for ordinal in places(key, (*record.past, record.size)):
            if ordinal == self.ordinal:
                continue
            if ordinal in self._service.down:
                raise SessionUnavailable(f"ordinal {ordinal} does not answer", "search", session=key.session)
            entry = self._service[ordinal].table.get(key)
            if entry is not None and entry.copy is not None and entry.copy.phase is not Phase.MOVED:
                return At(ordinal, moving=entry.copy.phase is Phase.MOVING)
        return None

    async def pass_on(self, ordinal: int, passed: Passed) -> InferResponse:
        raise AssertionError("no step is made here")


class _Others:
    def __init__(self, service: Replicas, ordinal: int) -> None:
        self._service = service
        self._ordinal = ordinal

    def ordinals(self) -> Sequence[int]:
        record = self._service.record
        return [ordinal for ordinal in range(max(record.size, *record.past, 0)) if ordinal != self._ordinal]

    async def ask(self, ordinal: int, call: Call) -> Told:
        self._service.asked.append((ordinal, call))
        if ordinal in self._service.down:
            raise SessionUnavailable(f"ordinal {ordinal} does not answer", "owner-down")
        reply = await answered(self._service[ordinal].peers, call.method, call.target, call.body)
        return Told(reply.status, reply.content_type.decode(), b"".join(reply.body))
