"""The listeners of a server: started, drained and closed together. A further one is an entry more in `fronts_of`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from mooring_runtime.frontends.http.app import HttpApp
from mooring_runtime.frontends.http.exchange import Shared
from mooring_runtime.frontends.http.listener import Listener
from mooring_runtime.frontends.http.messages import Handler
from mooring_runtime.frontends.http.observed import log_access
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.frontends.http.services import Options, Services
from mooring_runtime.frontends.tls import Tls, TlsFiles
from mooring_runtime.server.observation import Observation
from mooring_runtime.settings import ServeSettings


class Front(Protocol):
    """A port that clients come to."""

    port_shared: bool
    """Other processes listen on the same port; to be set before the start."""

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
    http = http_shared(settings, app, settings.connection_max_age)
    fronts: dict[str, Front] = {
        "http_port": Listener(
            http, settings.host, settings.http_port, "MOORING_HTTP_PORT", tls=tls_of(settings, "http/1.1")
        )
    }
    if settings.grpc:
        fronts["grpc_port"] = _grpc(settings, services, observation)
    for front in fronts.values():
        front.port_shared = settings.workers > 1
    return fronts


def _grpc(settings: ServeSettings, services: Services, observation: Observation) -> Front:
    # Imported here: protobuf and HPACK's tables cost a server without gRPC 3 MiB and 0.05 s for nothing.
    calls = import_module("mooring_runtime.frontends.grpc.calls")
    protocol = import_module("mooring_runtime.frontends.grpc.protocol")
    service = import_module("mooring_runtime.frontends.grpc.service")
    methods, log_call = service.methods(services), None
    if observation.every:
        observed = import_module("mooring_runtime.frontends.grpc.observed").ObservedCalls(
            observation.observer, observation.start, logged=settings.access_log
        )
        methods, log_call = observed.around(methods), observed.ended
    app = calls.App(methods, settings.grpc_max_message_bytes, log_call)
    shared = protocol.Shared(app, limits_of(settings), max_age=settings.connection_max_age)
    front: Front = protocol.GrpcListener(
        shared, settings.host, settings.grpc_port, "MOORING_GRPC_PORT", tls_of(settings, "h2")
    )
    return front


def tls_of(settings: ServeSettings, protocol: str) -> Tls | None:
    """The TLS of a port that speaks `protocol`; None where the settings name no certificate."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return Tls(TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file), [protocol])


def listener(settings: ServeSettings, handler: Handler, port: int, variable: str, tls: Tls | None = None) -> Listener:
    """A listener for HTTP that is not the clients': replicas and scrapers mean this server, whatever it is called by,
    so their connections may grow old. `variable` is named where the port cannot be had.
    """
    return Listener(http_shared(settings, handler), settings.host, port, variable, tls=tls)


def http_shared(settings: ServeSettings, handler: Handler, max_age: float = 0.0) -> Shared:
    """What the connections of a listener for HTTP have in common."""
    return Shared(handler, limits_of(settings), log_access if settings.access_log else None, max_age=max_age)


def limits_of(settings: ServeSettings) -> Limits:
    """What one client may take, of time and of memory."""
    return Limits(
        header_bytes=settings.max_header_bytes,
        body_bytes=settings.max_body_bytes,
        header_timeout=settings.header_timeout,
        body_timeout=settings.body_timeout,
        idle_timeout=settings.idle_timeout,
        write_timeout=settings.write_timeout,
    )


def options_of(settings: ServeSettings) -> Options:
    """What the settings say of the protocols."""
    return Options(
        settings.base_path,
        settings.v1_dialect,
        settings.default_model,
        settings.version_labels,
        settings.session_api,
        settings.session_token_file,
    )
