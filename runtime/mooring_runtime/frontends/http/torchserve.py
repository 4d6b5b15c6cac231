"""TorchServe's inference routes: predictions with any body, the health of the server."""

from typing import Any

from mooring_runtime.errors import InvalidRequest, Unsupported
from mooring_runtime.frontends.http.any_body import AnyBody
from mooring_runtime.frontends.http.messages import Request, Respond
from mooring_runtime.frontends.http.router import Found
from mooring_runtime.frontends.http.services import Route, Services
from mooring_runtime.scheduling import Ticket

_MODELS = ("{name}", "{name}/{version}")
_SEQUENCE = (b"ts_request_sequence_id", b"ts_request_sequence_start", b"ts_request_sequence_end")


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
        refuse_sessions(request, found.name, _SEQUENCE)
        call = AnyBody(request, respond)
        return self._services.plane.infer(found.name, found.version, call.decode, call.reply)

    def _explain(self, found: Found[Any], _request: Request, _respond: Respond) -> None:
        self._services.plane.metadata(found.name, found.version)
        raise Unsupported(f"model '{found.name}' has no explainer: this server predicts only; use /predictions")


def refuse_sessions(request: Request, model: str, names: tuple[bytes, ...]) -> None:
    """Raise InvalidRequest for a request of a session: answered without its state it would be answered wrongly."""
    for name in names:
        if request.headers.get(name):
            raise InvalidRequest(
                f"header {name.decode()} cannot be used: model '{model}' serves no sessions, it keeps no state"
            )
