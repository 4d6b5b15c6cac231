"""A replica whose node is gone while connections to it are open: what is sent to it vanishes, and nobody says so."""

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_RETURN = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A program of classic BPF that keeps no byte of any packet."""


@contextmanager
def vanished(address: str, *ports: int) -> Iterator[None]:
    """Let every packet to these ports of this process be dropped before TCP sees it, until the block ends.

    It is so on connections that are open and on those to come. It needs no rights: each socket may have a filter.
    """
    program = ctypes.create_string_buffer(_RETURN, len(_RETURN))
    what = struct.pack("HL", 1, ctypes.addressof(program))
    for each in _sockets(address, ports):
        with each:
            each.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, what)
    try:
        yield
    finally:
        for each in _sockets(address, ports):
            with each, contextlib.suppress(FileNotFoundError):
                each.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def _sockets(address: str, ports: tuple[int, ...]) -> list[socket.socket]:
    """Second handles of the sockets of this process that have the address: also of those that a library keeps."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            if not str(each.readlink()).startswith("socket:"):
                continue
            handle = socket.socket(fileno=os.dup(int(each.name)))
        except OSError:
            continue  # It was closed meanwhile.
        if _is_at(handle, address, ports):
            found.append(handle)
        else:
            handle.close()
    return found


def _is_at(handle: socket.socket, address: str, ports: tuple[int, ...]) -> bool:
    if handle.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    host, port, *_ = handle.getsockname()
    # gRPC listens with sockets of IPv6 for addresses of IPv4, too.
    return host.removeprefix("::ffff:") == address and port in ports
