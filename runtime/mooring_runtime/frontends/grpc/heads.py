"""What the headers of a gRPC request ask for. Pure."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mooring_runtime.errors import DeadlineExceeded, InvalidRequest, RequestError, UnknownEncoding, UnknownPath
from mooring_runtime.errors.sessions import BadSession
from mooring_runtime.frontends.grpc import headers
from mooring_runtime.frontends.grpc.envelopes import WINDOW_BITS
from mooring_runtime.frontends.grpc.field_table import Fields
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import SessionCall

if TYPE_CHECKING:
    from mooring_runtime.frontends.grpc.calls import Method

_TIMEOUT_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class Head:
    """What a request's headers say; made once for many equal ones, so nobody changes it."""

    __slots__ = ("encoding", "metadata", "method", "path", "quick", "refusal", "session", "timeout")

    def __init__(self, path: bytes, method: "Method | None", metadata: Mapping[bytes, bytes]) -> None:
        self.path = path
        self.method = method
        self.metadata = metadata
        self.encoding = metadata.get(b"grpc-encoding", b"identity")
        self.timeout: float | None = None
        """Seconds that the client gives the call."""
        self.refusal: RequestError | int | None = None
        """Why the call cannot be taken: an error of gRPC, or the HTTP status where the client does not speak gRPC."""
        self.quick = False
        """One message in, one out, and nothing speaks against it."""
        self.session: SessionCall | None = None
        """What the metadata say of a session."""


def read(fields: Fields, methods: "Mapping[bytes, Method]") -> Head:
    """What a request asks for, by the paths of `methods`. Raises StreamFault for what is no HTTP/2."""
    pseudo, metadata = headers.check(fields)
    path = pseudo[b":path"]
    head = Head(path, methods.get(path), metadata)
    kind = metadata.get(b"content-type", b"")
    if pseudo[b":method"] != b"POST":
        head.refusal = 405
    elif not re.match(rb"application/grpc(?:[+;]|$)", kind):
        head.refusal = 415
    elif head.method is None:
        head.refusal = UnknownPath(f"this server has no method {path.decode('latin-1')}")
    elif head.encoding not in {b"identity", *WINDOW_BITS}:
        head.refusal = UnknownEncoding(
            f"grpc-encoding is {head.encoding.decode('latin-1')}; this server reads identity, gzip and deflate"
        )
    elif (timeout := metadata.get(b"grpc-timeout")) is not None:
        matched = re.fullmatch(rb"([0-9]{1,8})([HMSmun])", timeout)
        if matched is None:
            head.refusal = InvalidRequest(f"grpc-timeout is {timeout.decode('latin-1')}, which is no duration")
        else:
            head.timeout = int(matched[1]) * _TIMEOUT_UNITS[matched[2]]
            if not head.timeout:
                head.refusal = DeadlineExceeded("the deadline of the call had passed when it came: grpc-timeout is 0")
    if head.refusal is None:
        try:
            head.session = _session(head)
        except BadSession as error:
            head.refusal = error
    head.quick = head.refusal is None and head.method is not None and head.method.unary is not None
    return head


def _session(head: Head) -> SessionCall | None:
    """What the metadata say of a session. Of a call of many messages they may say which one is meant, but nothing that
    is true of one step alone. Raises BadSession.
    """
    call = sessions.from_headers(head.metadata)
    many = head.method is not None and head.method.unary is None
    if many and call is not None and call != SessionCall(call.id, incarnation=call.incarnation):
        raise BadSession(
            "the metadata of a stream hold for all of its requests: name a new session, a step, a start or an end in "
            "the parameters of the request that is meant"
        )
    return call
