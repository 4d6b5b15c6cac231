"""Everything that can go wrong and is foreseen, as one tree.

    MooringError
    ├── RequestError             one request fails: its HTTP status, its gRPC code, and why
    │   ├── InvalidRequest       400 INVALID_ARGUMENT:   the request itself is wrong
    │   │   ├── MalformedHttp    400                     the bytes are not HTTP/1.1
    │   │   ├── ModelRefused     400                     the model refused these tensors
    │   │   └── LoadFailed       400                     a model that a client asked to load cannot be loaded
    │   ├── UnknownModel         404 NOT_FOUND:          no such model or version
    │   ├── UnknownPath          404 UNIMPLEMENTED:      no such route
    │   ├── MethodNotAllowed     405 UNIMPLEMENTED:      the route takes other methods, told in `Allow`
    │   ├── RequestTimeout       408 DEADLINE_EXCEEDED:  head or body came too slowly
    │   ├── BodyTooLarge         413 RESOURCE_EXHAUSTED: the body passes the limit, before or after decompression
    │   ├── UnknownEncoding      415 UNIMPLEMENTED:      a Content-Encoding that is not understood
    │   ├── ExpectationFailed    417 INVALID_ARGUMENT:   an Expect other than 100-continue
    │   ├── HeadTooLarge         431 RESOURCE_EXHAUSTED: request line and headers pass the limit
    │   ├── Cancelled            499 CANCELLED:          the client left before its request ran
    │   ├── InferenceFailed      500 INTERNAL:           the model failed; the message says how
    │   ├── NotInRepository      500 INTERNAL:           a client asked for the load of a name that is not there
    │   ├── Unsupported          501 UNIMPLEMENTED:      this server or protocol has not what is asked for
    │   ├── DeadlineExceeded     504 DEADLINE_EXCEEDED:  the deadline that came with the call has passed
    │   ├── UnknownTransferCoding 501 UNIMPLEMENTED:     a Transfer-Encoding other than chunked
    │   ├── ControlDisabled      503 UNAVAILABLE:        the settings let no client load or unload models (as Triton)
    │   ├── SessionError         `errors.sessions` has this branch of the tree
    │   └── Unavailable          503 UNAVAILABLE:        try again after `retry_after` seconds
    │       ├── ModelNotReady         the model is loading, failed or stopping
    │       │   └── ModelAsleep       it was unloaded to make room and is being loaded again
    │       ├── QueueFull             as many requests wait as are allowed
    │       └── QueueTimeout          the request's own timeout passed while it waited
    └── FatalError               the process ends; `reason` goes into the pod's termination message
        ├── SettingsInvalid      a variable is wrong (exit code 2; every other: 1)
        ├── ModelNotFound        no model file where the settings say, or several
        ├── ModelInvalid         the file is there and cannot be served
        ├── UnsafeFormat         loading this format would run code from the file
        ├── DigestMismatch       the file is not the one that was asked for
        ├── DownloadFailed       the file could not be fetched
        ├── AccessDenied         the server wants other credentials
        ├── NotFound             the server has no such file
        ├── TooLarge             the file is larger than allowed
        ├── NoSpace              the disk is full
        ├── RedirectRefused      the server sent us where we do not go
        ├── AddressRefused       the host name leads to an address that is not fetched from
        ├── VolumeRefused        the sessions' directory is on a file system that cannot keep them
        ├── StoreLocked          another process has the sessions' volume
        ├── StoreInvalid         what is on the volume is no store of sessions, or is damaged
        ├── StoreTaken           another process has opened the volume beside us
        ├── StoreBroken          the volume fails: nobody knows what of the last commit is on disk
        ├── Wedged               the event loop stands still: a model blocks it
        └── WorkersFailed        a worker has ended again and again before it was ready

`cause` is the value of the label of `mooring_requests_rejected_total`; `reason` is read by the operator: both are API.
"""

