"""KServe's Python server, one worker; its batcher is a container beside it and no part of the server."""

from dataclasses import dataclass
from pathlib import Path

from tests.bench.runtime.models import Model
from tests.bench.runtime.peers import base
from tests.bench.runtime.processes import Launch, free_port


@dataclass(frozen=True)
class KServe(base.Peer):
    """As the server comes."""

    name: str = "kserve"
    requirements: str = "kserve"
    about: str = "one worker, without batches"

    def launch(self, model: Model, folder: Path) -> Launch:
        """See `Peer`."""
        python = base.install(self.requirements)
        http, grpc = free_port(), free_port()
        argv = [str(python), str(base.INSIDE / "kserve_app.py"), model.name, str(model.file), str(http), str(grpc)]
        return Launch(argv, base.targets(model, http, base.v2_path(model), grpc, *self.protocols))
