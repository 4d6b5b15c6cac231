"""The HTTP port: the tables of all protocols, joined in one place."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from mooring_runtime import __version__
from mooring_runtime.frontends.http.messages import Reply, Request, Respond, json_reply
from mooring_runtime.frontends.http.router import Found, Router
from mooring_runtime.frontends.http.sagemaker import SageMaker
from mooring_runtime.frontends.http.services import Answer, Route, Services
from mooring_runtime.frontends.http.session_paths import NoSessions
from mooring_runtime.frontends.http.torchserve import TorchServe
from mooring_runtime.frontends.http.v1 import V1
from mooring_runtime.frontends.http.v2 import V2
from mooring_runtime.frontends.http.v2_admin import V2Admin
from mooring_runtime.scheduling import Ticket


class Table(Protocol):
    """The routes of one protocol."""

    def routes(self) -> list[Route]:
        """The table."""


def _sessions(services: Services) -> Table:
    if services.sessions is None:
        return NoSessions()
    from mooring_runtime.frontends.http.sessions import Sessions  # noqa: PLC0415 - see `session_paths`

    return Sessions.of(services)


PROTOCOLS: tuple[Callable[[Services], Table], ...] = (_sessions, V2Admin, V2, V1, TorchServe, SageMaker)
"""In the order in which their tables are searched."""


class HttpApp:
    """The handler of the HTTP port."""

    def __init__(self, services: Services) -> None:
        table = [route for protocol in PROTOCOLS for route in protocol(services).routes()]
        described = json_reply(200, description(table))
        table.append(("OPTIONS", "/", _constant(described)))
        self._router: Router[Answer] = Router(*table, base_path=services.options.base_path, any_case="v1")

    def __call__(self, request: Request, respond: Respond) -> Ticket | None:
        """Answer one request. Raises RequestError for what has no route."""
        head = request.head
        found: Found[Answer] | None = head.route
        if found is None:
            found = head.route = self._router.find(head.method, head.target)
        return found.handler(found, request, respond)


def description(table: Iterable[Route]) -> dict[str, Any]:
    """The routes as an OpenAPI document: what TorchServe answers to `OPTIONS /`."""
    paths: dict[str, dict[str, Any]] = {}
    for method, pattern, _ in table:
        keys = [piece.partition("}")[0] for piece in pattern.split("{")[1:]]
        named = [{"name": key, "in": "path", "required": True, "schema": {"type": "string"}} for key in keys]
        answers = {"default": {"description": 'The answer, or {"error": text} with a status from 400.'}}
        paths.setdefault(pattern, {})[method.lower()] = {"parameters": named, "responses": answers}
    return {"openapi": "3.0.1", "info": {"title": "Mooring", "version": __version__}, "paths": paths}


def _constant(reply: Reply) -> Answer:
    def answer(_found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(reply)

    return answer
