import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from mooring_runtime.frontends.http.listener import open_socket


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
