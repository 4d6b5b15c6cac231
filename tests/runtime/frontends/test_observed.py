"""Which requests are watched over HTTP, and what is known of them at their end."""

import json
from collections.abc import Mapping

import pytest

from mooring_runtime.dataplane.observability import TraceSettings
from mooring_runtime.dataplane.observer import Observer, Watch
from mooring_runtime.errors import InferenceFailed
from mooring_runtime.frontends.http.messages import Reply, Request, Respond
from mooring_runtime.frontends.http.observed import Observed
from mooring_runtime.scheduling import Ticket
from mooring_runtime.scheduling.jobs import Run
from tests.support.serving import Line, Served, http

BODY = json.dumps(
    {"id": "7", "inputs": [{"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
).encode()
INFER = "/v2/models/echo/infer"
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    """Keeps what is told of each span."""

    traceparent = "00-11111111111111111111111111111111-2222222222222222-01"

    def __init__(self) -> None:
        self.told: list[object] = []

    def start(self, method: str, headers: Mapping[str, str]) -> "Spans":
        self.told.append((method, dict(headers)))
        return self

    def ran(self, model: str, version: str, waited: tuple[float, float], run: Run) -> None:
        assert waited[0] <= waited[1] == run.started
        self.told.append((model, version))

    def end(self, status: str, failed: bool) -> None:
        self.told.append((status, failed))


class Watching:
    """A whole front end whose requests are watched."""

    def __init__(self) -> None:
        self.served = Served()
        self.spans = Spans()
        self.observer = self.served.plane.observer = Observer(TraceSettings(None, list))
        self.requests: list[Request] = []
        self.line = Line(self.answer)

    def answer(self, request: Request, respond: Respond) -> Ticket | None:
        self.requests.append(request)
        return Observed(self.served.app, self.observer, self.spans.start)(request, respond)

    @property
    def watch(self) -> Watch:
        watch = self.requests[-1].watch
        assert watch is not None
        return watch


def test_model_and_id_are_known_at_the_end_and_the_span_has_its_parts() -> None:
    watching = Watching()
    watching.line.send(http("POST", INFER, BODY, {b"traceparent": PARENT}))
    assert watching.line.replies[0].status == 200
    assert (watching.watch.model, watching.watch.version, watching.watch.id) == ("echo", "1", "7")
    assert watching.spans.told == [("POST", {"traceparent": PARENT.decode()}), ("echo", "1"), ("200", False)]
    assert watching.watch.trace_id(PARENT) == "1" * 32


@pytest.mark.parametrize(
    ("target", "body", "model", "status"),
    [
        ("/v2/models/other/infer", BODY, "other", "404"),
        (INFER, b"{}", "echo", "400"),
        ("/v2/nothing", b"", "", "404"),
    ],
)
def test_what_is_refused_ends_its_span_too(target: str, body: bytes, model: str, status: str) -> None:
    watching = Watching()
    watching.line.send(http("POST", target, body))
    assert watching.watch.model == model
    assert watching.spans.told == [("POST", {}), (status, False)]
    assert watching.observer.current is None


def test_probes_are_in_no_trace() -> None:
    watching = Watching()
    watching.line.send(http("GET", "/v2/health/live"))
    assert watching.spans.told == []
    assert watching.watch.trace_id(PARENT) == PARENT.split(b"-")[1].decode()
    assert watching.watch.trace_id(b"nonsense") == ""


def test_a_fault_of_ours_is_a_failed_span_and_a_stream_ends_with_its_last_piece() -> None:
    spans = Spans()
    observer = Observer(TraceSettings(None, list))

    def failing(_request: Request, _respond: Respond) -> None:
        raise InferenceFailed("x")

    def streaming(_request: Request, respond: Respond) -> None:
        respond(Reply(200, (b"a",), more=True))
        assert len(spans.told) == 3
        respond(Reply(200, (b"b",)))

    for handler in (failing, streaming):
        Line(Observed(handler, observer, spans.start)).send(http("GET", "/"))
    assert spans.told == [("GET", {}), ("500", True), ("GET", {}), ("200", False)]
