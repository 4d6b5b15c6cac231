"""Our own server, with its defaults; one thread and one core, as all others."""

import sys
from dataclasses import dataclass
from pathlib import Path

from mooring_runtime.settings import ServeSettings, settings_of
from tests.bench.runtime.models import Model
from tests.bench.runtime.peers import base
from tests.bench.runtime.processes import Launch, free_port


def has_setting(variable: str) -> bool:
    """Whether this build of the server reads a variable."""
    return any(each.variable == variable for each in settings_of(ServeSettings))


@dataclass(frozen=True)
class Mooring(base.Peer):
    """One process, or so many workers behind one port."""

    name: str = "mooring"
    requirements: str = ""
    about: str = "defaults, one thread, largest batch 32"
    workers: int = 1

    def launch(self, model: Model, folder: Path) -> Launch:
        """See `Peer`."""
        http, grpc = free_port(), free_port()
        env = {
            "MOORING_MODEL_NAME": model.name,
            "MOORING_MODEL_PATH": str(model.file),
            "MOORING_HOST": "127.0.0.1",
            "MOORING_HTTP_PORT": str(http),
            "MOORING_METRICS_PORT": str(free_port()),
            "MOORING_DRAIN_SECONDS": "0",
            "MOORING_THREADS": "1",
            "MOORING_TERMINATION_LOG": str(folder / "termination"),
        }
        protocols, refused = list(self.protocols), {}
        if has_setting("MOORING_GRPC_PORT"):
            env["MOORING_GRPC_PORT"] = str(grpc)
        else:
            protocols.remove("grpc")
            refused["grpc"] = "this build has no MOORING_GRPC_PORT"
        if self.workers > 1:
            env["MOORING_WORKERS"] = str(self.workers)
        ways = base.targets(model, http, base.v2_path(model), grpc, *protocols)
        return Launch([sys.executable, "-m", "mooring_runtime", "serve"], ways, env, refused)
