"""One HTTP/1.1 connection: requests to a handler, answers out in the order of their requests.

It keeps to these rules, whatever the client does:

- Requests of one connection are handled as they arrive; answers wait for the answers before them (pipelining). Of many
  that come at once a part is read, then other connections have their turn.
- Memory is bounded: a client that sends more than it reads is not read from until it has caught up.
- Time is bounded: head, body, idle connection and a stalled reader each have a limit, checked by the listener's sweep.
  That of a body grows with what arrives, but is never further away than at the body's beginning: a client that stops
  has no longer than that, however much it has sent before.
- After an error that loses the place where the next request would begin, the answer is sent, then the connection is
  closed in such a way that the client still receives that answer.
- A client that hangs up takes back what of its requests still waits.
- A connection that is older than the listener lets one be ends with its next answer, never while it rests: a request
  may be on its way, and would be lost.
- An answer in pieces leaves piece by piece. The model is not held up for a slow reader, since others wait for it too:
  who falls too far behind is cut off.
"""

import asyncio
import logging
import math
import time
from collections import deque
from typing import cast

from mooring_runtime.errors import InferenceFailed, RequestError, RequestTimeout
from mooring_runtime.frontends.http.exchange import Exchange, Shared, retirement
from mooring_runtime.frontends.http.messages import Request
from mooring_runtime.frontends.http.naming import refusal
from mooring_runtime.frontends.http.outgoing import CLOSE, Outgoing
from mooring_runtime.frontends.http.parser import RequestParser

log = logging.getLogger(__name__)

_MAX_PENDING = 32
"""Unanswered requests of one connection above which it is not read from."""
_AT_ONCE = 2048
"""Bytes that are read as they arrive: a few requests."""
_PART, _PARTS = 1024, 128 * 1024
"""Of more, bytes that a connection reads requests out of in one turn of the event loop: its part of what all of them
may, and never less than the first. A burst of 50 on each of 200 connections would else hold the loop for 0.4 s."""
_LINGER = 2.0
"""Seconds in which a client may finish sending what will not be read, so that it sees the answer and not a reset."""
_KEEP = b"Connection: keep-alive\r\n"


