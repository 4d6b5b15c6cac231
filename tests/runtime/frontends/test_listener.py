import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from mooring_runtime.frontends.http.connection import Connection
from mooring_runtime.frontends.http.exchange import Shared
from mooring_runtime.frontends.http.listener import Listener, open_socket
from mooring_runtime.frontends.http.parser import Limits


def without_ipv6(number: int) -> Callable[..., socket.socket]:
    """`socket.create_server` of a kernel that has no IPv6."""
    real = socket.create_server

    def create(address: tuple[str, int], **options: Any) -> socket.socket:
        if options.get("family") == socket.AF_INET6:
            raise OSError(number, "no IPv6")
        return real(address, **options)

    return create


def test_every_address_means_both_families() -> None:
    with open_socket("", 0) as listening:
        port = listening.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), 1).close()


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_one_address(host: str, family: socket.AddressFamily) -> None:
    with open_socket(host, 0) as listening:
        assert listening.family == family
        assert listening.getsockname()[0] == host


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_kernel_without_ipv6_serves_ipv4(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(socket, "create_server", without_ipv6(number))
    with open_socket("", 0) as listening:
        assert listening.family == socket.AF_INET


def test_a_port_that_is_taken_is_not_taken_by_ipv4_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_server", without_ipv6(errno.EADDRINUSE))
    with pytest.raises(OSError, match="no IPv6"):
        open_socket("", 0)


class Faulty(Connection):
    """The first one fails when its time is over."""

    made = 0

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self.first = not Faulty.made
        Faulty.made += 1

    def expire(self) -> None:
        if self.first:
            raise RuntimeError("broken")
        super().expire()


async def test_the_fault_of_one_connection_leaves_the_others_their_limits(caplog: pytest.LogCaptureFixture) -> None:
    shared = Shared(lambda request, respond: None, Limits(idle_timeout=0.02))
    listener = Listener(shared, "127.0.0.1", 0, "X", connect=lambda: Faulty(shared))
    await listener.start()
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 1) == b""
        writer.close()
    assert "broken" in caplog.text
    listener.close()
    await asyncio.wait_for(listener.wait_closed(), 1)
