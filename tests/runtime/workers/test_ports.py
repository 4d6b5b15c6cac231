import socket

import pytest

from mooring_runtime.errors import SettingsInvalid
from mooring_runtime.frontends.http.listener import open_socket
from mooring_runtime.workers.ports import reserve


@pytest.mark.parametrize("host", ["", "127.0.0.1", "::1"])
def test_workers_share_a_reserved_port_and_connections_go_to_them(host: str) -> None:
    with reserve(host, 0, "MOORING_HTTP_PORT") as held:
        port = held.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host or "127.0.0.1", port))
        with open_socket(host, port, shared=True) as one, open_socket(host, port, shared=True) as two:
            for _ in range(8):
                socket.create_connection((host or "127.0.0.1", port)).close()
            one.setblocking(False)
            two.setblocking(False)
            assert accepted(one) + accepted(two) == 8


def accepted(listening: socket.socket) -> int:
    count = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_a_port_of_another_server_is_not_shared() -> None:
    with open_socket("127.0.0.1", 0, shared=True) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsInvalid, match=f"cannot listen on 127.0.0.1, port {port}: .*set MOORING_HOST or X"):
            reserve("127.0.0.1", port, "X")
