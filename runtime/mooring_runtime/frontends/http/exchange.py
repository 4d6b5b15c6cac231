"""What the connections of a listener share, and the place of an answer among those of its connection."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import uniform
from typing import TYPE_CHECKING

from mooring_runtime.frontends.http.messages import Handler, Head, Part, Reply, Request
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.scheduling import Ticket

if TYPE_CHECKING:
    from mooring_runtime.frontends.http.connection import Connection


_JITTER = 0.1
"""Share of a connection's age by which it differs: clients that came together must not all come again at once."""


def retirement(now: float, max_age: float) -> float:
    """When a connection that begins `now` has reached about `max_age` seconds; never where that is 0."""
    return now + max_age * uniform(1 - _JITTER, 1 + _JITTER) if max_age else math.inf


@dataclass(slots=True)
class Shared:
    """What the connections of one listener have in common."""

    handler: Handler
    limits: Limits
    log_access: Callable[[Request, int, int, float, str], None] | None = None
    """Called with the answer's status and bytes, the seconds from the request's last byte to the answer's last, and the
    client's address."""
    heads: dict[bytes, Head] = field(default_factory=dict)
    """Heads of requests that were seen, for the parsers."""
    connections: set["Connection"] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection has gone."""
    max_age: float = 0.0
    """Seconds, give or take a tenth, after which a connection ends with its next answer; 0: never."""
    closing: bool = False
    """Every answer from now on ends its connection, so that clients move to another replica."""
    now: float = 0.0
    """A clock that the sweep moves on; the time limits need no finer one, and this one costs nothing."""
    date: bytes = b""
    """The `Date` line, made anew by the sweep."""

    def log(self, exchange: "Exchange", status: int, size: int, transport: asyncio.BaseTransport) -> None:
        """Tell of an answer of so many bytes, where anybody wants to know."""
        if self.log_access is not None:
            peer = transport.get_extra_info("peername")
            # What was no request has not begun.
            seconds = time.perf_counter() - exchange.started if exchange.started else 0.0
            self.log_access(exchange.request, status, size, seconds, str(peer[0]) if peer else "")


class Exchange:
    """A request and the place of its answer among those of its connection."""

    # Most exchanges end with what they begin with, so that is the class's: quicker than slots filled one by one.
    ticket: Ticket | None = None
    written: list[Part] | None = None
    """What is to be sent, of an answer in pieces the next ones."""
    started = 0.0
    status = 0
    """Of an answer in pieces that is not complete; else 0."""
    streamed = 0
    """Bytes of its pieces so far."""
    forgotten = False
    """Its connection waits no longer for the answer."""
    plain = False
    """Its answer is written as it is and at once, the connection stays, and nobody wants to know of it."""

    def __init__(self, connection: "Connection", request: Request, persistence: bytes) -> None:
        self.connection = connection
        self.request = request
        self.persistence = persistence
        """The `Connection` line of the answer, or nothing."""

    def respond(self, reply: Reply) -> None:
        """Give the answer, or the next piece of it; it is sent when those before it are."""
        self.connection.answered(self, reply)
