"""A gRPC connection's socket, its time limits, and the port that it came by.

Time runs against the client only where it owes something: its greeting, the rest of headers or of a message, room for
an answer. What rests longest without owing anything is asked whether it is still there, or closed.
"""

import asyncio
from dataclasses import dataclass, field
from typing import cast

from mooring_runtime.frontends.grpc.calls import App, Call
from mooring_runtime.frontends.grpc.frames import Code
from mooring_runtime.frontends.grpc.h2connection import H2Connection
from mooring_runtime.frontends.grpc.h2send import Limits as H2Limits
from mooring_runtime.frontends.grpc.h2send import Stream
from mooring_runtime.frontends.grpc.heads import Head
from mooring_runtime.frontends.http.exchange import retirement
from mooring_runtime.frontends.http.listener import Listener
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.frontends.tls import Tls

_CHECK = 1.0
"""Seconds between two looks at a connection, or a quarter of the shortest limit."""
_SILENCE = 60.0
"""Seconds after which a client with open calls is asked whether it is there; grpcio's own default is two hours."""
_ANSWER = 20.0
"""Seconds that it has to answer."""


@dataclass(slots=True)
class Shared:
    """What the connections of one listener have in common."""

    app: App
    limits: Limits
    connections: "set[Connection]" = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection has gone."""
    max_age: float = 0.0
    """Seconds, give or take a tenth, after which a client is asked to connect anew; 0: never."""
    closing: bool = False
    """Every connection ends with what it is doing, so that clients move to another replica."""
    now: float = 0.0
    """A clock that the sweep moves on."""
    date: bytes = b""
    """Not sent: gRPC's clients have no use for it."""


class Connection(H2Connection[Head], asyncio.Protocol):
    """See the module. `deadline` is when, by the shared clock, the sweep is to call `expire`."""

    def __init__(self, shared: Shared) -> None:
        limits = shared.limits
        super().__init__(
            H2Limits(header_bytes=limits.header_bytes, unpacked=limits.body_bytes),
            shared.app.read_head,
            shared.app.accept,
            self._clock,
        )
        self._shared = shared
        self._transport: asyncio.Transport | None = None
        self._heard = shared.now
        self._asked = False
        self._head_since: float | None = shared.now
        self._blocked_since = 0.0
        self._unwritten = 0
        self._arriving: dict[int, tuple[float, int]] = {}
        """By stream: since when a message has been arriving, and how many bytes the call had then."""
        self._waiting: dict[int, tuple[float, int]] = {}
        """By stream: since when its answer has not moved, and the bytes of it that wait."""
        self._step = min(
            _CHECK,
            min(limits.header_timeout, limits.body_timeout, limits.idle_timeout, limits.write_timeout) / 4,
        )
        self._retires = retirement(shared.now, shared.max_age)
        self.deadline = shared.now + self._step

    def _clock(self) -> float:
        return self._shared.now

    # --- the transport's events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        self._shared.connections.add(self)
        self._shared.empty.clear()
        if self._shared.app.log_call is not None and (peer := transport.get_extra_info("peername")):
            self.peer = str(peer[0])
        self.greet()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it what waits for its client."""
        self._transport = None
        self.lost()
        self._shared.connections.discard(self)
        if not self._shared.connections:
            self._shared.empty.set()

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        self._heard = self._shared.now
        self.receive(data)

    def pause_writing(self) -> None:
        """The client reads more slowly than answers come; it is not read from until it has caught up."""
        self.congested = True
        self._blocked_since = self._shared.now
        if self._transport is not None and not self._transport.is_closing():
            self._unwritten = self._transport.get_write_buffer_size()
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.congested = False
        self.pump_all()
        if not self.congested and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # --- life

    def hang_up(self) -> None:
        """Close the socket when all that is written has left."""
        super().hang_up()
        self._blocked_since = self._shared.now
        if self._transport is not None:
            self._transport.close()

    def rested(self) -> None:
        """No call is under way any more."""
        if self._shared.closing:
            self.drain()
        if self._final:
            super().rested()

    def finish(self) -> None:
        """The server stops: take no more calls, end those that only wait for the client, hang up after the others."""
        self.refuse()
        for stream in list(self.streams.values()):
            cast(Call, stream).stop()

    def expire(self) -> None:
        """Look whether the client owes anything for too long."""
        now, limits, transport = self._shared.now, self._shared.limits, self._transport
        self.deadline = now + self._step
        if transport is None:
            return
        if self.congested or self.closed:
            self._check_writing(transport, now)
            return
        if now >= self._retires:  # New calls go over another connection; those that run, streams too, go on here.
            self.drain()
        if not self.in_head:
            self._head_since = None
        elif self._head_since is None:
            self._head_since = now
        elif now - self._head_since >= limits.header_timeout:
            self.fail(Code.SETTINGS_TIMEOUT, f"headers did not arrive within {limits.header_timeout:g} s")
            return
        silent = now - self._heard
        if not self.streams:
            if silent >= limits.idle_timeout:
                self.refuse()
            return
        self._check_calls(now)
        if silent < _SILENCE:
            self._asked = False
        elif not self._asked:
            self._asked = True
            self.ping()
        elif silent >= _SILENCE + _ANSWER:
            transport.abort()

    def _check_writing(self, transport: asyncio.Transport, now: float) -> None:
        unwritten = transport.get_write_buffer_size()
        if unwritten < self._unwritten:  # A slow reader, but one that reads.
            self._blocked_since = now
        elif now - self._blocked_since >= self._shared.limits.write_timeout:
            transport.abort()
        self._unwritten = unwritten

    def _check_calls(self, now: float) -> None:
        limits = self._shared.limits
        arriving, waiting = {}, {}
        for number, stream in list(self.streams.items()):
            call = cast(Call, stream)
            if call.arriving:
                ends, had = self._arriving.get(number, (now + limits.body_timeout, call.total))
                ends = limits.body_ends(ends, call.total - had, now)
                arriving[number] = (ends, call.total)
                if now >= ends:
                    call.too_slow(limits.body_timeout)
            if stream.queue:
                left = stream.waiting
                since, last = self._waiting.get(number, (now, left))
                if left != last:
                    since = now
                waiting[number] = (since, left)
                if now - since >= limits.write_timeout:
                    self._give_up(stream)
        self._arriving, self._waiting = arriving, waiting

    def _give_up(self, stream: Stream) -> None:
        self.reset(stream, Code.CANCEL)
        stream.aborted()


class GrpcListener(Listener):
    """The gRPC port."""

    def __init__(self, shared: Shared, host: str, port: int, variable: str, tls: Tls | None = None) -> None:
        super().__init__(shared, host, port, variable, tls=tls, connect=lambda: Connection(shared))
        self._calls = shared

    def last_answers(self) -> None:
        """Go on serving, but ask clients to take new calls elsewhere."""
        super().last_answers()
        for connection in list(self._calls.connections):
            connection.drain()
