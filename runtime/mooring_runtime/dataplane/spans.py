"""Requests as spans of OpenTelemetry, in the trace that the client's `traceparent` names.

The SDK reads its own variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER ...). This module
imports it, which takes a third of a second and 17 MiB, so it is itself imported only where MOORING_TRACING is set.
"""

import time
from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mooring_runtime import __version__
from mooring_runtime.scheduling.jobs import Run

_PROPAGATOR = TraceContextTextMapPropagator()


def otlp_provider() -> TracerProvider:
    """Spans go to the collector that the OTEL_ variables name, in batches, from a thread of the SDK's."""
    resource = Resource.create()  # Reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "mooring"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracer:
    """Makes spans; `close` sends those that wait."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("mooring_runtime", __version__)

    def start(self, method: str, headers: Mapping[str, str]) -> "RequestSpan":
        """A request has come by `method`; `headers` may have `traceparent` and `tracestate`."""
        parent = _PROPAGATOR.extract(headers, Context())
        span = self._tracer.start_span(method, parent, SpanKind.SERVER)
        return RequestSpan(self, method, span)

    def child(self, name: str, parent: Span, begin: int, end: int) -> None:
        """A part of a request that is over; times in nanoseconds since 1970."""
        context = set_span_in_context(parent, Context())
        self._tracer.start_span(name, context, start_time=begin).end(end)

    def close(self) -> None:
        """Send what waits; gives up after the SDK's own time limit. Blocks."""
        self._provider.shutdown()


class RequestSpan:
    """One request; see `dataplane.observer.Span`."""

    def __init__(self, tracer: Tracer, method: str, span: Span) -> None:
        self._tracer = tracer
        self._method = method
        self._span = span
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(span, Context()))
        self.traceparent = carrier.get("traceparent", "")

    def ran(self, model: str, version: str, waited: tuple[float, float], run: Run) -> None:
        """The request waited from one moment to another, by `perf_counter`, and then ran."""
        span = self._span
        if not span.is_recording():
            return
        span.update_name(f"{self._method} {model}")
        span.set_attribute("mooring.model.name", model)
        span.set_attribute("mooring.model.version", version)
        offset = time.time_ns() - round(time.perf_counter() * 1e9)
        begin, start = (offset + round(moment * 1e9) for moment in waited)
        end = start + round((run.gather + run.infer + run.scatter) * 1e9)
        self._tracer.child("queue", span, begin, start)
        self._tracer.child("compute", span, start, end)

    def end(self, status: str, failed: bool) -> None:
        """The request is answered, with this status of its protocol."""
        if self._span.is_recording():
            self._span.set_attribute("mooring.status", status)
            if failed:
                self._span.set_status(StatusCode.ERROR)
        self._span.end()
