"""What can go wrong with the API server.

KubeError              any answer that is not a success
  NotFoundError        404: the object, or its kind, is not there
  ConflictError        409: it exists already, is another one, or changed meanwhile
  ForbiddenError       403: a rule of RBAC or of admission refuses it; a person must act
  InvalidError         400, 422 and a manifest that the server cannot type: trying again cannot help
  UnauthorizedError    401: the token is not accepted
  UnavailableError     429, 5xx or no answer at all: it will mend
  LeftoverError        the child of a deleted service of the same name is still there: it goes within seconds
OwnerGoneError         the service was deleted while its children were about to be made

`backoff_limit` (seconds) bounds how long the queue waits before it tries again.
"""

from typing import Any


class KubeError(Exception):
    """The API server did not do what was asked."""

    backoff_limit = 300.0

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after: float | None = None
        """Seconds that the server asked us to wait."""

    def __str__(self) -> str:
        return f"{self.status or 'no answer'} {self.reason}: {self.message}"


class NotFoundError(KubeError):
    """The object, or its kind, is not there."""


class ConflictError(KubeError):
    """It exists already, is another one, or changed meanwhile."""


class LeftoverError(ConflictError):
    """A child of a deleted service of the same name still stands; garbage collection removes it."""

    backoff_limit = 2.0


class ForbiddenError(KubeError):
    """RBAC or admission refuses it."""


class InvalidError(KubeError):
    """The object is wrong; trying again cannot help."""


class UnauthorizedError(KubeError):
    """The token is not accepted."""

    backoff_limit = 5.0


class UnavailableError(KubeError):
    """The server is overloaded, restarting or unreachable."""

    backoff_limit = 2.0
    """After an outage all keys wait; a longer bound would leave changes unseen for long after the server's return."""


class OwnerGoneError(Exception):
    """The service was deleted while its children were about to be made."""


_BY_STATUS: dict[int, type[KubeError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidError,
    429: UnavailableError,
}


def from_answer(status: int, body: dict[str, Any], what: str) -> KubeError:
    """Return the error for an HTTP status and the `Status` object in its body; `what` names the request."""
    reason = str(body.get("reason") or "")
    message = str(body.get("message") or "no message")
    kind = _BY_STATUS.get(status, UnavailableError if status >= 500 else KubeError)
    if status == 500 and "failed to create typed patch object" in message:
        kind = InvalidError  # unknown field or two list items with one key: permanent, for all that it says 500
    error = kind(status, reason or kind.__name__, f"cannot {what}: {message}")
    seconds = (body.get("details") or {}).get("retryAfterSeconds")
    error.retry_after = float(seconds) if seconds else None
    return error
