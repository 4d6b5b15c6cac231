"""A handler whose requests are watched: for the access log, and as spans of a distributed trace.

It stands around the handler of all protocols, and only where one of the two was asked for.
"""

import logging

from mooring_runtime.dataplane.observer import Observer, Span, Start, Watch
from mooring_runtime.errors import RequestError
from mooring_runtime.frontends.http.messages import Handler, Reply, Request, Respond
from mooring_runtime.scheduling import Ticket
from mooring_runtime.settings.logs import ACCESS

access = logging.getLogger(ACCESS)

_CONTEXT = (b"traceparent", b"tracestate")
_QUIET = b"/v2/health/"
"""Probes are no part of anybody's trace."""


class Observed:
    """Watches the requests that `handler` answers; `start` is None where no spans are wanted."""

    def __init__(self, handler: Handler, observer: Observer, start: Start | None) -> None:
        self._handler = handler
        self._observer = observer
        self._start = start

    def __call__(self, request: Request, respond: Respond) -> Ticket | None:
        """Answer one request. Raises RequestError as the handler does."""
        watch = request.watch = Watch()
        span = watch.span = self._span(request)
        self._observer.current = watch
        try:
            if span is None:
                return self._handler(request, respond)
            return self._handler(request, _ending(span, respond))
        except RequestError as error:
            if span is not None:
                span.end(str(error.http_status), error.http_status >= 500)
            raise
        finally:
            self._observer.current = None

    def _span(self, request: Request) -> Span | None:
        if self._start is None or _QUIET in request.target:
            return None
        headers = {name.decode(): value.decode("latin-1") for name in _CONTEXT if (value := request.headers.get(name))}
        return self._start(request.method.decode("latin-1"), headers)


def _ending(span: Span, respond: Respond) -> Respond:
    """`respond` that also ends the span, with the last piece of the answer."""

    def answer(reply: Reply) -> None:
        respond(reply)
        if not reply.more:
            span.end(str(reply.status), reply.status >= 500)

    return answer


def log_access(request: Request, status: int, size: int, seconds: float, client: str) -> None:
    """Write the line of a request: its answer had `size` bytes and took `seconds`."""
    watch = request.watch or Watch()
    told = request.headers.get(b"x-request-id")
    method, target = request.method.decode("latin-1"), request.target.decode("latin-1")
    access.info(
        "%s %s %d",
        method,
        target,
        status,
        extra={
            "protocol": "http",
            "method": method,
            "path": target,
            "status": status,
            "bytes_in": len(request.body),
            "bytes_out": size,
            "seconds": round(seconds, 6),
            "client": client.removeprefix("::ffff:"),
            "model": watch.model,
            "request_id": told.decode("latin-1") if told else watch.id,
            "trace_id": watch.trace_id(request.headers.get(b"traceparent", b"")),
        },
    )
