"""A client of /v2/sessions, with the standard library alone."""

import http.client
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

TIMEOUT = 60.0
"""Seconds; an answer that takes longer is an error of the network."""
UNAUTHORIZED = 403


class Failed(Exception):  # noqa: N818 - named by what happened, as in `errors`
    """What was asked for cannot be had; the text says why, for people."""


class Api:
    """Of one server. Every method blocks, and raises Failed."""

    def __init__(self, server: str, token: str | None, ca_file: Path | None = None) -> None:
        parts = urlsplit(server)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Failed(f"--server is '{server}': it must be like http://127.0.0.1:8000")
        try:
            port = parts.port
            context = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
        except (ValueError, OSError) as error:
            raise Failed(f"cannot ask {server}: {error}") from None
        self._server = server
        self._base = parts.path.rstrip("/")
        self._token = token
        self._connection = (
            http.client.HTTPConnection(parts.hostname, port, timeout=TIMEOUT)
            if context is None
            else http.client.HTTPSConnection(parts.hostname, port, timeout=TIMEOUT, context=context)
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def json(self, method: str, path: str, parameters: Mapping[str, str | None], body: object = None) -> Any:
        """The JSON of an answer; parameters that are None are left out."""
        answer = self.bytes(method, path, parameters, None if body is None else orjson.dumps(body))
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise Failed(f"{self._server} answers {path} with what is no JSON: it is no server of Mooring") from None

    def bytes(self, method: str, path: str, parameters: Mapping[str, str | None], body: bytes | None = None) -> bytes:
        """The body of an answer."""
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        try:
            self._connection.request(method, f"{self._base}{path}{'?' if query else ''}{query}", body, headers)
            reply = self._connection.getresponse()
            answer = reply.read()
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a token that is no header.
            raise Failed(f"cannot ask {self._server}: {str(error) or type(error).__name__}") from None
        if reply.status >= 400:
            raise Failed(_told(reply.status, answer, with_token=self._token is not None))
        return answer


def path_of(session: str, word: str = "") -> str:
    """The path of a session, or of what is done to it."""
    return f"/v2/sessions/{quote(session, safe='')}{'/' if word else ''}{word}"


def _told(status: int, answer: bytes, *, with_token: bool) -> str:
    try:
        document = orjson.loads(answer)
        text = f"{document['error']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"the server answers {status}: {answer[:200].decode(errors='replace')}"
    cause = document.get("cause")
    hint = "; set MOORING_SESSION_TOKEN" if status == UNAUTHORIZED and not with_token else ""
    return f"{text}{f' ({cause})' if cause else ''}{hint}"
