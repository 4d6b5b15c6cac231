"""TorchServe's inference routes: predictions with any body, the health of the server."""

from typing import Any

from mooring_runtime.errors import Unsupported
from mooring_runtime.frontends.http.any_body import AnyBody
from mooring_runtime.frontends.http.messages import Headers, Request, Respond
from mooring_runtime.frontends.http.naming import Naming
from mooring_runtime.frontends.http.router import Found
from mooring_runtime.frontends.http.services import Route, Services
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import SessionCall, SessionInfo
from mooring_runtime.scheduling import Ticket

_MODELS = ("{name}", "{name}/{version}")
_ID, _START, _END = b"ts_request_sequence_id", b"ts_request_sequence_start", b"ts_request_sequence_end"


class TorchServe:
    """The handlers. `curl -T FILE` sends PUT, and TorchServe's own examples do so."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """The table of the protocol."""
        table: list[Route] = []
        for model in _MODELS:
            table += [
                ("POST", f"/predictions/{model}", self._predict),
                ("PUT", f"/predictions/{model}", self._predict),
                ("POST", f"/explanations/{model}", self._explain),
            ]
        return table

    def _predict(self, found: Found[Any], request: Request, respond: Respond) -> Ticket | None:
        call = AnyBody(request, respond, _Sequence(request))
        return self._services.plane.infer(found.name, found.version, call.decode, call.reply)

    def _explain(self, found: Found[Any], _request: Request, _respond: Respond) -> None:
        self._services.plane.metadata(found.name, found.version)
        raise Unsupported(f"model '{found.name}' has no explainer: this server predicts only; use /predictions")


class _Sequence(Naming):
    """The session in TorchServe's headers. Who starts a sequence and does not name it gets a new id."""

    def __init__(self, request: Request) -> None:
        """Raises BadSession."""
        headers = request.headers
        given = headers.get(_ID)
        call = None if given is None else sessions.named(sessions.id_in_header(_ID.decode(), given))
        start, end = (sessions.flag(name.decode(), headers.get(name, b"").decode("latin-1")) for name in (_START, _END))
        if call is None and start:
            call = SessionCall("", new=True)
        if call is not None or end:
            call = (call or SessionCall(""))._replace(start=start, end=end)
        super().__init__(request.head, call)

    def headers(self, info: SessionInfo) -> Headers:
        return (*super().headers(info), (_ID, sessions.in_header(info.id)))
