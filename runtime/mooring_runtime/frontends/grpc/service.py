"""GRPCInferenceService: its 20 methods, each as thin as its HTTP route."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from mooring_runtime import __version__
from mooring_runtime.errors import InvalidRequest, ModelNotReady, RequestError, Unsupported
from mooring_runtime.frontends.grpc import messages
from mooring_runtime.frontends.grpc.calls import Call, Method
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.health import Health
from mooring_runtime.frontends.grpc.infer import Inference
from mooring_runtime.frontends.grpc.schema import inference as pb
from mooring_runtime.frontends.http.services import Services
from mooring_runtime.frontends.http.v2 import EXTENSIONS as HTTP_EXTENSIONS

SERVICE = "inference.GRPCInferenceService"
EXTENSIONS = tuple(name for name in HTTP_EXTENSIONS if name != "binary_tensor_data")
"""Of HTTP's extensions those that are not about HTTP's bodies."""

Answer = Callable[[Any], Any]
"""Makes the response of a request, both protobuf. Raises RequestError."""


def methods(services: Services) -> dict[bytes, Method]:
    """Every method of the port, by its path."""
    service = Service(services)
    inference = Inference(services.plane)
    table = [
        Method(f"/{SERVICE}/ModelInfer", unary=inference.infer),
        Method(f"/{SERVICE}/ModelStreamInfer", converse=inference.converse),
        *[Method(f"/{SERVICE}/{name}", unary=unary) for name, unary in service.unary().items()],
        *Health(services.plane, frozenset({SERVICE})).methods(),
    ]
    return {method.path.encode(): method for method in table}


class Service:
    """The methods beside inference."""

    def __init__(self, services: Services) -> None:
        self._plane = services.plane
        self._control = services.control
        self._logs = services.logs
        self._traces = services.traces
        self._running: set[asyncio.Task[None]] = set()

    def unary(self) -> dict[str, Callable[[Call, bytes], None]]:
        """By name; each answers one message."""
        answers: dict[str, tuple[Any, Answer]] = {
            "ServerLive": (pb.ServerLiveRequest, self._live),
            "ServerReady": (pb.ServerReadyRequest, self._ready),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ServerMetadata": (pb.ServerMetadataRequest, self._server),
            "ModelMetadata": (pb.ModelMetadataRequest, self._model),
            "ModelConfig": (pb.ModelConfigRequest, self._config),
            "RepositoryIndex": (pb.RepositoryIndexRequest, self._index),
            "TraceSetting": (pb.TraceSettingRequest, self._trace_setting),
            "LogSettings": (pb.LogSettingsRequest, self._log_settings),
            "SystemSharedMemoryStatus": (pb.SystemSharedMemoryStatusRequest, _no_system_regions),
            "CudaSharedMemoryStatus": (pb.CudaSharedMemoryStatusRequest, _no_cuda_regions),
        }
        for kind in ("System", "Cuda"):
            for verb in ("Register", "Unregister"):
                name = f"{kind}SharedMemory{verb}"
                answers[name] = (getattr(pb, f"{name}Request"), _no_shared_memory)
        found: dict[str, Callable[[Call, bytes], None]] = {
            name: _answering(kind, answer) for name, (kind, answer) in answers.items()
        }
        found["ModelStatistics"] = self._statistics
        found["RepositoryModelLoad"] = self._load
        found["RepositoryModelUnload"] = self._unload
        return found

    # --- what there is

    def _live(self, _request: Any) -> Any:
        return pb.ServerLiveResponse(live=self._plane.not_live() is None)

    def _ready(self, _request: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._plane.not_ready() is None)

    def _model_ready(self, request: Any) -> Any:
        try:
            self._plane.require_ready(request.name, request.version or None)
        except ModelNotReady:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    def _server(self, _request: Any) -> Any:
        return pb.ServerMetadataResponse(name="mooring", version=__version__, extensions=EXTENSIONS)

    def _model(self, request: Any) -> Any:
        metadata = self._plane.metadata(request.name, request.version or None)
        versions = [request.version] if request.version else self._control.versions(request.name)
        response = pb.ModelMetadataResponse(name=metadata.name, versions=versions, platform=metadata.platform)
        for field, specs in ((response.inputs, metadata.inputs), (response.outputs, metadata.outputs)):
            for spec in specs.values():
                field.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        return response

    def _config(self, request: Any) -> Any:
        config = self._control.config(request.name, request.version or None)
        return _from_plain({"config": config}, pb.ModelConfigResponse())

    def _statistics(self, call: Call, message: bytes) -> None:
        request = messages.read(pb.ModelStatisticsRequest, message[5:])
        response = pb.ModelStatisticsResponse()
        self._later(call, self._count(request.name or None, request.version or None, response), response)

    async def _count(self, name: str | None, version: str | None, response: Any) -> None:
        rows = self._control.statistics(name, version)
        _from_plain({"model_stats": rows if isinstance(rows, list) else await rows}, response)

    # --- repository

    def _index(self, request: Any) -> Any:
        if request.repository_name:
            raise Unsupported(
                f"there is no repository '{request.repository_name}': this server has one, which is named by nothing"
            )
        response = pb.RepositoryIndexResponse()
        for entry in self._control.index(ready_only=request.ready):
            response.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
        return response

    def _load(self, call: Call, message: bytes) -> None:
        request = messages.read(pb.RepositoryModelLoadRequest, message[5:])
        name = _model_of(request)
        config: str | None = None
        files: dict[str, bytes] = {}
        for key, value in _parameters(request).items():
            if key == "config" and isinstance(value, str):
                config = value
            elif key.startswith("file:") and isinstance(value, bytes):
                files[key.removeprefix("file:")] = value
            else:
                raise InvalidRequest(
                    f"parameter {key} of load is none: there are config (a string) and file:VERSION/NAME (bytes)"
                )
        if files and config is None:
            raise InvalidRequest("files come with the configuration that goes with them: parameter config is missing")
        response = pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)
        self._later(call, self._control.load(name, config, files or None), response)

    def _unload(self, call: Call, message: bytes) -> None:
        request = messages.read(pb.RepositoryModelUnloadRequest, message[5:])
        name = _model_of(request)
        for key, value in _parameters(request).items():
            if key != "unload_dependents" or not isinstance(value, bool):
                raise InvalidRequest(f"parameter {key} of unload is none: there is unload_dependents (true or false)")
        response = pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)
        self._later(call, self._control.unload(name), response)

    def _later(self, call: Call, work: Coroutine[Any, Any, None], response: Any) -> None:
        """Answer when the work is done; it is not taken back when the client hangs up, as a load is for all clients."""
        task = asyncio.get_running_loop().create_task(_finish(call, work, response))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # --- what is traced and logged

    def _trace_setting(self, request: Any) -> Any:
        model = request.model_name or None
        # No value clears a setting: it takes the default again.
        wanted = {name: list(setting.value) or None for name, setting in request.settings.items()}
        if wanted:
            self._traces.update(model, wanted)
        response = pb.TraceSettingResponse()
        for name, value in self._traces.get(model).items():
            response.settings[name].value.extend(value if isinstance(value, list) else [str(value)])
        return response

    def _log_settings(self, request: Any) -> Any:
        wanted: dict[str, Any] = {}
        for name, setting in request.settings.items():
            choice = setting.WhichOneof("parameter_choice")
            if choice is None:
                raise InvalidRequest(f"log setting {name} has no value")
            wanted[name] = getattr(setting, choice)
        if wanted:
            self._logs.update(wanted)
        response = pb.LogSettingsResponse()
        for name, value in self._logs.get().items():
            if isinstance(value, bool):
                response.settings[name].bool_param = value
            elif isinstance(value, int):
                response.settings[name].uint32_param = value
            else:
                response.settings[name].string_param = value
        return response


def _answering(kind: Any, answer: Answer) -> Callable[[Call, bytes], None]:
    def unary(call: Call, message: bytes) -> None:
        call.reply(framed(answer(messages.read(kind, message[5:])).SerializeToString()))

    return unary


async def _finish(call: Call, work: Coroutine[Any, Any, None], response: Any) -> None:
    try:
        await work
    except RequestError as error:
        call.fail(error)
    except Exception as error:
        call.fault(error)
    else:
        call.reply(framed(response.SerializeToString()))


def _model_of(request: Any) -> str:
    """The model that a load or unload names: in KServe's definition it is field 1, and there is no field 2."""
    if not request.model_name:
        name: str = request.repository_name
        if not name:
            raise InvalidRequest("the request names no model")
        return name
    if request.repository_name:
        raise Unsupported(
            f"there is no repository '{request.repository_name}': this server has one, which is named by nothing"
        )
    return str(request.model_name)


def _parameters(request: Any) -> dict[str, object]:
    return {
        name: getattr(value, choice) if (choice := value.WhichOneof("parameter_choice")) else None
        for name, value in request.parameters.items()
    }


def _from_plain(plain: Mapping[str, Any], response: Any) -> Any:
    """Fill a message from what HTTP answers as JSON; what only HTTP tells is left out."""
    from google.protobuf import json_format  # noqa: PLC0415 - 10 ms that a start need not spend

    return json_format.ParseDict(plain, response, ignore_unknown_fields=True)


def _no_system_regions(_request: Any) -> Any:
    return pb.SystemSharedMemoryStatusResponse()


def _no_cuda_regions(_request: Any) -> Any:
    return pb.CudaSharedMemoryStatusResponse()


def _no_shared_memory(_request: Any) -> Any:
    raise Unsupported("this server has no shared memory; send tensors in the request")
