"""The routes below /v1/: KServe's V1 protocol and TF Serving's REST API, which share their paths.

Where both answer one path, `Options.dialect` chooses: with `both` the status of a model is one object with the keys of
both, which plain JSON readers of either understand.
"""

from collections.abc import Callable
from typing import Any

from mooring_runtime.errors import RequestError, Unsupported
from mooring_runtime.frontends.http import tensors, tfserving
from mooring_runtime.frontends.http.answers import answering, require_single
from mooring_runtime.frontends.http.cloudevents import CloudEvent
from mooring_runtime.frontends.http.messages import JSON, Reply, Request, Respond, json_reply
from mooring_runtime.frontends.http.naming import Naming
from mooring_runtime.frontends.http.predict import Predict
from mooring_runtime.frontends.http.router import Found
from mooring_runtime.frontends.http.services import Route, Services
from mooring_runtime.messages import Fitted, InferRequest, InferResponse, ModelMetadata
from mooring_runtime.scheduling import Ticket

_MODELS = ("/v1/models/{name}", "/v1/models/{name}/versions/{version}", "/v1/models/{name}/labels/{label}")


class V1:
    """The handlers of /v1/."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._dialect = services.options.dialect

    def routes(self) -> list[Route]:
        """The table of the protocol."""
        table: list[Route] = [("GET", "/", self._alive), ("GET", "/v1/models", self._models)]
        for model in _MODELS:
            table += [
                ("POST", f"{model}:predict", self._predict),
                ("POST", f"{model}:classify", self._classify),
                ("POST", f"{model}:regress", self._regress),
                ("POST", f"{model}:explain", self._explain),
                ("GET", f"{model}/metadata", self._metadata),
                ("GET", model, self._status),
            ]
        return table

    def _version(self, found: Found[Any]) -> str | None:
        label = found.names.get("label")
        return found.version if label is None else self._services.labelled(found.name, label)

    # --- inference

    def _predict(self, found: Found[Any], request: Request, respond: Respond) -> Ticket | None:
        predict = Predict("predictions" if self._dialect == "kserve" else "outputs")
        return self._infer(found, request, respond, predict.decode, predict.encode)

    def _classify(self, found: Found[Any], request: Request, respond: Respond) -> Ticket | None:
        classify = tfserving.Classify()
        return self._infer(found, request, respond, classify.decode, classify.encode)

    def _regress(self, found: Found[Any], request: Request, respond: Respond) -> Ticket | None:
        return self._infer(found, request, respond, tfserving.decode_examples, tfserving.encode_regression)

    def _infer(
        self,
        found: Found[Any],
        request: Request,
        respond: Respond,
        read: Callable[[ModelMetadata, Any], InferRequest],
        write: Callable[[InferResponse], bytes],
    ) -> Ticket | None:
        event = CloudEvent.of(request)
        naming = Naming(request.head)

        def body(metadata: ModelMetadata) -> InferRequest:
            require_single(metadata)
            document = tensors.parse_json(request.body)
            return read(metadata, document if event is None else event.data(document))

        def decode(metadata: ModelMetadata) -> InferRequest | Fitted:
            return naming.decode(metadata, body)

        def encode(response: InferResponse) -> Reply:
            body = write(response)
            return Reply(200, (body,), JSON) if event is None else event.answer(found.name, body)

        reply = answering(respond, encode, naming)
        return self._services.plane.infer(found.name, self._version(found), decode, reply)

    def _explain(self, found: Found[Any], _request: Request, _respond: Respond) -> None:
        self._services.plane.metadata(found.name, self._version(found))
        raise Unsupported(f"model '{found.name}' has no explainer: this server predicts only; use :predict")

    # --- what there is

    def _alive(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(json_reply(200, {"status": "alive"}))

    def _models(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(json_reply(200, {"models": self._services.plane.models()}))

    def _metadata(self, found: Found[Any], _request: Request, respond: Respond) -> None:
        metadata = self._services.plane.metadata(found.name, self._version(found))
        respond(json_reply(200, tfserving.signature(metadata)))

    def _status(self, found: Found[Any], _request: Request, respond: Respond) -> None:
        """Whether a model is ready. Only TF Serving says 200 of one that is not: its answer tells the state."""
        version = self._version(found)
        document: dict[str, Any] = {}
        failure: RequestError | None = None
        try:
            self._services.plane.require_ready(found.name, version)
        except RequestError as error:
            failure = error
            if error.http_status == 404:
                raise
        if self._dialect != "tfserving":
            document = {"name": found.name, "ready": failure is None}
            if failure is not None:
                document["error"] = str(failure)
        if self._dialect != "kserve":
            entries = [each for each in self._services.control.index(ready_only=False) if each.name == found.name]
            document["model_version_status"] = tfserving.version_status(entries, version)
        respond(json_reply(503 if failure is not None and self._dialect != "tfserving" else 200, document))
