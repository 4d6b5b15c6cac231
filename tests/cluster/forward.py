"""A way into the cluster's network: connections taken on the host are passed on inside.

A socket stays in the network namespace that it was made in. So the listening socket is made on the
host, then the process enters the cluster's network, and the onward connections are made there.

Usage: python -m tests.cluster.forward ADDRESS PORT PROCESS TO_ADDRESS TO_PORT
"""

import asyncio
import ctypes
import os
import socket
import sys
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_CHUNK = 1 << 16


async def serve(listener: socket.socket, to: tuple[str, int]) -> None:
    """Passes on every connection of `listener` until the process is killed."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*to)
        except OSError:
            writer.transport.abort()  # the caller sees a reset, as from a port that nobody listens on
            return
        await asyncio.gather(_copy(reader, onward_writer), _copy(onward_reader, writer))
        for end in (writer, onward_writer):
            end.close()

    server = await asyncio.start_server(connected, sock=listener)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies until the end of the stream, then ends this direction only: the answer may still be on its way."""
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


def main(arguments: list[str]) -> None:
    address, port, process, to_address, to_port = arguments
    listener = socket.create_server((address, int(port)), backlog=128)
    print(f"listening on port {listener.getsockname()[1]}", flush=True)
    # The standard library has no setns before Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{process}/ns/net").open() as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    asyncio.run(serve(listener, (to_address, int(to_port))))


if __name__ == "__main__":
    main(sys.argv[1:])
