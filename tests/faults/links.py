"""The ways between replicas, each of which can be cut by itself: a proxy for every ordered pair.

Replica f reaches replica t at 127.77.f.t, so that one address with `{ordinal}` in it is all that a replica is told.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

REFUSED, SILENT, DEAD = "refused", "silent", "dead"
"""Why a way is not open: nobody listens; who comes is let in and hears nothing, as of a network that drops packets; the
replica at its end is dead, and a proxy that lets people in all the same would tell another story.
"""


def host(sender: int, to: int | str) -> str:
    """Where a replica reaches another."""
    return f"127.77.{sender}.{to}"


@dataclass
class Link:
    """The way from one replica to another."""

    sender: int
    to: int
    port: int
    """Of the proxy."""
    target: int
    """The peer port of the other, on 127.0.0.1."""
    shut: set[str] = field(default_factory=set)
    """Why it is not open; a mended reason may leave another."""
    _listening: socket.socket | None = None
    _lines: set[asyncio.Task[None]] = field(default_factory=set)
    _taken: set[socket.socket] = field(default_factory=set)
    """Those that a line closes itself."""
    _open: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self, reason: str) -> None:
        """Shut it for a reason; what is on its way is lost, unless it only falls silent."""
        self.shut.add(reason)
        await self.settle()

    async def open(self, reason: str) -> None:
        """This is no reason any more. Whoever heard nothing is hung up on."""
        self.shut.discard(reason)
        if reason == SILENT:
            await self._hang_up()
        await self.settle()

    async def settle(self) -> None:
        """Be as open as the reasons allow."""
        if SILENT in self.shut:
            self._open.clear()
        else:
            self._open.set()
        if self.shut <= {SILENT}:
            if self._listening is None:
                self._listening = socket.create_server((host(self.sender, self.to), self.port))
                self._listening.setblocking(False)
                asyncio.get_running_loop().add_reader(self._listening, self._let_in, self._listening)
            return
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        await self._hang_up()

    async def _hang_up(self) -> None:
        lines = list(self._lines)
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)

    def _let_in(self, listening: socket.socket) -> None:
        """Takes who comes at once. A server of asyncio's would still be at it when the way is shut, and then it forgets
        to close the connection: who came would wait for ever.
        """
        try:
            comes, _ = listening.accept()
        except OSError:
            return  # gone again
        comes.setblocking(False)
        line = asyncio.ensure_future(self._serve(comes))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)
        # Who is cut off before its first step has no end of its own, and would stay open.
        line.add_done_callback(lambda _: None if comes in self._taken else comes.close())
        line.add_done_callback(lambda _: self._taken.discard(comes))

    async def _serve(self, comes: socket.socket) -> None:
        self._taken.add(comes)
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(sock=comes)
            try:
                await self._carry(reader, writer)
            finally:
                writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            both = [asyncio.ensure_future(self._copy(*pair)) for pair in ((reader, back), (there, writer))]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in both:
                    each.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            back.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._open.wait()
            writer.write(data)
            await writer.drain()


@dataclass
class Links:
    """All ways between the replicas of a service."""

    links: Sequence[Link]

    @classmethod
    async def of(cls, port: int, peer_ports: Sequence[int]) -> "Links":
        """Between all that listen on these ports; every proxy listens on `port`, at an address of its own."""
        made = cls(
            [
                Link(sender, to, port, target)
                for sender in range(len(peer_ports))
                for to, target in enumerate(peer_ports)
                if to != sender
            ]
        )
        for link in made.links:
            await link.settle()
        return made

    async def cut(self, how: str, ordinal: int, *, both: bool) -> None:
        """Cut what one replica sends, or what it hears as well."""
        for link in self.links:
            if link.sender == ordinal or (both and link.to == ordinal):
                await link.close(how)

    async def mend(self, how: str) -> None:
        """All ways that are cut so are open again."""
        for link in self.links:
            if how in link.shut:
                await link.open(how)

    async def alive(self, ordinal: int, *, alive: bool) -> None:
        """A replica has died, or is back."""
        for link in self.links:
            if link.to == ordinal:
                await (link.open(DEAD) if alive else link.close(DEAD))

    async def close(self) -> None:
        """Take them down."""
        for link in self.links:
            await link.close(DEAD)
