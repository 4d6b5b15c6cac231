"""The way out of an HTTP/1.1 connection: answers in the order of their requests, whole or in pieces, and its end.

`Connection` reads; what is here writes. Both are one object, since each stops and starts the other.
"""

import asyncio
import logging
import math
from collections import deque

from mooring_runtime.frontends.http import coding
from mooring_runtime.frontends.http.exchange import Exchange, Shared
from mooring_runtime.frontends.http.messages import Reply, render, render_head, render_piece
from mooring_runtime.frontends.http.parser import RequestParser

log = logging.getLogger(__name__)

_COMPRESS_FROM = 1024
"""Bytes of a body below which compression costs more than it saves."""
_COMPRESS_APART = 256 * 1024
"""Bytes from which a thread compresses, so that other connections do not wait for it."""
_MAX_UNREAD = 16 * 2**20
"""Bytes of an answer in pieces that may wait for their reader when the next piece comes."""

CLOSE = b"Connection: close\r\n"


class Outgoing(asyncio.Protocol):
    """See the module. `deadline` is when, by the shared clock, the sweep is to call `expire`."""

    _parser: RequestParser

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._limits = shared.limits
        self._transport: asyncio.Transport | None = None
        self._pending: deque[Exchange] = deque()
        self._deaf = False
        """What still arrives is thrown away: the connection ends after the answers that are due."""
        self._lingering = False
        """The client may still be sending when the last answer leaves."""
        self._write_blocked = False
        self._reading = True
        self._retires = math.inf
        """When, by the shared clock, the client is to connect anew."""
        self.deadline = math.inf

    def answered(self, exchange: Exchange, reply: Reply) -> None:
        """The handler's answer to one request."""
        transport, pending, shared = self._transport, self._pending, self._shared
        if transport is None:
            return
        if exchange.plain and pending and pending[0] is exchange and not (reply.more or shared.closing):
            # The usual case, in fewer steps than the ones below take.
            pending.popleft()
            parts = render(reply, b"", shared.date, head_only=False)
            if len(parts) == 1:
                transport.write(parts[0])
            else:
                transport.writelines(parts)
            if pending or not self._reading or self._parser.in_message:
                self._flush()
            elif not self._write_blocked:
                self.deadline = shared.now + self._limits.idle_timeout
            return
        self._answered(exchange, reply, transport)

    def _answered(self, exchange: Exchange, reply: Reply, transport: asyncio.Transport) -> None:
        if reply.more or exchange.status:
            exchange.plain = False
            self._answered_in_part(exchange, reply, transport)
            return
        if self._shared.log_access is not None:
            self._shared.log(exchange, reply.status, sum(map(len, reply.body)), transport)
        accepts = exchange.request.head.headers.get(b"accept-encoding")
        if accepts is not None and not reply.as_is and (chosen := coding.accepted(accepts)) is not None:
            size = sum(map(len, reply.body))
            if size >= _COMPRESS_APART:
                compressing = asyncio.get_running_loop().run_in_executor(None, coding.deflate, chosen, reply.body)
                compressing.add_done_callback(lambda done: self._ready(exchange, reply.coded(chosen, done.result())))
                return
            if size >= _COMPRESS_FROM:
                reply = reply.coded(chosen, coding.deflate(chosen, reply.body))
        self._ready(exchange, reply)

    def _answered_in_part(self, exchange: Exchange, reply: Reply, transport: asyncio.Transport) -> None:
        if exchange.forgotten:
            return
        chunked = exchange.request.modern
        parts = exchange.written or []
        if not exchange.status:
            exchange.status = reply.status
            exchange.persistence = exchange.persistence if chunked and not self._shared.closing else CLOSE
            parts.append(render_head(reply, exchange.persistence, self._shared.date, chunked=chunked))
        elif (exchange.streamed if parts else transport.get_write_buffer_size()) > _MAX_UNREAD:
            log.warning("cut off a client that reads more slowly than its answer grows")
            self._take_back()
            transport.abort()
            return
        parts.append(render_piece(reply, chunked=chunked))
        exchange.written = parts
        exchange.streamed += sum(map(len, reply.body))
        if not reply.more:
            if self._shared.log_access is not None:
                self._shared.log(exchange, exchange.status, exchange.streamed, transport)
            exchange.status = 0
        if self._pending and self._pending[0] is exchange:
            self._flush()

    def _ready(self, exchange: Exchange, reply: Reply) -> None:
        shared = self._shared
        if shared.closing:
            exchange.persistence = CLOSE
        head_only = exchange.request.head.method == b"HEAD"
        exchange.written = render(reply, exchange.persistence, shared.date, head_only=head_only)
        if self._pending and self._pending[0] is exchange:
            self._flush()

    def _flush(self) -> None:
        """Write every answer whose turn it is."""
        pending, transport = self._pending, self._transport
        while transport is not None and pending and (parts := pending[0].written) is not None:
            exchange = pending[0]
            if exchange.status:
                exchange.written = None
                transport.writelines(parts)
                return
            pending.popleft()
            if len(parts) == 1:
                transport.write(parts[0])
            else:
                transport.writelines(parts)
            if exchange.persistence is CLOSE:
                self._end(transport)
                return
        if not self._reading:
            self._balance_reading()
        if not pending:
            self._send_continue()
        if self.deadline == math.inf:
            self._set_deadline()

    def _end(self, transport: asyncio.Transport) -> None:
        """The last answer is written; what was pipelined behind it is not answered, as `Connection: close` says."""
        self._deaf = True
        # Nobody has asked a client to stop that sends several requests ahead.
        self._lingering |= self._shared.now >= self._retires
        self._take_back()
        self._set_deadline()
        if self._lingering:
            # Closing now would reset the connection under what the client still sends: it might not read the answer.
            if transport.can_write_eof():  # TLS cannot.
                transport.write_eof()
            self._balance_reading()
        else:
            transport.close()

    def _take_back(self) -> None:
        """Forget every request that is not answered, and cancel those that wait."""
        forgotten = list(self._pending)
        self._pending.clear()
        for exchange in forgotten:
            exchange.forgotten = True
            if exchange.ticket is not None:
                exchange.ticket.cancel()

    def _send_continue(self) -> None:
        """Tell the client to send the body, if it waits for that."""
        raise NotImplementedError

    def _balance_reading(self) -> None:
        """Read only while the client keeps up with its answers."""
        raise NotImplementedError

    def _set_deadline(self) -> None:
        """When the sweep shall look at this connection."""
        raise NotImplementedError
