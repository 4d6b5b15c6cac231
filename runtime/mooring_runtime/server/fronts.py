"""The listeners of a server: started, drained and closed together. A further one is an entry more in `fronts_of`."""

from collections.abc import Mapping
from typing import Protocol

from mooring_runtime.frontends.http.app import HttpApp
from mooring_runtime.frontends.http.connection import Shared
from mooring_runtime.frontends.http.listener import Listener
from mooring_runtime.frontends.http.messages import Handler
from mooring_runtime.frontends.http.observed import log_access
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.frontends.http.services import Options, Services
from mooring_runtime.server.observation import Observation
from mooring_runtime.settings import ServeSettings


class Front(Protocol):
    """A port that clients come to."""

    @property
    def port(self) -> int:
        """Where it listens, once it has started."""

    async def start(self) -> None:
        """Begin to accept. Raises SettingsInvalid when the address or port cannot be had."""

    def last_answers(self) -> None:
        """Go on serving, but ask clients to come back on other connections."""

    def close(self) -> None:
        """Accept no more; what is under way is answered."""

    async def wait_closed(self) -> None:
        """Return when the last answer has left."""


def fronts_of(settings: ServeSettings, services: Services, observation: Observation) -> Mapping[str, Front]:
    """Every protocol's listener, by the word under which the log tells its port."""
    app = observation.around(HttpApp(services))
    return {"http_port": listener(settings, app, settings.http_port, "MOORING_HTTP_PORT")}


def listener(settings: ServeSettings, handler: Handler, port: int, variable: str) -> Listener:
    """A listener for HTTP; `variable` is named where the port cannot be had."""
    limits = Limits(
        header_bytes=settings.max_header_bytes,
        body_bytes=settings.max_body_bytes,
        header_timeout=settings.header_timeout,
        body_timeout=settings.body_timeout,
        idle_timeout=settings.idle_timeout,
        write_timeout=settings.write_timeout,
    )
    shared = Shared(handler, limits, log_access if settings.access_log else None)
    return Listener(shared, settings.host, port, variable)


def options_of(settings: ServeSettings) -> Options:
    """What the settings say of the protocols."""
    return Options(settings.base_path, settings.v1_dialect, settings.default_model, settings.version_labels)
