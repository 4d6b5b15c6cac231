"""Keeps the shared ports for the workers: bound, so that no other program gets them, and not listening."""

import errno
import socket

from mooring_runtime.errors import SettingsInvalid


def reserve(host: str, port: int, variable: str) -> socket.socket:
    """A bound socket of the port, or of any free one for 0, on which workers may listen too with SO_REUSEPORT.

    Connections go to sockets that listen, so never to this one. Raises SettingsInvalid when it cannot be had.
    """
    try:
        if port:  # Another server's port must not be shared, which SO_REUSEPORT would allow to the same user.
            _bound(host, port, shared=False).close()
        return _bound(host, port, shared=True)
    except OSError as error:
        where = f"{host or 'every address'}, port {port}"
        raise SettingsInvalid(
            f"cannot listen on {where}: {error.strerror or error}; set MOORING_HOST or {variable}"
        ) from error


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    if host:
        return _bind(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port, shared=shared)
    try:
        return _bind(socket.AF_INET6, "::", port, shared=shared)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bind(socket.AF_INET, "0.0.0.0", port, shared=shared)


def _bind(family: socket.AddressFamily, host: str, port: int, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made
