"""The ways between replicas, before anybody relies on their being cut."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from tests.faults.links import REFUSED, SILENT, Links, host
from tests.support.ports import free_port


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    """Between two replicas that echo."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    servers = [await asyncio.start_server(echo, "127.0.0.1", 0) for _ in range(2)]
    port = free_port()
    made = await Links.of(port, [server.sockets[0].getsockname()[1] for server in servers])
    yield made
    await made.close()
    for server in servers:
        server.close()


async def say(links: Links, sender: int, to: int) -> bytes:
    """What comes back of a word; empty: the line broke. Raises OSError, TimeoutError."""
    reader, writer = await asyncio.open_connection(host(sender, to), links.links[0].port)
    try:
        writer.write(b"word")
        async with asyncio.timeout(0.2):
            return await reader.read(100)
    finally:
        writer.close()


async def test_an_open_way_carries(links: Links) -> None:
    assert await say(links, 0, 1) == await say(links, 1, 0) == b"word"


async def test_a_cut_may_go_one_way(links: Links) -> None:
    await links.cut(REFUSED, 0, both=False)
    assert await say(links, 1, 0) == b"word"
    with pytest.raises(ConnectionRefusedError):
        await say(links, 0, 1)
    await links.mend(REFUSED)
    assert await say(links, 0, 1) == b"word"


async def test_silence_lets_in_and_says_nothing_until_it_hangs_up(links: Links) -> None:
    reader, writer = await asyncio.open_connection(host(0, 1), links.links[0].port)
    writer.write(b"before")
    assert await reader.read(100) == b"before"
    await links.cut(SILENT, 0, both=True)
    with pytest.raises(TimeoutError):
        await say(links, 1, 0)
    writer.write(b"after")
    await links.mend(SILENT)
    assert await reader.read(100) == b"", "what was sent into silence is lost"
    writer.close()
    assert await say(links, 0, 1) == b"word"


async def test_a_dead_replica_refuses_whatever_else_is_mended(links: Links) -> None:
    await links.cut(SILENT, 1, both=True)
    await links.alive(1, alive=False)
    await links.mend(SILENT)
    with pytest.raises(ConnectionRefusedError):
        await say(links, 0, 1)
    assert await say(links, 1, 0) == b"word"
    await links.alive(1, alive=True)
    assert await say(links, 0, 1) == b"word"


@pytest.mark.parametrize("turns", range(8))
async def test_who_is_let_in_while_a_way_is_shut_is_hung_up_on(links: Links, turns: int) -> None:
    # The kernel has taken it; how far the loop has let it in differs by the turns that the loop has had.
    with socket.create_connection((host(0, 1), links.links[0].port), timeout=1) as comes:
        for _ in range(turns):
            await asyncio.sleep(0)
        await links.close()
        comes.setblocking(False)
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(1):
                assert await asyncio.get_running_loop().sock_recv(comes, 1) == b""
