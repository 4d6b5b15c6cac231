"""V2's routes beside inference: repository, configuration, statistics, logging, traces, shared memory."""

import base64
import binascii
from collections.abc import Awaitable
from typing import Any

from mooring_runtime.errors import InvalidRequest, UnknownModel, Unsupported
from mooring_runtime.frontends.http.answers import Later, json_object
from mooring_runtime.frontends.http.messages import Reply, Request, Respond, json_reply
from mooring_runtime.frontends.http.router import Found
from mooring_runtime.frontends.http.services import Route, Services
from mooring_runtime.frontends.shown import cut, shown

EXTENSIONS = (
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "statistics",
    "trace",
    "logging",
)
"""Of V2, those whose routes stand here. Nothing depends on another model, so `unload_dependents` has nothing to do."""

_FILE = "file:"
_MEMORY = ("systemsharedmemory", "cudasharedmemory")
_ANYWHERE = "/v2/models/{name}/versions/{version}"


class V2Admin:
    """The handlers of the administrative routes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._later = Later()

    def routes(self) -> list[Route]:
        """The table. `/v2/models/stats` stands before the models, since one might have that name."""
        table: list[Route] = [
            ("GET", "/v2/models/stats", self._statistics),
            ("GET", "/v2/models/{name}/stats", self._statistics),
            ("GET", f"{_ANYWHERE}/stats", self._statistics),
            ("GET", "/v2/models/{name}/config", self._config),
            ("GET", f"{_ANYWHERE}/config", self._config),
            ("POST", "/v2/repository/index", self._index),
            ("POST", "/v2/repository/models/{name}/load", self._load),
            ("POST", "/v2/repository/models/{name}/unload", self._unload),
            ("POST", "/v2/repository/{repository}/index", self._other_repository),
            ("POST", "/v2/repository/{repository}/models/{name}/load", self._other_repository),
            ("POST", "/v2/repository/{repository}/models/{name}/unload", self._other_repository),
        ]
        for path in ("/v2/trace/setting", "/v2/models/{name}/trace/setting"):
            table += [("GET", path, self._traces), ("POST", path, self._set_traces)]
        table += [("GET", "/v2/logging", self._logs), ("POST", "/v2/logging", self._set_logs)]
        for memory in _MEMORY:
            table += [
                ("GET", f"/v2/{memory}/status", self._no_regions),
                ("GET", f"/v2/{memory}/region/{{region}}/status", self._no_region),
                ("POST", f"/v2/{memory}/region/{{region}}/register", self._no_memory),
                ("POST", f"/v2/{memory}/region/{{region}}/unregister", self._no_memory),
                ("POST", f"/v2/{memory}/unregister", self._no_memory),
            ]
        return table

    # --- what there is

    def _statistics(self, found: Found[Any], _request: Request, respond: Respond) -> None:
        rows = self._services.control.statistics(found.name or None, found.version)
        if isinstance(rows, list):
            respond(json_reply(200, {"model_stats": rows}))
        else:  # Of several workers.
            self._later.answer(respond, self._told_by_all(rows))

    async def _told_by_all(self, rows: Awaitable[list[dict[str, Any]]]) -> Reply:
        return json_reply(200, {"model_stats": await rows})

    def _config(self, found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(json_reply(200, self._services.control.config(found.name, found.version)))

    # --- repository

    def _index(self, _found: Found[Any], request: Request, respond: Respond) -> None:
        ready = json_object(request).get("ready", False)
        if type(ready) is not bool:
            raise InvalidRequest(f"ready is {shown(ready)}, it must be true or false")
        entries = self._services.control.index(ready_only=ready)
        # An empty field stands for what is not known yet, and Triton leaves it out.
        respond(json_reply(200, [{key: text for key, text in each._asdict().items() if text} for each in entries]))

    def _load(self, found: Found[Any], request: Request, respond: Respond) -> None:
        config, files = _load_parameters(_parameters(request))
        self._later.answer(respond, self._loaded(found.name, config, files))

    async def _loaded(self, name: str, config: str | None, files: dict[str, bytes] | None) -> Reply:
        await self._services.control.load(name, config, files)
        return json_reply(200, {"name": name, "load": True})

    def _unload(self, found: Found[Any], request: Request, respond: Respond) -> None:
        for name, value in _parameters(request).items():
            if name != "unload_dependents":
                raise InvalidRequest(f"there is no parameter {name} of unload, only unload_dependents")
            if type(value) is not bool:
                raise InvalidRequest(f"parameter {cut(name)} is {shown(value)}, it must be true or false")
        self._later.answer(respond, self._unloaded(found.name))

    async def _unloaded(self, name: str) -> Reply:
        await self._services.control.unload(name)
        return json_reply(200, {"name": name, "unload": True})

    def _other_repository(self, found: Found[Any], _request: Request, _respond: Respond) -> None:
        raise Unsupported(
            f"there is no repository '{cut(found.names['repository'])}': this server has one, which is named by nothing"
        )

    # --- logging and traces

    def _logs(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(json_reply(200, self._services.logs.get()))

    def _set_logs(self, found: Found[Any], request: Request, respond: Respond) -> None:
        self._services.logs.update(json_object(request))
        self._logs(found, request, respond)

    def _traces(self, found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(json_reply(200, self._services.traces.get(found.name or None)))

    def _set_traces(self, found: Found[Any], request: Request, respond: Respond) -> None:
        self._services.traces.update(found.name or None, json_object(request))
        self._traces(found, request, respond)

    # --- shared memory

    def _no_regions(self, _found: Found[Any], _request: Request, respond: Respond) -> None:
        respond(json_reply(200, []))

    def _no_region(self, found: Found[Any], _request: Request, _respond: Respond) -> None:
        raise UnknownModel(f"there is no shared memory region '{cut(found.names['region'])}'")

    def _no_memory(self, _found: Found[Any], _request: Request, _respond: Respond) -> None:
        raise Unsupported("this server has no shared memory; send tensors in the request")


def _parameters(request: Request) -> dict[str, Any]:
    parameters = json_object(request).get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise InvalidRequest("parameters must be a JSON object")
    return parameters


def _load_parameters(parameters: dict[str, Any]) -> tuple[str | None, dict[str, bytes] | None]:
    """The configuration and the files that a load brings along. Raises InvalidRequest."""
    files: dict[str, bytes] = {}
    config = parameters.get("config")
    if config is not None and type(config) is not str:
        raise InvalidRequest("parameter config must be a string that holds the configuration as JSON")
    for name, value in parameters.items():
        if name.startswith(_FILE):
            files[name.removeprefix(_FILE)] = _content(name, value)
        elif name != "config":
            raise InvalidRequest(f"there is no parameter {name} of load; there are config and file:VERSION/NAME")
    if files and config is None:
        raise InvalidRequest("files come with the configuration that goes with them: the parameter config is missing")
    return config, files or None


def _content(name: str, value: object) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"parameter {name} must be the file's content in base64") from None
