"""gRPC calls that are watched: for the access log, and as spans of a trace. See `frontends.http.observed`."""

import logging
import time
from collections.abc import Callable, Mapping

from mooring_runtime.dataplane.observer import Observer, Start, Watch
from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.frontends.grpc.calls import Call, Conversation, Method
from mooring_runtime.scheduling import Ticket
from mooring_runtime.settings.logs import ACCESS

access = logging.getLogger(ACCESS)

_CONTEXT = (b"traceparent", b"tracestate")
_QUIET = ("/ServerLive", "/ServerReady", "/Check", "/Watch")
"""Probes are no part of anybody's trace."""
_OURS = frozenset({GrpcCode.INTERNAL, GrpcCode.UNKNOWN, GrpcCode.UNAVAILABLE, GrpcCode.DEADLINE_EXCEEDED})
"""Codes that tell of a fault which is not the client's."""


class CallWatch(Watch):
    """A call that is watched; a conversation is one, whatever requests it carries."""

    __slots__ = ("began", "received", "sent")

    def __init__(self) -> None:
        super().__init__()
        self.began = time.perf_counter()
        self.received = self.sent = 0
        """Bytes of messages, with the five before each."""


class ObservedCalls:
    """Watches calls; `start` is None where no spans are wanted, `logged` says whether each call is logged."""

    def __init__(self, observer: Observer, start: Start | None, *, logged: bool) -> None:
        self._observer = observer
        self._start = start
        self._logged = logged

    def around(self, methods: Mapping[bytes, Method]) -> dict[bytes, Method]:
        """The same methods, their calls watched."""
        return {path: self._method(method) for path, method in methods.items()}

    def _method(self, method: Method) -> Method:
        unary, converse = method.unary, method.converse
        if unary is not None:
            return method._replace(unary=self._unary(unary))
        if converse is not None:
            return method._replace(converse=self._converse(converse))
        return method

    def _unary(self, unary: Callable[[Call, bytes], Ticket | None]) -> Callable[[Call, bytes], Ticket | None]:
        def observed(call: Call, message: bytes) -> Ticket | None:
            watch = self._begin(call)
            watch.received = len(message)
            self._observer.current = watch
            try:
                return unary(call, message)
            finally:
                self._observer.current = None

        return observed

    def _converse(self, converse: Callable[[Call], Conversation]) -> Callable[[Call], Conversation]:
        def observed(call: Call) -> Conversation:
            self._begin(call)
            return converse(call)

        return observed

    def _begin(self, call: Call) -> CallWatch:
        watch = call.watch = CallWatch()
        if self._start is not None and not call.head.path.decode("latin-1").endswith(_QUIET):
            metadata = call.head.metadata
            headers = {name.decode(): value.decode("latin-1") for name in _CONTEXT if (value := metadata.get(name))}
            watch.span = self._start(call.name, headers)
        return watch

    def ended(self, call: Call, code: GrpcCode) -> None:
        """A call is over; what `App.log_call` is."""
        watch = call.watch
        if watch is not None and watch.span is not None:
            watch.span.end(code.name, code in _OURS)
        if self._logged:
            _log(call, code, watch or CallWatch())


def _log(call: Call, code: GrpcCode, watch: CallWatch) -> None:
    path = call.head.path.decode("latin-1")
    told = call.head.metadata.get(b"x-request-id")
    access.info(
        "%s %s",
        path,
        code.name,
        extra={
            "protocol": "grpc",
            "method": call.name,
            "path": path,
            "status": code.name,
            "bytes_in": watch.received or call.total,
            "bytes_out": watch.sent,
            "seconds": round(time.perf_counter() - watch.began, 6),
            "client": call.connection.peer.removeprefix("::ffff:"),
            "model": watch.model,
            "request_id": told.decode("latin-1") if told else watch.id,
            "trace_id": watch.trace_id(call.head.metadata.get(b"traceparent", b"")),
        },
    )
