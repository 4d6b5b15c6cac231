import json

from mooring_runtime.frontends.http.metrics_page import MetricsHandler
from mooring_runtime.metrics import MetricsPage, render
from tests.support.serving import Line, http


def port(not_live: str | None = None, not_ready: str | None = None) -> Line:
    page = MetricsPage()
    page.add("m", "1")
    return Line(MetricsHandler(lambda accept: render(page.page(), accept), lambda: not_live, lambda: not_ready))


def test_the_page_and_nothing_of_the_protocols() -> None:
    line = port()
    line.send(http("GET", "/metrics") + http("GET", "/v2"))
    assert [reply.status for reply in line.replies] == [200, 404]
    assert line.replies[0].content_type == b"text/plain; version=0.0.4; charset=utf-8"
    assert b"mooring_requests_received_total" in line.replies[0].body[0]


def test_who_asks_for_openmetrics_gets_it() -> None:
    line = port()
    line.send(b"GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n")
    assert line.replies[0].content_type.startswith(b"application/openmetrics-text")
    assert bytes(line.replies[0].body[0]).endswith(b"# EOF\n")


def test_probes_may_come_here() -> None:
    line = port(None, "model 'm' is loading")
    line.send(http("GET", "/v2/health/live") + http("GET", "/v2/health/ready"))
    live, ready = line.replies
    assert (live.status, json.loads(bytes(live.body[0]))) == (200, {"live": True})
    assert (ready.status, json.loads(bytes(ready.body[0]))) == (
        503,
        {"ready": False, "error": "not ready: model 'm' is loading"},
    )
    stuck = port("model 'm' hangs")
    stuck.send(http("GET", "/v2/health/live"))
    assert (stuck.replies[0].status, json.loads(bytes(stuck.replies[0].body[0]))["error"]) == (
        503,
        "not live: model 'm' hangs",
    )
