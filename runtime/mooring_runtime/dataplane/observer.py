"""Watches single requests for the access log and for traces. A server that has neither asked for watches none.

A front end that wants a request watched puts a `Watch` in `Observer.current` while it hands the request to the data
plane, which takes it along; so no protocol need carry it through its own code. All of it is on the event loop.
"""

import time
from collections.abc import Callable
from typing import Protocol

from mooring_runtime.dataplane.observability import TraceSettings
from mooring_runtime.scheduling.jobs import Run


class Span(Protocol):
    """A request in a distributed trace; see `dataplane.spans`."""

    traceparent: str
    """Of this span, as the W3C header."""

    def ran(self, model: str, version: str, waited: tuple[float, float], run: Run) -> None:
        """The request waited from one moment to another, by the observer's clock, and then ran."""

    def end(self, status: str, failed: bool) -> None:
        """The request is answered, with this status of its protocol."""


class Watch:
    """One request that is watched: what is known of it so far."""

    __slots__ = ("arrived", "id", "model", "span", "traced", "version")

    def __init__(self) -> None:
        self.model = ""
        self.version = ""
        self.id = ""
        self.arrived = 0.0
        """By the observer's clock."""
        self.span: Span | None = None
        self.traced = False
        """Its times go into Triton's trace file."""

    def trace_id(self, traceparent: bytes) -> str:
        """The trace that the request belongs to, in 32 digits; empty when its header names none and none was begun."""
        told = self.span.traceparent if self.span is not None else traceparent.decode("latin-1")
        parts = told.split("-")
        return parts[1] if len(parts) > 1 and len(parts[1]) == 32 else ""


Start = Callable[[str, dict[str, str]], Span]
"""Begins the span of a request from its method and the headers of W3C's trace context."""


class Observer:
    """What the data plane tells of requests."""

    def __init__(self, settings: TraceSettings, clock: Callable[[], float] = time.perf_counter) -> None:
        self._settings = settings
        self.clock = clock
        self.current: Watch | None = None
        """That of the request which a front end is just handing over."""

    def arrived(self, model: str) -> Watch | None:
        """A request for `model` has come; None: nobody wants to know."""
        watch, self.current = self.current, None
        traced = self._settings.rules(model).chosen()
        if watch is None:
            if not traced:
                return None
            watch = Watch()
        watch.model = model
        watch.traced = traced
        watch.arrived = self.clock()
        return watch

    def ended(self, watch: Watch, version: str, request_id: str | None, run: Run | None) -> None:
        """The request is about to be answered; `run` is None when it did not run."""
        watch.version = version
        watch.id = request_id or ""
        if run is None:
            return
        if watch.span is not None:
            watch.span.ran(watch.model, version, (watch.arrived, run.started), run)
        if watch.traced and self._settings.file is not None:
            self._settings.file.add(watch.model, version, watch.id, (watch.arrived, run, self.clock()))
