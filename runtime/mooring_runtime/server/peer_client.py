"""The transport between replicas: HTTP/1.1 over connections that are kept, one message at a time on each.

What matters is to know whether anything was sent. A connection that cannot be had is `Unreachable`, at once; from the
first byte that is written every failure is `Unanswered`, and nothing is ever sent a second time here.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import Coroutine
from pathlib import Path
from typing import Final, cast
from urllib.parse import SplitResult, urlsplit

import httptools

from mooring_runtime.errors import SettingsInvalid
from mooring_runtime.frontends.http.messages import OCTETS
from mooring_runtime.frontends.http.peers import EPOCH, FROM, STORE, TO
from mooring_runtime.frontends.http.session_access import TokenFile
from mooring_runtime.server.peer_names import PeerNames
from mooring_runtime.sessions import messages, passing
from mooring_runtime.sessions.messages import Answer, Envelope, Introduce, Message, Take
from mooring_runtime.sessions.passing import Step
from mooring_runtime.sessions.peers import PeerFailed, Refused, Reply, Unanswered, Unreachable

log = logging.getLogger(__name__)

_CONNECT, _CONNECT_TLS = 0.25, 1.0
"""Seconds for a connection; a replica that does not even accept is taken for dead, and clients hear so quickly."""
IDLE = 60.0
"""Seconds after which a connection that nobody used is closed: long before the other side would close it."""
_KEPT = 64
"""Connections to one replica that are kept for later."""
_DEAD = 10_000
"""Milliseconds without any sign of life after which the kernel gives up a connection: a node that is gone says nothing,
and a step that was passed on to it must not wait for ever."""
_SILENCE, _SIGN = 5.0, 5.0
"""Seconds without the answer to a step after which the replica that has it is asked for a sign of life, and for that.
The kernel of a process that hangs answers as ever. A step may run for as long as it takes, but not where nothing runs.
"""
_MUTE, _BETWEEN = 60.0, 1.0
"""Seconds for which who gave no sign of life is sent no step, unless it gives one; and between two questions for one.
Its clients hear at once that nothing was done, where each of them would else wait, and know nothing in the end."""
_NOT_DONE: Final = frozenset({400, 401, 404, 405, 413, 415, 421, 431, 503})
"""Answers that say that nothing was done."""


class _Answered:
    """What came back."""

    __slots__ = ("body", "epoch", "octets", "status")

    def __init__(self, status: int, body: bytes, epoch: int, octets: bool) -> None:
        self.status = status
        self.body = body
        self.epoch = epoch
        self.octets = octets


class _Line(asyncio.Protocol):
    """One connection, and the answer that it waits for."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.since = 0.0
        """When it was used last."""
        self._awaited: asyncio.Future[_Answered] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        self._body: list[bytes] = []
        self._epoch = 0
        self._octets = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        plug = transport.get_extra_info("socket")
        if plug is not None and plug.family in (socket.AF_INET, socket.AF_INET6):
            for option, value in (
                (socket.TCP_NODELAY, 1),
                (socket.TCP_USER_TIMEOUT, _DEAD),
                (socket.TCP_KEEPIDLE, 3),
                (socket.TCP_KEEPINTVL, 2),
                (socket.TCP_KEEPCNT, 3),
            ):
                plug.setsockopt(socket.IPPROTO_TCP, option, value)
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail(str(exc) if exc else "the connection was closed")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"what came is no HTTP: {error}")
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the answer."""
        name = name.lower()
        if name == EPOCH and value.isdigit():
            self._epoch = int(value)
        elif name == b"content-type":
            self._octets = value == OCTETS

    def on_body(self, data: bytes) -> None:
        """A piece of it."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The answer is there."""
        status, body = self._parser.get_status_code(), b"".join(self._body)
        awaited, self._awaited = self._awaited, None
        if not self._parser.should_keep_alive():
            self.close()
        if awaited is not None and not awaited.done():
            awaited.set_result(_Answered(status, body, self._epoch, self._octets))
        self._begin()

    @property
    def awaited(self) -> "asyncio.Future[_Answered] | None":
        """The answer that it waits for."""
        return self._awaited

    async def exchange(self, request: bytes) -> _Answered:
        """Send a request and wait for its answer. Raises Unreachable, Unanswered; who gives up must close the line."""
        if self.transport is None:
            raise Unreachable("the connection was closed as soon as it was there")
        self._awaited = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._awaited

    def _fail(self, why: str) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is not None and not awaited.done():
            awaited.set_exception(Unanswered(why))

    def give_up(self, why: str) -> None:
        """Wait no longer for the answer."""
        self._fail(why)
        self.close()

    def close(self) -> None:
        """Use it no more."""
        if self.transport is not None:
            self.transport.abort()
            self.transport = None


