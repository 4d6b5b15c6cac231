"""Every environment variable that the runtime reads, once: the contract that the operator renders.

`ServeSettings` belongs to `serve` and `check`, `FetchSettings` to `fetch`; what both read stands in `ProcessSettings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from mooring_runtime.settings import kinds
from mooring_runtime.settings.cgroup import cpu_count
from mooring_runtime.settings.kinds import file_name, redact
from mooring_runtime.settings.variables import SettingsError, describe, load, settings_of, unknown

__all__ = [
    "FetchSettings",
    "ProcessSettings",
    "ServeSettings",
    "SettingsError",
    "describe",
    "file_name",
    "load",
    "redact",
    "settings_of",
    "termination_log",
    "unknown",
]

FORMATS = ("onnx",)
"""Model formats that a backend of this build can load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What every command reads."""

    termination_log: Annotated[
        Path, kinds.path(), "Where a failing process leaves its reason, one JSON object, for the pod's status."
    ] = Path("/dev/termination-log")
    log_level: Annotated[
        str, kinds.choice("DEBUG", "INFO", "WARNING", "ERROR"), "The least important lines that are logged."
    ] = "INFO"
    log_format: Annotated[str, kinds.choice("json", "text"), "One JSON object a line, or text for a terminal."] = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings(ProcessSettings):
    """What `serve` and `check` read."""

    model_name: Annotated[str, kinds.model_name(), "The name under which the model is served."]
    model_path: Annotated[
        Path, kinds.path(), "The model's file, or a directory that holds model.onnx or a single *.onnx file."
    ]
    model_format: Annotated[
        str | None, kinds.choice(*FORMATS), "The file's format; inferred from its name when left out."
    ] = None
    model_sha256: Annotated[
        str | None, kinds.sha256(), "Digest that the model's file must have before it is loaded."
    ] = None
    host: Annotated[str, kinds.host(), "The address to listen on, for HTTP and metrics."] = ""
    http_port: Annotated[int, kinds.port(), "Port of the V2 protocol and the probes."] = 8000
    metrics_port: Annotated[int, kinds.port(), "Port of /metrics."] = 8002
    drain_seconds: Annotated[
        float,
        kinds.seconds(0, 3600),
        "After SIGTERM: how long the server is not ready but still serves, so that load balancers can forget it.",
    ] = 5.0
    queue: Annotated[
        int, kinds.whole(1, 1_000_000), "Requests that may wait or run at once; one more is answered 503."
    ] = 1024
    threads: Annotated[
        int, kinds.whole(1, 1024), "Threads of one model run; by default the CPUs that the container may use."
    ] = field(default_factory=cpu_count)
    max_body_bytes: Annotated[int, kinds.size(), "The largest request body, also after decompression."] = 64 * 2**20
    max_header_bytes: Annotated[int, kinds.size(), "The largest request line and headers together."] = 32 * 2**10
    header_timeout: Annotated[
        float, kinds.seconds(0.05, 3600), "Time for a client to send a request's line and headers."
    ] = 10.0
    body_timeout: Annotated[
        float, kinds.seconds(0.05, 3600), "Time for a client to send a body; each KiB that arrives adds a second."
    ] = 30.0
    idle_timeout: Annotated[
        float,
        kinds.seconds(0.05, 86400),
        "How long a connection may rest between requests; more than the 600 s of common load balancers, "
        "so that it is they who close it.",
    ] = 620.0
    write_timeout: Annotated[
        float, kinds.seconds(0.05, 3600), "How long a client may take nothing of an answer before it is cut off."
    ] = 60.0
    access_log: Annotated[bool, kinds.flag(), "Log a line for each request."] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings(ProcessSettings):
    """What `fetch` reads."""

    model_uri: Annotated[str, kinds.https_uri(), "Where the model's file is."]
    model_sha256: Annotated[str, kinds.sha256(), "Digest that the file must have."]
    model_dir: Annotated[
        Path, kinds.path(), "Directory that receives the file, under the last segment of the address."
    ] = Path("/models")
    credentials_dir: Annotated[
        Path | None,
        kinds.path(),
        "Directory with a file `token`, or with `username` and `password`, for the address's own host.",
    ] = None
    max_model_bytes: Annotated[int | None, kinds.size(), "The largest file to fetch."] = None


def termination_log(environment: Mapping[str, str]) -> Path:
    """Where to leave the reason of a failure, also when other settings are wrong."""
    default = ProcessSettings().termination_log
    return Path(environment.get("MOORING_TERMINATION_LOG", "").strip() or default)
