"""What a request for a session can be told, and whether its step was applied: the table of `docs/sessions.md`.

RequestError
├── BadSession          400 INVALID_ARGUMENT      bad-session, bad-step, reserved-id
├── SessionsForbidden   403 PERMISSION_DENIED     forbidden: /v2/sessions is not for who asks
├── UnknownSession      404 NOT_FOUND             unknown: proved, never guessed
├── SessionConflict     409 FAILED_PRECONDITION   gap (with `expected`), mismatch, exists, rewound
├── ReplyGone           409 ALREADY_EXISTS        reply-gone: applied earlier, its reply is no longer kept
├── SessionGone         410 FAILED_PRECONDITION   ended, expired, evicted, restarted, maybe-lost
├── SessionUnavailable  503 UNAVAILABLE           owner-down, moving, search, stranded, no-membership, volume-replaced,
│                                                 version-missing, quarantined
├── OutcomeUnknown      504 DEADLINE_EXCEEDED     outcome-unknown: begun, and its end was lost
└── SessionRefused      507 RESOURCE_EXHAUSTED    volume-full, session-too-big, too-many-sessions
"""

# ruff: noqa: N818 - as in the tree that this is a branch of.

from typing import ClassVar

from mooring_runtime.errors import Applied, RequestError
from mooring_runtime.errors.codes import GrpcCode


class SessionError(RequestError):
    """A step, or another request about a session, that is not answered by the model.

    `cause` is for programs; `session` and `step` tell what it is about where that is known; `expected` is the number
    that the next step must have.
    """

    causes: ClassVar[tuple[str, ...]] = ()
    """Those of the class; the first one is its default."""
    applied: Applied = "no"

    def __init__(
        self,
        message: str,
        cause: str | None = None,
        *,
        session: str | None = None,
        step: int | None = None,
        expected: int | None = None,
    ) -> None:
        super().__init__(message)
        assert cause is None or cause in self.causes, cause
        self.cause = cause or self.causes[0]
        self.session = session
        self.step = step
        self.expected = expected


class BadSession(SessionError):
    """The request names its session or its step in a way that cannot be meant."""

    http_status = 400
    grpc_code = GrpcCode.INVALID_ARGUMENT
    causes = ("bad-session", "bad-step", "reserved-id")


class SessionsForbidden(SessionError):
    """The API of sessions is not open to who asks."""

    http_status = 403
    grpc_code = GrpcCode.PERMISSION_DENIED
    causes = ("forbidden",)


class UnknownSession(SessionError):
    """There is no such session anywhere."""

    http_status = 404
    grpc_code = GrpcCode.NOT_FOUND
    causes = ("unknown",)


class SessionConflict(SessionError):
    """The session is not where the request supposes it."""

    http_status = 409
    grpc_code = GrpcCode.FAILED_PRECONDITION
    causes = ("gap", "mismatch", "exists", "rewound")


class ReplyGone(SessionError):
    """The step was applied, and its reply is no longer kept."""

    http_status = 409
    grpc_code = GrpcCode.ALREADY_EXISTS
    causes = ("reply-gone",)
    applied: Applied = "yes"


class SessionGone(SessionError):
    """The session has ended."""

    http_status = 410
    grpc_code = GrpcCode.FAILED_PRECONDITION
    causes = ("ended", "expired", "evicted", "restarted", "maybe-lost")


class SessionUnavailable(SessionError):
    """Nothing was done; the same request may succeed in a moment."""

    http_status = 503
    grpc_code = GrpcCode.UNAVAILABLE
    retry_after = 1
    causes = (
        "owner-down",
        "moving",
        "search",
        "stranded",
        "no-membership",
        "volume-replaced",
        "version-missing",
        "quarantined",
    )


class OutcomeUnknown(SessionError):
    """The step was passed on or had begun, and then its end was lost: it is applied once, or not at all."""

    http_status = 504
    grpc_code = GrpcCode.DEADLINE_EXCEEDED
    causes = ("outcome-unknown",)
    applied: Applied = "unknown"


class SessionRefused(SessionError):
    """There is no room for it. What was acknowledged stays."""

    http_status = 507
    grpc_code = GrpcCode.RESOURCE_EXHAUSTED
    causes = ("volume-full", "session-too-big", "too-many-sessions")
