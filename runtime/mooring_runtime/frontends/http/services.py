"""What the routes of all protocols work on, and how the settings shape them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mooring_runtime.dataplane import DataPlane
from mooring_runtime.dataplane.control import Administration
from mooring_runtime.dataplane.observability import LogSettings, TraceSettings
from mooring_runtime.errors import InvalidRequest, UnknownModel
from mooring_runtime.frontends.http.messages import Request, Respond
from mooring_runtime.frontends.http.router import Found
from mooring_runtime.scheduling import Ticket

if TYPE_CHECKING:
    from mooring_runtime.sessions.administration import SessionAdministration

Answer = Callable[[Found[Any], Request, Respond], Ticket | None]
"""Answers a request that was found to be its own."""
Route = tuple[str, str, Answer]
"""Method, pattern, and who answers."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings say of the protocols."""

    base_path: str = ""
    """A prefix that paths may have: `/ml/prod`."""
    dialect: str = "both"
    """Of /v1/: `kserve`, `tfserving`, or `both` where they differ."""
    default_model: str | None = None
    """Answers calls that name no model; None: the only one."""
    version_labels: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Version by model and label, for TF Serving's paths."""
    session_api: str = "read"
    """What who has no token may do with /v2/sessions: `off`, `read` or `full`."""
    session_token_file: Path | None = None
    """Holds the token that allows all of it."""


@dataclass(slots=True)
class Opening:
    """Sessions whose volume is being opened while the server listens already."""

    administration: "SessionAdministration | None" = None
    """None: not yet."""


@dataclass(frozen=True, slots=True)
class Services:
    """The data plane and what administers it."""

    plane: DataPlane
    control: Administration
    logs: LogSettings
    traces: TraceSettings
    options: Options = Options()
    sessions: "SessionAdministration | Opening | None" = None
    """None: this server keeps no sessions."""

    def default_model(self) -> str:
        """The model of a call that names none. Raises InvalidRequest where there is no such one."""
        if self.options.default_model is not None:
            return self.options.default_model
        names = self.plane.models()
        if len(names) != 1:
            raise InvalidRequest(
                f"this server has {len(names)} models, so the request must name one; or set MOORING_DEFAULT_MODEL"
            )
        return names[0]

    def labelled(self, name: str, label: str) -> str:
        """The version of a model that has this label. Raises UnknownModel."""
        version = self.options.version_labels.get((name, label))
        if version is None:
            raise UnknownModel(
                f"no version of model '{name}' has the label '{label}'; MOORING_VERSION_LABELS says which ones do"
            )
        return version
