"""The routes of a SageMaker container: `/ping` and `/invocations`. TorchServe has them too, with the same meaning."""

from typing import Any

from mooring_runtime.frontends.http.any_body import AnyBody
from mooring_runtime.frontends.http.messages import Request, Respond, json_reply
from mooring_runtime.frontends.http.router import Found
from mooring_runtime.frontends.http.sagemaker_sessions import Desk, SageMakerNaming, wish_of
from mooring_runtime.frontends.http.services import Route, Services
from mooring_runtime.scheduling import Ticket

_TARGET_MODEL = b"x-amzn-sagemaker-target-model"
_ARCHIVE = ".tar.gz"
"""What a multi-model endpoint's client names is the archive that holds the model."""


class SageMaker:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._desk = Desk(services)

    def routes(self) -> list[Route]:
        """The table of the protocol."""
        return [("GET", "/ping", self._ping), ("POST", "/invocations", self._invoke)]

    def _ping(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        reason = self._services.plane.not_ready()
        if reason is None:
            respond(json_reply(200, {"status": "Healthy"}))
        else:
            respond(json_reply(503, {"status": "Unhealthy", "error": f"not ready: {reason}"}))

    def _invoke(self, _found: Found[Any], request: Request, respond: Respond) -> Ticket | None:
        target = request.headers.get(_TARGET_MODEL, b"").decode(errors="replace")
        name = target.removesuffix(_ARCHIVE) if target else self._services.default_model()
        wish = wish_of(request)
        if wish is not None:
            return self._desk.answer(wish, name, request, respond)
        call = AnyBody(request, respond, SageMakerNaming(request))
        return self._services.plane.infer(name, None, call.decode, call.reply)
