"""The routes of the metrics port."""

from collections.abc import Callable

from mooring_runtime.frontends.http.messages import Reply, Request, Respond
from mooring_runtime.frontends.http.router import Router


class MetricsHandler:
    """Answers /metrics with the page that `render` makes, of the type `content_type`."""

    def __init__(self, render: Callable[[], bytes], content_type: str) -> None:
        self._render = render
        self._content_type = content_type.encode()
        self._router = Router(("GET", "/metrics", render))

    def __call__(self, request: Request, respond: Respond) -> None:
        """Answer one request. Raises RequestError for what has no route."""
        page = self._router.find(request.method, request.target).handler()
        respond(Reply(200, (page,), self._content_type))
