"""The routes of the V2 protocol (Open Inference Protocol) that clients ask for models: health, metadata, infer."""

from typing import Any

from mooring_runtime import __version__
from mooring_runtime.frontends.http import v2_admin
from mooring_runtime.frontends.http.generate import Generate
from mooring_runtime.frontends.http.infer import InferCall
from mooring_runtime.frontends.http.messages import Request, Respond, json_reply
from mooring_runtime.frontends.http.router import Found
from mooring_runtime.frontends.http.services import Route, Services
from mooring_runtime.messages import TensorSpec
from mooring_runtime.scheduling import Ticket

EXTENSIONS = (
    "classification",
    "sequence",
    "sequence(string_id)",
    "schedule_policy",
    "binary_tensor_data",
    "parameters",
    *v2_admin.EXTENSIONS,
)
"""Only what is really there: perf_analyzer and clients decide by this list what they may ask for."""

_MODELS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")


class V2:
    """The handlers of V2."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._plane = services.plane

    def routes(self) -> list[Route]:
        """The table of the protocol."""
        table: list[Route] = [
            ("GET", "/v2", self._server),
            ("GET", "/v2/health/live", self._live),
            ("GET", "/v2/health/ready", self._ready),
            ("GET", "/v2/models", self._models),
        ]
        for model in _MODELS:
            table += [
                ("POST", f"{model}/infer", self._infer),
                ("POST", f"{model}/generate", self._generate),
                ("POST", f"{model}/generate_stream", self._generate_stream),
                ("GET", f"{model}/ready", self._model_ready),
                ("GET", model, self._model),
            ]
        return table

    def _infer(self, found: Found[Any], request: Request, respond: Respond) -> Ticket | None:
        call = InferCall(request, respond)
        return self._plane.infer(found.name, found.version, call.decode, call.reply)

    def _generate(self, found: Found[Any], request: Request, respond: Respond) -> Ticket | None:
        call = Generate(request, respond, stream=False)
        return self._plane.infer(found.name, found.version, call.decode, call.reply)

    def _generate_stream(self, found: Found[Any], request: Request, respond: Respond) -> Ticket | None:
        call = Generate(request, respond, stream=True)
        return self._plane.infer(found.name, found.version, call.decode, call.reply)

    def _server(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(json_reply(200, {"name": "mooring", "version": __version__, "extensions": EXTENSIONS}))

    def _live(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        reason = self._plane.not_live()
        if reason is None:
            respond(json_reply(200, {"live": True}))
        else:
            respond(json_reply(503, {"live": False, "error": f"not live: {reason}"}))

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
        versions = self._services.control.versions(found.name) if found.version is None else [metadata.version]
        document = {
            "name": metadata.name,
            "versions": versions,
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
