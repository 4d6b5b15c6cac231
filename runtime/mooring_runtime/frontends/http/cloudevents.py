"""CloudEvents 1.0 around KServe's V1: a request that comes as an event is answered by one of the same mode.

Binary mode: the attributes are `ce-` headers and the body is the data. Structured mode: the body is a JSON object of
the attributes, with the data under `data`, and its Content-Type says so.
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import orjson

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.http.messages import JSON, Reply, Request

STRUCTURED = b"application/cloudevents+json"
_VERSION = "1.0"


class CloudEvent:
    """The event that a request is; see `of`."""

    def __init__(self, *, structured: bool) -> None:
        self._structured = structured

    @staticmethod
    def of(request: Request) -> "CloudEvent | None":
        """The event that a request is; None when it is none."""
        headers = request.headers
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == STRUCTURED:
            return CloudEvent(structured=True)
        return CloudEvent(structured=False) if b"ce-specversion" in headers else None

    def data(self, document: Any) -> Any:
        """The data in the JSON of a body. Raises InvalidRequest for a structured event without any."""
        if not self._structured:
            return document
        if type(document) is not dict or "data" not in document or "specversion" not in document:
            raise InvalidRequest("the body says that it is a CloudEvent, but has no `specversion` or no `data`")
        return document["data"]

    def answer(self, model: str, body: bytes) -> Reply:
        """The JSON of an answer as an event whose source is the model."""
        attributes = {
            "specversion": _VERSION,
            "id": str(uuid4()),
            "source": f"io.kserve.inference.{quote(model)}",
            "type": "io.kserve.inference.response",
            "time": datetime.now(UTC).isoformat(),
        }
        if not self._structured:
            headers = tuple((f"ce-{name}".encode(), value.encode()) for name, value in attributes.items())
            return Reply(200, (body,), JSON, headers)
        head = "".join(f'"{name}":{_quoted(value)},' for name, value in attributes.items())
        return Reply(200, (b"{", head.encode(), b'"data":', body, b"}"), STRUCTURED)


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
