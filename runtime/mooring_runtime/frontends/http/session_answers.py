"""What other replicas have answered to a request for /v2/sessions that they were asked on behalf of a client. Pure."""

from typing import Any

import orjson

from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.frontends.http.messages import JSON, Reply
from mooring_runtime.sessions.administration import Told
from mooring_runtime.sessions.listing import Page, Row


def passed_back(told: Told) -> Reply:
    """The same answer, for the client."""
    retry = ((b"Retry-After", b"1"),) if told.status == SessionUnavailable.http_status else ()
    return Reply(told.status, (told.body,), told.content_type.encode(), retry, as_is=True)


def document_of(told: Told) -> dict[str, Any]:
    """The JSON object of an answer. Raises SessionUnavailable."""
    try:
        document = orjson.loads(told.body) if told.content_type.encode() == JSON else None
    except orjson.JSONDecodeError:
        document = None
    if type(document) is not dict:
        raise SessionUnavailable(f"another replica answers {told.status} with what is no JSON object", "owner-down")
    return document


def page_of(answer: Page | Told | BaseException) -> Page:
    """The page that a replica has answered with. Raises RequestError where it has not."""
    if isinstance(answer, BaseException):
        raise answer
    if isinstance(answer, Page):
        return answer
    document = document_of(answer)
    if answer.status != 200:
        raise SessionUnavailable(f"it answers {answer.status}: {document.get('error')}", "owner-down")
    try:
        # A newer version may tell more than this one knows.
        rows = tuple(Row(**{name: row[name] for name in Row.__slots__}) for row in document["sessions"])
        return Page(rows, document["next_page_token"] is not None)
    except (KeyError, TypeError) as error:
        raise SessionUnavailable(f"it answers what this version does not understand: {error}", "owner-down") from None