# ruff: noqa: N818 - a class is named by what happened; thirty names that end in Error tell no more.

from typing import ClassVar, Literal

from mooring_runtime.errors.codes import GrpcCode

Applied = Literal["no", "yes", "unknown"]
"""Whether the step that a request asked for is in the state of its session."""


class MooringError(Exception):
    """The root; its text is meant for people, and is UTF-8 whatever it was made of."""

    def __init__(self, message: str) -> None:
        # A file's name or a model's own words may hold half surrogates, which neither JSON nor a page of metrics can
        # carry: the answer, or the whole page, would then fail wherever this text is in it.
        super().__init__(message.encode(errors="backslashreplace").decode())


class RequestError(MooringError):
    """One request fails, the server goes on."""

    http_status: ClassVar[int] = 500
    grpc_code: ClassVar[GrpcCode] = GrpcCode.INTERNAL
    cause: str = "internal"
    retry_after: int | None = None
    """Seconds that a client should wait; sent as `Retry-After`."""
    applied: Applied | None = None
    """Of a request for a step of a session: whether it was applied, where that is known here. All steps that share a
    run share its error, so nothing that differs between them may be written to it."""


class InvalidRequest(RequestError):
    """The request is not one that this server or this model can answer."""

    http_status = 400
    grpc_code = GrpcCode.INVALID_ARGUMENT
    cause = "invalid"


class MalformedHttp(InvalidRequest):
    """The bytes are not HTTP/1.1."""


class ModelRefused(InvalidRequest):
    """The backend refused the tensors: a size that only the model's graph knows does not fit."""


class LoadFailed(InvalidRequest):
    """A client asked for a load, and the model, its configuration or its files cannot be loaded."""

    cause = "load"


class UnknownModel(RequestError):
    """No model, or no version of it, has this name."""

    http_status = 404
    grpc_code = GrpcCode.NOT_FOUND
    cause = "unknown_model"


class UnknownPath(RequestError):
    """No route has this path."""

    http_status = 404
    grpc_code = GrpcCode.UNIMPLEMENTED
    cause = "unknown_path"


class MethodNotAllowed(RequestError):
    """The path exists with other methods; `allowed` lists them as the `Allow` header wants it."""

    http_status = 405
    grpc_code = GrpcCode.UNIMPLEMENTED
    cause = "method"

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class RequestTimeout(RequestError):
    """The client took too long to send its request."""

    http_status = 408
    grpc_code = GrpcCode.DEADLINE_EXCEEDED
    cause = "timeout"


class BodyTooLarge(RequestError):
    """The body is larger than the settings allow."""

    http_status = 413
    grpc_code = GrpcCode.RESOURCE_EXHAUSTED
    cause = "too_large"


class UnknownEncoding(RequestError):
    """The body is compressed in a way that is not understood."""

    http_status = 415
    grpc_code = GrpcCode.UNIMPLEMENTED
    cause = "encoding"


class ExpectationFailed(RequestError):
    """The client expects something other than 100-continue."""

    http_status = 417
    grpc_code = GrpcCode.INVALID_ARGUMENT
    cause = "expectation"


class HeadTooLarge(RequestError):
    """Request line and headers are larger than the settings allow."""

    http_status = 431
    grpc_code = GrpcCode.RESOURCE_EXHAUSTED
    cause = "too_large"


class Cancelled(RequestError):
    """The client hung up while its request waited; nobody reads this answer."""

    http_status = 499
    grpc_code = GrpcCode.CANCELLED
    cause = "cancelled"


class InferenceFailed(RequestError):
    """The model raised while it ran; the text is the backend's own."""

    http_status = 500
    cause = "backend"


class NotInRepository(RequestError):
    """A client asked to load a name of which the repository has no directory."""

    cause = "load"


class UnknownTransferCoding(RequestError):
    """The body is framed in a way that is not understood."""

    http_status = 501
    grpc_code = GrpcCode.UNIMPLEMENTED
    cause = "encoding"


