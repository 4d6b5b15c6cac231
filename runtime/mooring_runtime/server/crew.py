"""A server that is one of several: how it knows the others, which is through their supervisor."""

from typing import Protocol

from mooring_runtime.dataplane import DataPlane
from mooring_runtime.dataplane.control import Administration, Control
from mooring_runtime.metrics import MetricsPage
from mooring_runtime.server.observation import Observation


class Member(Protocol):
    """What the crew knows of this server."""

    @property
    def page(self) -> MetricsPage:
        """Its numbers, which the supervisor's page adds to those of the others."""

    @property
    def control(self) -> Control:
        """Its own models."""

    @property
    def plane(self) -> DataPlane:
        """Its data plane."""

    @property
    def observation(self) -> Observation:
        """Its log and trace settings."""

    async def open(self) -> None:
        """Listen on the shared ports, if it does not yet."""

    def stop(self) -> None:
        """Drain and end, as after SIGTERM."""


class Crew(Protocol):
    """The others."""

    @property
    def at_once(self) -> bool:
        """Listen before the models are loaded: nobody else answers the probes."""

    def control(self, own: Control) -> Administration:
        """`own`, but of all servers together."""

    def join(self, server: Member) -> None:
        """Begin to talk with the supervisor."""

    def loaded(self, not_ready: str | None) -> None:
        """All loads have ended, `not_ready` if some should have done better; the supervisor says when to listen."""

    def stuck(self, reason: str) -> None:
        """A run does not end; the supervisor ends this process."""
