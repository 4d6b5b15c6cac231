"""The routes of the metrics port."""

from collections.abc import Callable

from mooring_runtime.frontends.http.messages import Reply, Request, Respond
from mooring_runtime.frontends.http.router import Router


class MetricsHandler:
    """Answers /metrics with what `render` makes for a header `Accept`: the page and its content type."""

    def __init__(self, render: Callable[[str], tuple[bytes, str]]) -> None:
        self._router = Router(("GET", "/metrics", render))

    def __call__(self, request: Request, respond: Respond) -> None:
        """Answer one request. Raises RequestError for what has no route."""
        render = self._router.find(request.method, request.target).handler
        page, content_type = render(request.headers.get(b"accept", b"").decode("latin-1"))
        respond(Reply(200, (page,), content_type.encode()))
