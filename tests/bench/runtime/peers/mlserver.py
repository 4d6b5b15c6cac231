"""MLServer in one process, the quicker of its settings for each model: batches pay for the longer one only."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.bench.runtime.models import MAX_BATCH, Model
from tests.bench.runtime.peers import base
from tests.bench.runtime.processes import Launch, free_port

_BATCHING = {"max_batch_size": MAX_BATCH, "max_batch_time": 0.002}


@dataclass(frozen=True)
class MLServer(base.Peer):
    """`parallel_workers` 0: with a process of its own for the model it is slower on one core."""

    name: str = "mlserver"
    requirements: str = "mlserver"
    about: str = "in process; medium with adaptive batching of 32 and 2 ms, tiny without"

    def launch(self, model: Model, folder: Path) -> Launch:
        """See `Peer`."""
        python = base.install(self.requirements)
        http, grpc, metrics = free_port(), free_port(), free_port()
        place = folder / "models"
        place.mkdir()
        shutil.copy(base.INSIDE / "mlserver_runtime.py", place)
        settings = {
            "debug": False,
            "parallel_workers": 0,
            "host": "127.0.0.1",
            "http_port": http,
            "grpc_port": grpc,
            "metrics_port": metrics,
        }
        served = {
            "name": model.name,
            "implementation": "mlserver_runtime.OnnxModel",
            "parameters": {"uri": str(model.file)},
            **(_BATCHING if model.name == "medium" else {}),
        }
        (place / "settings.json").write_text(json.dumps(settings))
        (place / "model-settings.json").write_text(json.dumps(served))
        argv = [str(python.with_name("mlserver")), "start", str(place)]
        ways = base.targets(model, http, base.v2_path(model), grpc, "json", "grpc")
        return Launch(argv, ways, refused={"binary": "it has no binary tensors over HTTP"})
