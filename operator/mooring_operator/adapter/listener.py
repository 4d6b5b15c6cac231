"""The HTTPS socket: one certificate to show, one authority to believe, both exchanged while it serves."""

import logging
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

logger = logging.getLogger(__name__)

BACKLOG: Final = 128


@dataclass(frozen=True)
class Tls:
    """What one side shows and believes, PEM."""

    certificate: str
    key: str
    authority: str
    """Of front proxies, and of nobody else."""

    def context(self) -> ssl.SSLContext:
        """Return the context of a server. Raises `ValueError` for what is no certificate or key.

        A client may come without a certificate: it gets a 401 that says why. One with a certificate of another
        authority gets no connection at all.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_OPTIONAL
        # Who resumes an earlier session is not asked for a certificate again, whatever became of its authority.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        try:
            context.load_verify_locations(cadata=self.authority)
            with tempfile.TemporaryDirectory() as folder:
                # The ssl module reads a key from files only. The folder is ours alone, and in the pod in memory.
                pair = Path(folder) / "pair.pem"
                pair.touch(mode=0o600)
                pair.write_text(f"{self.key.strip()}\n{self.certificate.strip()}\n")
                context.load_cert_chain(pair)
        except ssl.SSLError as error:
            raise ValueError(f"the certificates cannot be used: {error}") from error
        return context


class Listener:
    """The socket of the API. It stays open while certificates change: a site takes the place of the one before."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self._socket = _bound(port)
        self._site: web.SockSite | None = None
        self._tls: Tls | None = None
        self._believed: list[ssl.SSLContext] = []

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1])

    @property
    def serving(self) -> bool:
        """Whether it has a certificate to show."""
        return self._site is not None

    def believes(self, context: ssl.SSLContext) -> bool:
        """Tell whether a connection that was let in by this context would be let in now, as far as its authority goes.

        A handshake may have begun before an authority was dropped, and have ended after.
        """
        return context in self._believed

    async def use(self, tls: Tls) -> None:
        """Show and believe this from now on. Raises `ValueError`, and goes on as before.

        Connections that an earlier authority has let in end after their present request: whoever it vouched for has to
        prove himself again.
        """
        if tls == self._tls:
            return
        context = tls.context()
        other = self._tls is not None and self._tls.authority != tls.authority
        if other:
            self._believed.clear()
        self._believed.append(context)
        site = web.SockSite(self._runner, self._socket.dup(), ssl_context=context, backlog=BACKLOG)
        await site.start()
        before, self._site = self._site, site
        if before is not None:
            await before.stop()
        if other:
            self._end_connections()
        self._tls = tls
        logger.info("serves port %d with %s certificate", self.port, "its" if before is None else "another")

    def close(self) -> None:
        """Close the socket; the runner ends the sites."""
        self._socket.close()

    def _end_connections(self) -> None:
        server = self._runner.server
        for connection in server.connections if server is not None else ():
            connection.close()


def _bound(port: int) -> socket.socket:
    """Return a listening socket on all addresses, IPv6 too where there is any."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    return socket.create_server(("", port), backlog=BACKLOG)
