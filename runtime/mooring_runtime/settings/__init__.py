"""Every environment variable that the runtime reads, once: the contract that the operator renders.

`ServeSettings` belongs to `serve` and `check`, `FetchSettings` to `fetch`; what both read stands in `ProcessSettings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mooring_runtime.settings import kinds
from mooring_runtime.settings.kinds import file_name, redact
from mooring_runtime.settings.serving import (
    FORMATS,
    DeviceSettings,
    LifeSettings,
    LimitSettings,
    ListenSettings,
    ModelSettings,
    ProtocolSettings,
    RunSettings,
    ScalingSettings,
    TlsSettings,
    TraceSettings,
)
from mooring_runtime.settings.sessions import MemberSettings, SessionSettings
from mooring_runtime.settings.variables import SettingsError, describe, load, settings_of, unknown

__all__ = [
    "FORMATS",
    "FetchSettings",
    "ProcessSettings",
    "RunSettings",
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


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """Logs, and the reason of a failure"""

    termination_log: Annotated[
        Path, kinds.path(), "Where a failing process leaves its reason, one JSON object, for the pod's status."
    ] = Path("/dev/termination-log")
    log_level: Annotated[
        str, kinds.choice("DEBUG", "INFO", "WARNING", "ERROR"), "The least important lines that are logged."
    ] = "INFO"
    log_format: Annotated[str, kinds.choice("json", "text"), "One JSON object a line, or text for a terminal."] = "json"


@dataclass(frozen=True, kw_only=True)
class ServeSettings(
    # The fields of the last base come first, in the class and in `--help`.
    ProcessSettings,
    TraceSettings,
    LifeSettings,
    LimitSettings,
    ScalingSettings,
    ProtocolSettings,
    TlsSettings,
    ListenSettings,
    MemberSettings,
    SessionSettings,
    DeviceSettings,
    RunSettings,
    ModelSettings,
):
    """What `serve` and `check` read."""

    def faults(self) -> dict[str, str]:
        """What is wrong between settings that are right by themselves: the field at fault and the sentence."""
        found: dict[str, str] = {}
        if self.batch_preferred and self.batch_preferred[-1] > (self.batch_max_size or self.batch_preferred[-1]):
            found["batch_preferred"] = (
                f"MOORING_BATCH_PREFERRED has {self.batch_preferred[-1]}: it must be at most MOORING_BATCH_MAX_SIZE, "
                f"which is {self.batch_max_size}"
            )
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            there, missing = ("KEY", "CERT") if self.tls_cert_file is None else ("CERT", "KEY")
            found[f"tls_{missing.lower()}_file"] = (
                f"MOORING_TLS_{missing}_FILE is not set, but MOORING_TLS_{there}_FILE is: TLS needs both"
            )
        elif self.tls_client_ca_file is not None and self.tls_cert_file is None:
            found["tls_client_ca_file"] = (
                "MOORING_TLS_CLIENT_CA_FILE is set without MOORING_TLS_CERT_FILE and MOORING_TLS_KEY_FILE: "
                "clients can show a certificate only over TLS"
            )
        found |= _session_faults(self)
        if self.model_repository is None:
            if not self.model_name:
                found["model_name"] = f"MOORING_MODEL_NAME is not set: it must be {kinds.model_name().allowed}"
            if self.model_path is None:
                found["model_path"] = (
                    "MOORING_MODEL_PATH is not set: it must be a path, or MOORING_MODEL_REPOSITORY one of many models"
                )
            if self.load_models is not None:
                found["load_models"] = "MOORING_LOAD_MODELS is set: it chooses from MOORING_MODEL_REPOSITORY only"
            return found
        for field in ("model_path", "model_name", "model_format", "model_sha256"):
            if getattr(self, field):
                found[field] = (
                    f"MOORING_{field.upper()} is set beside MOORING_MODEL_REPOSITORY: it is for one model, the "
                    "repository for many; set one of them"
                )
        return found


@dataclass(frozen=True, kw_only=True)
class FetchSettings(ProcessSettings):
    """What `fetch` reads"""

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


def _session_faults(settings: ServeSettings) -> dict[str, str]:
    """What is wrong between the settings of sessions."""
    if settings.session_path is None:
        return {}
    if settings.workers > 1:
        return {
            "workers": f"MOORING_WORKERS is {settings.workers}: with MOORING_SESSION_PATH it must be 1, since a volume "
            "has one process that writes"
        }
    if settings.stand_alone:
        return {}
    found = {}
    if settings.ordinal is None:
        found["ordinal"] = (
            "MOORING_ORDINAL is not set: with MOORING_SESSION_PATH it must be the number of this replica; or set "
            "MOORING_STAND_ALONE=true for a server without peers"
        )
    if not settings.peer_address:
        found["peer_address"] = (
            f"MOORING_PEER_ADDRESS is not set: it must be {kinds.peer_address().allowed}, so that replicas find "
            "each other"
        )
    elif settings.peer_address.startswith("https://") and settings.tls_cert_file is None:
        found["peer_address"] = (
            f"MOORING_PEER_ADDRESS is {settings.peer_address}: for https the peer port shows the certificate of "
            "MOORING_TLS_CERT_FILE, which is not set; set it and MOORING_TLS_KEY_FILE"
        )
    if settings.peer_token_file is None:
        found["peer_token_file"] = (
            "MOORING_PEER_TOKEN_FILE is not set: it must be a file, so that only replicas are taken for replicas"
        )
    return found
