"""What of single requests is logged and traced, put together from the settings."""

import logging
import threading
from importlib import import_module
from typing import TYPE_CHECKING

from mooring_runtime.dataplane import DataPlane
from mooring_runtime.dataplane.observability import LogSettings, TraceSettings
from mooring_runtime.dataplane.observer import Observer, Start
from mooring_runtime.dataplane.trace_file import TraceFile
from mooring_runtime.errors import SettingsInvalid
from mooring_runtime.frontends.http.messages import Handler
from mooring_runtime.frontends.http.observed import Observed
from mooring_runtime.settings import ServeSettings

if TYPE_CHECKING:
    from mooring_runtime.dataplane.spans import Tracer

log = logging.getLogger(__name__)

_LAST_SPANS = 2.0
"""Seconds in which the spans that wait at the end must be sent."""


class Observation:
    """Log settings, trace settings, and the observer that the data plane has while there is something to observe."""

    def __init__(self, settings: ServeSettings, plane: DataPlane) -> None:
        """Raises SettingsInvalid where MOORING_TRACING asks for what is not installed."""
        self._plane = plane
        self._file = None if settings.trace_file is None else TraceFile(settings.trace_file)
        self.logs = LogSettings()
        self.traces = TraceSettings(self._file, plane.models)
        self.traces.switched = self._switch
        self.observer = Observer(self.traces)
        self.tracer = _tracer() if settings.tracing else None
        self.every = settings.access_log or self.tracer is not None
        """Every request is watched, not only those that a client's trace settings choose."""
        self._switch(traced=False)

    def _switch(self, traced: bool) -> None:
        self._plane.observer = self.observer if self.every or traced else None

    def around(self, handler: Handler) -> Handler:
        """The handler of the HTTP port, its requests watched if anybody wants that."""
        if not self.every:
            return handler
        return Observed(handler, self.observer, self.start)

    @property
    def start(self) -> Start | None:
        """Begins a request's span; None where no spans are wanted."""
        return None if self.tracer is None else self.tracer.start

    def close(self) -> None:
        """Write and send what waits; blocks while it does, for a bounded time."""
        if self._file is not None:
            self._file.flush()
        if self.tracer is not None:
            # The SDK tries for 10 s to reach a collector that is away; the pod's grace period is for requests.
            sending = threading.Thread(target=self.tracer.close, name="spans", daemon=True)
            sending.start()
            sending.join(_LAST_SPANS)
            if sending.is_alive():
                log.warning("the last spans are lost: the collector did not take them within %g s", _LAST_SPANS)


def _tracer() -> "Tracer":
    try:
        spans = import_module("mooring_runtime.dataplane.spans")
    except ModuleNotFoundError as error:
        raise SettingsInvalid(
            f"MOORING_TRACING is true, but this Python has no module {error.name}: install the extra `tracing`, or "
            "take the variable away"
        ) from error
    tracer: Tracer = spans.Tracer(spans.otlp_provider())
    return tracer