class Connection(Outgoing):
    """See the module."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._parser = RequestParser(shared.limits, self._handle, self._send_continue, shared.heads)
        self._handed = 0
        """Requests so far."""
        self._unread: deque[memoryview] = deque()
        """What has arrived and is for the next turns of the loop."""
        self._unwritten = 0
        self._stage = 0
        self._ends = 0.0
        """When the time for what is under way is over."""
        self._arrived = 0
        """Bytes of its body that have been given their time."""

    # --- the transport's events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._shared.connections.add(self)
        self._shared.empty.clear()
        # Pools and proxies connect ahead of need: a connection that has not been used yet is one at rest. Closed
        # sooner, it would fail the request that is just being sent on it.
        self.deadline = self._shared.now + self._limits.idle_timeout
        self._retires = retirement(self._shared.now, self._shared.max_age)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it what waits for its client."""
        self._transport = None
        self._take_back()
        self._shared.connections.discard(self)
        if not self._shared.connections:
            self._shared.empty.set()

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._deaf:
            return
        known = False
        if self._unread or (len(data) > _AT_ONCE and not (known := self._parser.feed_known(data))):
            self._unread.append(memoryview(data))
            if len(self._unread) == 1:
                self._read_on()
            return
        try:
            if not known:  # Else it was handed on, and would be a second time.
                self._parser.feed(data)
        except RequestError as error:
            self._refuse(error)
            return
        self._was_read()

    def _read_on(self) -> None:
        """Read what has arrived, until enough requests have come out of it."""
        unread, parser = self._unread, self._parser
        part = size = max(_PART, _PARTS // max(1, len(self._shared.connections)))
        before = self._handed
        try:
            while unread and not self._deaf and self._transport is not None and self._handed - before < 2:
                handed, data = self._handed, unread.popleft()
                if len(data) > size:
                    unread.appendleft(data[size:])
                    data = data[:size]
                parser.feed(data if parser.in_message else bytes(data))
                size = 2 * size if handed == self._handed else part  # The body of one request may be long.
        except RequestError as error:
            unread.clear()
            self._refuse(error)
            return
        if self._deaf or self._transport is None:
            unread.clear()
        if unread:
            asyncio.get_running_loop().call_soon(self._read_on)
        self._balance_reading()
        self._was_read()

    def _was_read(self) -> None:
        pending = self._pending
        if self._write_blocked or len(pending) >= _MAX_PENDING:
            self._balance_reading()
        if pending and not self._write_blocked and not self._parser.in_message:
            self.deadline = math.inf
        else:
            self._set_deadline()

    def eof_received(self) -> bool:
        """The client sends no more: what waits is taken back, what runs is still answered; then the end."""
        while self._unread and not self._deaf:  # Of TLS; what else is not read from has no end yet.
            self._read_on()
        self._deaf = True
        if self._lingering or not self._pending:
            return False
        self._pending[-1].persistence = CLOSE
        self._pending[-1].plain = False
        for exchange in list(self._pending):
            if exchange.ticket is not None:
                exchange.ticket.cancel()
        # TLS has no half of a connection: asyncio closes it whatever is said here, and complains of True.
        over_tls = self._transport is not None and self._transport.get_extra_info("sslcontext") is not None
        return bool(self._pending) and not over_tls

    def pause_writing(self) -> None:
        """The client reads more slowly than answers come."""
        self._write_blocked = True
        self._unwritten = 0 if self._transport is None else self._transport.get_write_buffer_size()
        self.deadline = self._shared.now + self._limits.write_timeout
        self._balance_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._write_blocked = False
        self._stage = 0  # What is under way gets its time anew: it was not read.
        self._balance_reading()
        self._set_deadline()

    # --- in

    def _handle(self, request: Request) -> None:
        if self._deaf:
            return
        head, shared = request.head, self._shared
        persistence = b"" if head.modern else _KEEP
        if shared.closing or shared.now >= self._retires or not head.keep_alive:
            persistence = CLOSE
            self._deaf = True
        exchange = Exchange(self, request, persistence)
        self._handed += 1
        self._pending.append(exchange)
        if shared.log_access is not None:
            exchange.started = time.perf_counter()
        elif head.plain and not persistence:
            exchange.plain = True
        try:
            exchange.ticket = shared.handler(request, exchange.respond)
        except RequestError as error:
            exchange.respond(refusal(head, error))
        except Exception as error:
            log.exception("cannot handle %s %s", request.method.decode(), request.target.decode())
            failure = InferenceFailed(f"a fault of the server: {type(error).__name__}: {error}")
            exchange.respond(refusal(head, failure, begun=True))

    def _refuse(self, error: RequestError) -> None:
        """Answer what cannot be read on, after the answers that are due, and close."""
        request = self._parser.broken_request()
        exchange = Exchange(self, request, CLOSE)
        self._deaf = self._lingering = True
        self._pending.append(exchange)
        self._set_deadline()  # The time of what is refused must not cut off the answers before it.
        exchange.respond(refusal(request.head, error))

    def _send_continue(self) -> None:
        """Tell the client to send the body, unless answers before it are due first."""
        if self._parser.expecting and not self._pending and self._transport is not None:
            self._parser.expecting = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- limits

    def _balance_reading(self) -> None:
        """Read only while the client keeps up with its answers."""
        busy = self._write_blocked or self._unread or len(self._pending) >= _MAX_PENDING
        wanted = self._lingering or not busy
        if wanted == self._reading or self._transport is None or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _set_deadline(self) -> None:
        """When the sweep shall look at this connection."""
        if self._write_blocked:
            return
        limits, parser = self._limits, self._parser
        if self._pending and (self._deaf or not parser.in_message):
            self.deadline = math.inf
        elif self._deaf:
            self.deadline = self._shared.now + (_LINGER if self._lingering else limits.write_timeout)
        elif parser.in_message and (parser.expecting or not self._reading):
            self.deadline = math.inf
            self._stage = 0  # The client waits for us, so its time begins anew when it no longer does.
        elif parser.in_message:
            now, size = self._shared.now, parser.body_size
            if parser.stage != self._stage:
                self._stage = parser.stage
                self._ends = now + (limits.body_timeout if parser.in_body else limits.header_timeout)
            elif size != self._arrived:
                self._ends = limits.body_ends(self._ends, size - self._arrived, now)
            self._arrived = size
            self.deadline = self._ends
        else:
            self.deadline = self._shared.now + limits.idle_timeout

    def expire(self) -> None:
        """The deadline has passed."""
        transport, limits, parser = self._transport, self._limits, self._parser
        if transport is None:
            return
        unwritten = transport.get_write_buffer_size()
        if self._write_blocked and unwritten < self._unwritten:  # A slow reader, but one that reads.
            self._unwritten = unwritten
            self.deadline = self._shared.now + limits.write_timeout
        elif self._write_blocked or self._lingering or transport.is_closing():
            transport.abort()
        elif parser.in_message:
            what = f"head of the request did not arrive within {limits.header_timeout:g} s"
            if parser.in_body:
                what = f"body of the request did not arrive within {limits.body_timeout:g} s, nor at 1 KiB a second"
            self._refuse(RequestTimeout(f"the {what}"))
        else:
            transport.close()

    def finish(self) -> None:
        """The server stops: close now if nothing is under way, else after the answers that are due."""
        if self._transport is not None and not (self._pending or self._unread or self._parser.in_message):
            self._transport.close()