class PeerClient:
    """`sessions.peers.Peers` over the network."""

    def __init__(self, address: str, token: TokenFile, authorities: Path | None = None) -> None:
        """`address` has `{ordinal}` in it. Raises SettingsInvalid where the authorities cannot be read."""
        self._address = address
        self._token = token
        self._tls: ssl.SSLContext | None = None
        if address.startswith("https://"):
            try:
                self._tls = ssl.create_default_context(cafile=authorities)
            except (OSError, ssl.SSLError) as error:
                raise SettingsInvalid(
                    f"cannot use the authorities in {authorities}: {error}; look at MOORING_PEER_CA_FILE"
                ) from error
        self._names = PeerNames()
        self._idle: dict[int, deque[_Line]] = defaultdict(deque)
        self._busy: set[_Line] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._looking: set[asyncio.Task[None]] = set()
        """Tasks that look after a step whose answer is long in coming."""
        self._signs: dict[int, asyncio.Task[str]] = {}
        """To the ordinals that are being asked for a sign of life."""
        self._mute: dict[int, str] = {}
        """Those that gave none, and why."""

    # --- Peers

    async def send(self, ordinal: int, envelope: Envelope, message: Message, within: float) -> Answer:
        """See `Peers`."""
        path = messages.PATHS[type(message)]
        method = "PUT" if isinstance(message, Introduce) else "POST"
        if isinstance(message, Take):  # States are large, and each is summed up.
            body = await asyncio.to_thread(messages.encode, message)
        else:
            body = messages.encode(message)
        request = self._request(ordinal, envelope, method, path, body)
        try:
            async with asyncio.timeout(within):
                answered = await self._exchange(ordinal, request)
        except TimeoutError:
            raise Unanswered(f"no answer to {path} within {within:g} s") from None
        try:
            return messages.decode_answer(path, answered.body)
        except ValueError as error:
            raise Unanswered(str(error)) from error

    async def pass_on(self, ordinal: int, envelope: Envelope, step: Step) -> Reply:
        """See `Peers`."""
        if ordinal in self._mute:
            raise Unreachable(f"ordinal {ordinal} gives no sign of life: {self._mute[ordinal]}")
        request = self._request(ordinal, envelope, "POST", messages.STEP_PATH, passing.encode_step(step))
        answered = await self._exchange(ordinal, request, watched=True)
        try:
            if not answered.octets:
                return Reply(messages.decode_answer(messages.STEP_PATH, answered.body).epoch, None)
            return Reply(answered.epoch, passing.decode_outcome(answered.body))
        except ValueError as error:
            raise Unanswered(str(error)) from error

    async def ask(self, ordinal: int, method: str, target: str, body: bytes, within: float) -> tuple[int, bool, bytes]:
        """Ask the peer port for something that is none of the messages; the status, whether the body is bytes and not
        JSON, and the body.

        Raises as `send`, but for statuses.
        """
        request = self._request(ordinal, Envelope(0, None, ordinal), method, target, body)
        try:
            async with asyncio.timeout(within):
                answered = await self._exchange(ordinal, request, whatever=True)
        except TimeoutError:
            raise Unanswered(f"no answer to {target} within {within:g} s") from None
        return answered.status, answered.octets, answered.body

    # --- one exchange

    def _request(self, ordinal: int, envelope: Envelope, method: str, path: str, body: bytes) -> bytes:
        sender = b"" if envelope.sender is None else b"%b: %d\r\n" % (FROM, envelope.sender)
        store = b"%b: %b\r\n" % (STORE, envelope.store.encode("latin-1", "replace")) if envelope.store else b""
        host = self._url(ordinal).netloc.encode()
        line = b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (method.encode(), path.encode(), host)
        token = b"Authorization: Bearer %b\r\n" % self._token.read()
        meant = b"%b: %d\r\n%b%b: %d\r\n" % (TO, ordinal, store, EPOCH, envelope.epoch)
        return b"".join((line, token, sender, meant, b"Content-Length: %d\r\n\r\n" % len(body), body))

    def _url(self, ordinal: int) -> SplitResult:
        return urlsplit(self._address.replace("{ordinal}", str(ordinal)))

    async def _exchange(
        self, ordinal: int, request: bytes, *, whatever: bool = False, watched: bool = False
    ) -> _Answered:
        line = self._kept(ordinal) or await self._connect(ordinal)
        self._busy.add(line)
        watch = asyncio.get_running_loop().call_later(_SILENCE, self._watch, ordinal, line) if watched else None
        try:
            answered = await line.exchange(request)
        except BaseException:  # Also who is cancelled: the answer that still comes must not be taken for another's.
            line.close()
            raise
        finally:
            self._busy.discard(line)
            if watch is not None:
                watch.cancel()
        self._keep(ordinal, line)
        if whatever or answered.status == 200:
            return answered
        told = f"ordinal {ordinal} answers {answered.status}: {answered.body[:500].decode(errors='replace')}"
        raise Refused(told) if answered.status in _NOT_DONE else Unanswered(told)

    def _watch(self, ordinal: int, line: _Line) -> None:
        self._begin(self._look_after(ordinal, line, line.awaited))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _look_after(self, ordinal: int, line: _Line, awaited: "asyncio.Future[_Answered] | None") -> None:
        """Wait for an answer no longer than who is to give it shows signs of life."""
        while awaited is not None and not awaited.done():
            asking = self._signs.get(ordinal)
            if asking is None:  # One question for all that wait for the same ordinal.
                asking = self._signs[ordinal] = asyncio.get_running_loop().create_task(self._sign(ordinal))
                asking.add_done_callback(lambda _: self._signs.pop(ordinal, None))
            why = await asyncio.shield(asking)
            if why:
                if not awaited.done():
                    line.give_up(f"ordinal {ordinal} gives no sign of life: {why}")
                if ordinal not in self._mute:
                    self._mute[ordinal] = why
                    self._begin(self._listen(ordinal))
                return
            await asyncio.sleep(_SILENCE)

    async def _listen(self, ordinal: int) -> None:
        """Ask one that gave no sign of life until it does; or for long enough, for it may be there no more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MUTE):
                while why := await self._sign(ordinal):
                    self._mute[ordinal] = why
                    await asyncio.sleep(_BETWEEN)
        del self._mute[ordinal]

    async def _sign(self, ordinal: int) -> str:
        """Why there is none; empty: there is one."""
        try:
            await self.ask(ordinal, "GET", "/membership", b"", _SIGN)
        except PeerFailed as failed:
            # One that ends lets nobody in any more, and still answers those who are there.
            return "" if isinstance(failed.__cause__, ConnectionRefusedError) else str(failed)
        return ""

    def _kept(self, ordinal: int) -> _Line | None:
        idle = self._idle[ordinal]
        while idle:
            line = idle.pop()
            if line.transport is not None and not line.transport.is_closing():
                return line
        return None

    def _keep(self, ordinal: int, line: _Line) -> None:
        idle = self._idle[ordinal]
        if line.transport is None or len(idle) >= _KEPT:
            line.close()
            return
        loop = asyncio.get_running_loop()
        line.since = loop.time()
        idle.append(line)
        if self._sweeping is None:
            self._sweeping = loop.call_later(IDLE, self._sweep)

    async def _connect(self, ordinal: int) -> _Line:
        address = self._url(ordinal)
        host, port = address.hostname or "", address.port or (443 if self._tls is not None else 80)
        try:
            async with asyncio.timeout(_CONNECT if self._tls is None else _CONNECT_TLS):
                return await self._reach(host, port)
        except (OSError, TimeoutError) as error:
            self._names.forget(host)
            why = str(error) or "no connection in time"
            raise Unreachable(f"cannot connect to {address.netloc}: {why}") from error

    async def _reach(self, host: str, port: int) -> _Line:
        loop, named = asyncio.get_running_loop(), host if self._tls else None
        failed: OSError | None = None
        for address in await self._names.addresses(host):
            try:
                return (await loop.create_connection(_Line, address, port, ssl=self._tls, server_hostname=named))[1]
            except OSError as error:
                failed = failed or error
        raise failed or OSError(f"{host} has no address")

    def _sweep(self) -> None:
        """Close what nobody has used for long."""
        loop = asyncio.get_running_loop()
        self._sweeping = None
        for idle in self._idle.values():
            while idle and (idle[0].transport is None or loop.time() - idle[0].since >= IDLE):
                idle.popleft().close()
        if any(self._idle.values()):
            self._sweeping = loop.call_later(IDLE, self._sweep)

    def close(self) -> None:
        """Close every connection; who waits for an answer is told that none came."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for task in (*self._looking, *self._signs.values()):
            task.cancel()
        for line in [*self._busy, *(each for idle in self._idle.values() for each in idle)]:
            line.close()
