"""Spans as the SDK's own exporter in memory receives them."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from mooring_runtime.dataplane.spans import Tracer
from mooring_runtime.scheduling.jobs import Run

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def memory() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    yield exporter
    exporter.clear()


def tracer(memory: InMemorySpanExporter, **more: object) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False, **more)  # type: ignore[arg-type]
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return Tracer(provider)


def by_name(memory: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in memory.get_finished_spans()}


def test_a_request_is_a_span_in_its_clients_trace_with_its_parts_below(memory: InMemorySpanExporter) -> None:
    span = tracer(memory).start("POST", {"traceparent": PARENT, "tracestate": "vendor=1"})
    span.ran("m", "3", (10.0, 10.5), Run(10.5, 0.125, 1.0, 0.125))
    span.end("200", failed=False)
    found = by_name(memory)
    assert found.keys() == {"POST m", "queue", "compute"}
    server = found["POST m"]
    assert server.kind is SpanKind.SERVER
    assert server.parent is not None
    assert f"{server.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{server.parent.span_id:016x}" == PARENT.split("-")[2]
    assert server.context.trace_state.get("vendor") == "1"
    assert dict(server.attributes or {}) == {
        "mooring.model.name": "m",
        "mooring.model.version": "3",
        "mooring.status": "200",
    }
    assert span.traceparent == f"00-{server.context.trace_id:032x}-{server.context.span_id:016x}-01"
    for name, seconds in (("queue", 0.5), ("compute", 1.25)):
        child = found[name]
        assert child.parent is not None
        assert child.parent.span_id == server.context.span_id
        assert child.start_time is not None
        assert child.end_time is not None
        assert child.end_time - child.start_time == pytest.approx(seconds * 1e9, abs=1000)


def test_a_request_without_a_trace_begins_one(memory: InMemorySpanExporter) -> None:
    traces = tracer(memory)
    for headers in ({}, {"traceparent": "nonsense"}):
        traces.start("POST", headers).end("503", failed=True)
    first, second = memory.get_finished_spans()
    assert first.parent is None
    assert first.context.trace_id != second.context.trace_id
    assert first.status.status_code is StatusCode.ERROR


def test_what_the_sampler_leaves_out_makes_no_spans(memory: InMemorySpanExporter) -> None:
    traces = tracer(memory, sampler=ParentBased(ALWAYS_OFF))
    span = traces.start("POST", {})
    span.ran("m", "1", (0.0, 1.0), Run(1.0, 0.0, 1.0, 0.0))
    span.end("200", failed=False)
    assert memory.get_finished_spans() == ()
    traces.start("POST", {"traceparent": PARENT}).end("200", failed=False)
    assert len(memory.get_finished_spans()) == 1
