"""The sockets of one HTTP port, the clock of its connections, and how it stops without dropping a request."""

import asyncio
import contextlib
import errno
import logging
import math
import socket
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Protocol, cast

from mooring_runtime.errors import SettingsInvalid
from mooring_runtime.frontends.http.connection import Connection
from mooring_runtime.frontends.http.exchange import Shared
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.frontends.tls import Tls

log = logging.getLogger(__name__)

_BACKLOG = 2048
_SWEEP = 0.5
"""Seconds between two looks at the connections' deadlines, and how late one may be noticed."""
_GOODBYE = 2.0
"""Seconds for a client to answer the end of TLS: one that does not must not hold up the end of the server."""


class Crowd(Protocol):
    """What a listener must know of its connections: `Shared` of either protocol."""

    closing: bool
    now: float
    date: bytes

    @property
    def limits(self) -> Limits:
        """Of time and size."""

    @property
    def connections(self) -> set[Any]:
        """All that are open; each has `deadline`, `expire`, `finish` and `_transport`, which may be None."""

    @property
    def empty(self) -> asyncio.Event:
        """Set when the last has gone."""


class Listener:
    """Listens on one port. Use: `await start()`, then `close()`, then `await wait_closed()`."""

    def __init__(
        self,
        shared: Crowd,
        host: str,
        port: int,
        variable: str,
        *,
        tls: Tls | None = None,
        connect: Callable[[], asyncio.Protocol] | None = None,
    ) -> None:
        """`host` "" means every address, IPv4 and IPv6; `variable` is named where the port cannot be had.

        `connect` makes a connection; None: one that speaks HTTP/1.1, and `shared` is then HTTP's.
        """
        self._shared = shared
        self._tls = tls
        self._connect = connect or (lambda: Connection(cast(Shared, shared)))
        self._host = host
        self._port = port
        self._variable = variable
        self.port_shared = False
        """Other processes listen on the same port; the kernel spreads the connections."""
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.Task[None] | None = None
        limits = shared.limits
        shortest = min(limits.header_timeout, limits.body_timeout, limits.idle_timeout, limits.write_timeout)
        self._interval = min(_SWEEP, shortest / 4)

    @property
    def port(self) -> int:
        """The port, which differs from the one asked for when that was 0."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Begin to accept. Raises SettingsInvalid when the address or port cannot be had."""
        loop = asyncio.get_running_loop()
        self._tick(loop)
        try:
            listening = open_socket(self._host, self._port, shared=self.port_shared)
        except OSError as error:
            where = f"{self._host or 'every address'}, port {self._port}"
            raise SettingsInvalid(
                f"cannot listen on {where}: {error.strerror or error}; set MOORING_HOST or {self._variable}"
            ) from error
        if self._tls is None:
            self._server = await loop.create_server(self._connect, sock=listening, backlog=_BACKLOG)
        else:
            self._server = await loop.create_server(
                self._connect,
                sock=listening,
                backlog=_BACKLOG,
                ssl=self._tls.context,
                ssl_handshake_timeout=self._shared.limits.header_timeout,
                ssl_shutdown_timeout=_GOODBYE,
            )
        self._sweep = loop.create_task(self._keep_sweeping(loop))

    def last_answers(self) -> None:
        """Go on serving, but end each connection with its next answer, so that clients move elsewhere."""
        self._shared.closing = True

    def close(self) -> None:
        """Accept no more; close what is idle; what is under way is answered."""
        self._shared.closing = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._shared.connections):
            connection.finish()

    async def wait_closed(self) -> None:
        """Return when the last connection is gone; the connections' own limits bound how long that takes."""
        if self._shared.connections:
            await self._shared.empty.wait()
        if self._sweep is not None:
            self._sweep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweep

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._shared.now = loop.time()
        self._shared.date = f"Date: {formatdate(usegmt=True)}\r\n".encode()

    async def _keep_sweeping(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self._tick(loop)
            if self._tls is not None:
                self._tls.refresh()
            now = self._shared.now
            for connection in [each for each in self._shared.connections if each.deadline <= now]:
                try:
                    connection.expire()
                except Exception:  # Else one connection's fault would end the time limits of all.
                    log.exception("cannot end a connection whose time is over; it is cut off")
                    connection.deadline = math.inf
                    if connection._transport is not None:
                        connection._transport.abort()


def open_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket; for host "" one that takes IPv6 and IPv4, or IPv4 alone where the kernel has no IPv6."""
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=shared)
    try:
        return socket.create_server(
            ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG, reuse_port=shared
        )
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return socket.create_server(("0.0.0.0", port), backlog=_BACKLOG, reuse_port=shared)
