"""What the router itself answers: JSON as of the replicas, trailers of the same meaning over gRPC.

`applied: no` is promised only where no byte of the request was sent. What broke off after that is `unknown`: a client
that numbers its steps sends it again, any other asks where its session stands.
"""

from .model import Document

NOT_SENT = ("UF", "UH", "UO", "NC", "OM")
"""Flags of requests that reached no replica: no connection, no host, too many requests, no cluster, overload."""
SENT = ("UC", "UR", "LR", "UT", "UPE", "SI", "DT", "UMSDR")
"""Flags of requests that broke off after they were sent, or while they were."""
FAILURES = (*NOT_SENT, *SENT, "DPE")
"""Flags of all that fails here; the last one are clients who do not keep to the protocol."""
RETRY_SECONDS = 1

OWNER_DOWN = "owner-down"
OUTCOME_UNKNOWN = "outcome-unknown"
_GRPC = {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}


def replies() -> Document:
    """Return the `LocalReplyConfig`; the first mapper that fits decides."""
    unknown = "the connection to the replica broke before it had answered: whether the request was applied is not known"
    down = "no replica could be reached: nothing was done, try again"
    return {
        "mappers": [
            *_mappers(SENT, (504, 4), OUTCOME_UNKNOWN, "unknown", unknown),
            *_mappers(NOT_SENT, (503, 14), OWNER_DOWN, "no", down),
        ],
        # What a client did wrong before anything was sent, in Envoy's own words.
        "body_format": {"json_format": {"error": "%LOCAL_REPLY_BODY%", "cause": "invalid", "applied": "no"}},
    }


def _mappers(flags: tuple[str, ...], status: tuple[int, int], cause: str, applied: str, text: str) -> list[Document]:
    http, grpc = status
    flagged: Document = {"response_flag_filter": {"flags": list(flags)}}
    called = {"header_filter": _GRPC}
    told = {"mooring-cause": cause, "mooring-applied": applied}
    retry = {"retry-after": str(RETRY_SECONDS)} if applied == "no" else {}
    return [
        {
            "filter": {"and_filter": {"filters": [flagged, called]}},
            "headers_to_add": [_header(*each) for each in {**told, "grpc-status": str(grpc)}.items()],
            "body_format_override": {"text_format_source": {"inline_string": text}},
        },
        {
            "filter": flagged,
            "status_code": http,
            "headers_to_add": [_header(*each) for each in retry.items()],
            "body_format_override": {"json_format": {"error": text, "cause": cause, "applied": applied}},
        },
    ]


def _header(name: str, value: str) -> Document:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
