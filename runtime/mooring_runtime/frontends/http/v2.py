"""The routes of the V2 protocol (Open Inference Protocol): health, metadata, infer."""

from collections.abc import Callable
from typing import Any

from mooring_runtime import __version__
from mooring_runtime.dataplane import DataPlane
from mooring_runtime.frontends.http.infer import InferCall
from mooring_runtime.frontends.http.messages import Request, Respond, json_reply
from mooring_runtime.frontends.http.router import Found, Router
from mooring_runtime.messages import TensorSpec
from mooring_runtime.scheduling import Ticket

EXTENSIONS = ("binary_tensor_data",)
"""Only what is really there: perf_analyzer and clients decide by this list what they may ask for."""

_Answer = Callable[["V2", Found[Any], Request, Respond], Ticket | None]


class V2:
    """The handler of the HTTP port."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._router: Router[_Answer] = Router(
            ("GET", "/v2", V2._server),
            ("GET", "/v2/health/live", V2._live),
            ("GET", "/v2/health/ready", V2._ready),
            ("GET", "/v2/models", V2._models),
            ("GET", "/v2/models/{name}", V2._model),
            ("GET", "/v2/models/{name}/versions/{version}", V2._model),
            ("GET", "/v2/models/{name}/ready", V2._model_ready),
            ("GET", "/v2/models/{name}/versions/{version}/ready", V2._model_ready),
            ("POST", "/v2/models/{name}/infer", V2._infer),
            ("POST", "/v2/models/{name}/versions/{version}/infer", V2._infer),
        )

    def __call__(self, request: Request, respond: Respond) -> Ticket | None:
        """Answer one request. Raises RequestError for what has no route."""
        found = self._router.find(request.method, request.target)
        return found.handler(self, found, request, respond)

    def _infer(self, found: Found[Any], request: Request, respond: Respond) -> Ticket | None:
        call = InferCall(request, respond)
        return self._plane.infer(found.name, found.version, call.decode, call.reply)

    def _server(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(json_reply(200, {"name": "mooring", "version": __version__, "extensions": EXTENSIONS}))

    def _live(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(json_reply(200, {"live": True}))

    def _ready(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        reason = self._plane.not_ready()
        if reason is None:
            respond(json_reply(200, {"ready": True}))
        else:
            respond(json_reply(503, {"ready": False, "error": f"not ready: {reason}"}))

    def _models(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(json_reply(200, {"models": self._plane.models()}))

    def _model(self, found: Found[Any], _request: Request, respond: Respond) -> None:
        metadata = self._plane.metadata(found.name, found.version)
        document = {
            "name": metadata.name,
            "versions": [metadata.version],
            "platform": metadata.platform,
            "inputs": [_described(spec) for spec in metadata.inputs.values()],
            "outputs": [_described(spec) for spec in metadata.outputs.values()],
        }
        respond(json_reply(200, document))

    def _model_ready(self, found: Found[Any], _request: Request, respond: Respond) -> None:
        self._plane.require_ready(found.name, found.version)
        respond(json_reply(200, {"name": found.name, "ready": True}))


def _described(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
