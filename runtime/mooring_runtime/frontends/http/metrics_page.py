"""The routes of the metrics port: the page, and V2's health.

Probes may come here where the clients' ports are not for them: because those want a client's certificate, or because
several workers share them and a probe should ask for all.
"""

from collections.abc import Callable

from mooring_runtime.frontends.http.messages import Reply, Request, Respond, json_reply
from mooring_runtime.frontends.http.router import Router

WhyNot = Callable[[], str | None]
"""The sentence that says why not; None when it is so."""


class MetricsHandler:
    """Answers /metrics with what `render` makes for a header `Accept`: the page and its content type."""

    def __init__(self, render: Callable[[str], tuple[bytes, str]], not_live: WhyNot, not_ready: WhyNot) -> None:
        self._render = render
        self._not_live = not_live
        self._not_ready = not_ready
        self._router: Router[Callable[[Request], Reply]] = Router(
            ("GET", "/metrics", self._metrics),
            ("GET", "/v2/health/live", lambda _: health("live", self._not_live())),
            ("GET", "/v2/health/ready", lambda _: health("ready", self._not_ready())),
        )

    def __call__(self, request: Request, respond: Respond) -> None:
        """Answer one request. Raises RequestError for what has no route."""
        respond(self._router.find(request.method, request.target).handler(request))

    def _metrics(self, request: Request) -> Reply:
        page, content_type = self._render(request.headers.get(b"accept", b"").decode("latin-1"))
        return Reply(200, (page,), content_type.encode())


def health(word: str, reason: str | None) -> Reply:
    """V2's answer to a probe: `{word: true}`, or 503 with the reason. It is JSON, as KServe's client wants."""
    if reason is None:
        return json_reply(200, {word: True})
    return json_reply(503, {word: False, "error": f"not {word}: {reason}"})
