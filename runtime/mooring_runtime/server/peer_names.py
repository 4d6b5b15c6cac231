"""The addresses of other replicas, by their names.

A lookup blocks its thread, for ten seconds and more where the DNS of a cluster does not answer. In the event loop's own
threads a few of them would hold up everything else that runs there, such as what a handoff sends. So each name that is
looked up has a thread of its own, at most one; and what was found is used again for a moment, since many connections
are made at once. An address that is no longer that of the replica does no harm: whoever is reached there looks which
ordinal is meant, and does nothing for another.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address

FRESH = 1.0
"""Seconds for which an address is used again."""

Lookup = Callable[[str], list[str]]


def lookup(host: str) -> list[str]:
    """Return the addresses of a name, in the order in which to try them. Raises OSError; blocks."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PeerNames:
    """Finds addresses; of one event loop."""

    def __init__(self, lookup: Lookup = lookup) -> None:
        self._lookup = lookup
        self._known: dict[str, tuple[float, list[str]]] = {}
        """Addresses by name, and until when they are used."""
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of a name. Raises OSError.

        Who does not wait for it leaves the lookup going, for whoever asks next.
        """
        if is_address(host):
            return [host]
        until, found = self._known.get(host, (0.0, []))
        if asyncio.get_running_loop().time() < until:
            return found
        asked = self._asked.get(host)
        if asked is None:
            asked = self._asked[host] = self._ask(host)
        return await asyncio.shield(asked)

    def forget(self, host: str) -> None:
        """Nobody was found at the name's address: look it up before the next try."""
        self._known.pop(host, None)

    def _ask(self, host: str) -> "asyncio.Future[list[str]]":
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[list[str]] = loop.create_future()

        def told(found: list[str] | OSError) -> None:
            del self._asked[host]
            if isinstance(found, OSError):
                asked.set_exception(found)
                asked.exception()  # Perhaps nobody waits any more; that is no reason for a complaint in the log.
                return
            self._known[host] = loop.time() + FRESH, found
            asked.set_result(found)

        def look() -> None:
            try:
                found: list[str] | OSError = self._lookup(host)
            except OSError as error:
                found = error
            except UnicodeError as error:  # A label that is too long or empty.
                found = OSError(f"{host!r} is no name: {error}")
            try:
                loop.call_soon_threadsafe(told, found)
            except RuntimeError:
                return  # The loop has ended meanwhile.

        # A daemon: the process must not wait for it when it ends.
        threading.Thread(target=look, name=f"name of {host}", daemon=True).start()
        return asked


def is_address(host: str) -> bool:
    """Whether it needs no lookup."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
