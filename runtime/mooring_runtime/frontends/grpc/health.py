"""grpc.health.v1: the health of the whole server, by which probes and load balancers choose."""

import asyncio
from collections.abc import Callable

from mooring_runtime.dataplane import DataPlane
from mooring_runtime.errors import InvalidRequest, Unavailable, UnknownModel
from mooring_runtime.frontends.grpc import messages
from mooring_runtime.frontends.grpc.calls import Call, Method
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.schema import health as pb

_UNKNOWN, _SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = range(4)
_INTERVAL = 1.0
"""Seconds between two looks of a watcher."""


class Health:
    """The two methods; `services` are the names that may be asked for, beside the empty one for all of them."""

    def __init__(self, plane: DataPlane, services: frozenset[str]) -> None:
        self._plane = plane
        self._services = services | {""}

    def methods(self) -> list[Method]:
        """The table."""
        return [
            Method("/grpc.health.v1.Health/Check", unary=self._check),
            Method("/grpc.health.v1.Health/Watch", converse=lambda call: _Watch(call, self.status)),
        ]

    def status(self, service: str) -> int:
        """SERVING, NOT_SERVING, or SERVICE_UNKNOWN."""
        if service not in self._services:
            return _SERVICE_UNKNOWN
        return _SERVING if self._plane.not_ready() is None else _NOT_SERVING

    def _check(self, call: Call, message: bytes) -> None:
        service = messages.read(pb.HealthCheckRequest, message[5:]).service
        status = self.status(service)
        if status == _SERVICE_UNKNOWN:
            raise UnknownModel(f"this server has no service '{service}'")
        call.reply(_response(status))


class _Watch:
    """Tells the status now, and each time that it has changed."""

    def __init__(self, call: Call, status: Callable[[str], int]) -> None:
        self._call = call
        self._status = status
        self._service: str | None = None
        self._told = _UNKNOWN
        self._timer: asyncio.TimerHandle | None = None

    def message(self, message: bytes) -> None:
        """What is to be watched."""
        if self._service is None:
            self._service = messages.read(pb.HealthCheckRequest, message[5:]).service
            self._look()

    def _look(self) -> None:
        assert self._service is not None
        status = self._status(self._service)
        if status != self._told:
            self._told = status
            self._call.send(_response(status))
        self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._look)

    def ended(self) -> None:
        """The client has asked; it goes on listening."""
        if self._service is None:
            raise InvalidRequest("Watch takes one message, none was sent")

    def taken(self) -> None:
        """What it tells is little: nothing is held."""

    def stopping(self) -> None:
        """The server stops."""
        self._call.fail(Unavailable("the server is stopping"))

    def aborted(self) -> None:
        """Nobody listens any more."""
        if self._timer is not None:
            self._timer.cancel()


def _response(status: int) -> bytes:
    return framed(pb.HealthCheckResponse(status=status).SerializeToString())