class Unsupported(RequestError):
    """This server, or this protocol, has not what is asked for; to wait changes nothing."""

    http_status = 501
    grpc_code = GrpcCode.UNIMPLEMENTED
    cause = "unsupported"


class ControlDisabled(RequestError):
    """Models are loaded and unloaded by the settings only; to wait changes nothing, so there is no Retry-After."""

    http_status = 503
    grpc_code = GrpcCode.UNAVAILABLE
    cause = "control"


class Unavailable(RequestError):
    """Not now; the same request may succeed in a moment."""

    http_status = 503
    grpc_code = GrpcCode.UNAVAILABLE
    cause = "unavailable"
    retry_after = 1


class ModelNotReady(Unavailable):
    """The model is not loaded, or no longer."""

    cause = "not_ready"


class ModelAsleep(ModelNotReady):
    """The model was unloaded to make room for others; this request has begun to load it again."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Unavailable):
    """The bound of waiting and running requests is reached."""

    cause = "queue_full"


class DeadlineExceeded(RequestError):
    """The deadline that came with the call has passed; nobody waits for this answer any more."""

    http_status = 504
    grpc_code = GrpcCode.DEADLINE_EXCEEDED
    cause = "timeout"


class QueueTimeout(Unavailable):
    """The timeout that the client set passed before its request could run."""

    cause = "timeout"


class FatalError(MooringError):
    """The process cannot do its work and ends."""

    reason: ClassVar[str] = "Failed"
    exit_code: ClassVar[int] = 1


class SettingsInvalid(FatalError):
    """An environment variable is missing or wrong."""

    reason = "SettingsInvalid"
    exit_code = 2


class ModelNotFound(FatalError):
    """There is no model file, or more than one."""

    reason = "ModelNotFound"


class ModelInvalid(FatalError):
    """The model file cannot be loaded or served."""

    reason = "ModelInvalid"


class UnsafeFormat(FatalError):
    """To load this file is to run code that it carries."""

    reason = "UnsafeFormat"


class DigestMismatch(FatalError):
    """The bytes are not those whose digest was given."""

    reason = "DigestMismatch"


class DownloadFailed(FatalError):
    """The file could not be fetched; trying again may help."""

    reason = "DownloadFailed"


class AccessDenied(FatalError):
    """The server answered 401 or 403."""

    reason = "AccessDenied"


class NotFound(FatalError):
    """The server answered 404 or 410."""

    reason = "NotFound"


class TooLarge(FatalError):
    """The file passes MOORING_MAX_MODEL_BYTES."""

    reason = "TooLarge"


class NoSpace(FatalError):
    """The file does not fit on the volume."""

    reason = "NoSpace"


class RedirectRefused(FatalError):
    """A redirect that is not followed: another scheme, too many, or none told."""

    reason = "RedirectRefused"


class AddressRefused(FatalError):
    """The host resolves to an address of this machine, of the cloud's metadata service, or to no single host."""

    reason = "AddressRefused"


class VolumeRefused(FatalError):
    """Sessions cannot be kept in this directory."""

    reason = "VolumeRefused"


class StoreLocked(FatalError):
    """Another process has the volume, and we do not wait for it."""

    reason = "StoreLocked"


class StoreInvalid(FatalError):
    """There is something else on the volume, or less, than was put there."""

    reason = "StoreInvalid"


class StoreTaken(FatalError):
    """Another process has opened the volume while we had it: from now on it alone writes."""

    reason = "StoreTaken"


class StoreBroken(FatalError):
    """The volume failed in the middle of a commit; only reading it anew tells what is on it."""

    reason = "StoreBroken"


class Wedged(FatalError):
    """The event loop has not turned for as long as a run may take."""

    reason = "Wedged"


class WorkersFailed(FatalError):
    """One of several workers dies before it is ready, whatever is tried."""

    reason = "WorkersFailed"
