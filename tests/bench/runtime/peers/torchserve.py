"""TorchServe with batches; one worker that runs the model by onnxruntime, as every peer does.

Its worker imports torch for one type check of what a handler returns. Ours returns plain lists, so a stand-in with an
empty `Tensor` class takes the place of 3 GB of packages; the front end, the batching and the way to the worker are
untouched. It has a protocol of its own: `/predictions/NAME`, here with the JSON that V2 takes.
"""

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.bench.runtime.models import MAX_BATCH, Model
from tests.bench.runtime.peers import base
from tests.bench.runtime.processes import Launch, UnavailableError, free_port

JAVA_PACKAGE = "openjdk-17-jre-headless"
_DELAY_MS = 2
_REFUSED = "it has a protocol of its own, in which it is measured as JSON"
_LOG = """<Configuration><Appenders><Console name="c"><PatternLayout pattern="%d %p %c - %m%n"/></Console></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="c"/></Root></Loggers></Configuration>
"""
_TORCH = '"""Stands in for torch in one type check."""\n\n\nclass Tensor:\n    """No value is one."""\n'


@dataclass(frozen=True)
class TorchServe(base.Peer):
    """One worker, batches of 32, a delay of 2 ms."""

    name: str = "torchserve"
    requirements: str = "torchserve"
    about: str = f"one worker, batchSize {MAX_BATCH}, maxBatchDelay {_DELAY_MS} ms"

    def launch(self, model: Model, folder: Path) -> Launch:
        """See `Peer`."""
        java = shutil.which("java")
        if java is None:
            raise UnavailableError(f"java is not installed (Debian package {JAVA_PACKAGE})")
        python = base.install(self.requirements)
        site, store = base.packages(python), folder / "store"
        (folder / "stand-in").mkdir()
        (folder / "stand-in" / "torch.py").write_text(_TORCH)
        (folder / "log4j2.xml").write_text(_LOG)
        (folder / "temporary").mkdir()
        self._write_archive(model, store)
        http, env = free_port(), {"PYTHONPATH": str(folder / "stand-in"), "BENCH_MODEL_FILE": str(model.file)}
        (folder / "config.properties").write_text(self._properties(model, http, store))
        # Not by its own launcher, which keeps one process id for the whole machine in /tmp.
        argv = [
            java,
            f"-Dmodel_server_home={site}",
            f"-Dlog4j.configurationFile=file://{folder / 'log4j2.xml'}",
            f"-Djava.io.tmpdir={folder / 'temporary'}",
            "-cp",
            f"{site / 'ts' / 'frontend'}/*",
            "org.pytorch.serve.ModelServer",
            "--python",
            str(python),
            "-f",
            str(folder / "config.properties"),
            "-s",
            str(store),
            "-ncs",
            "--disable-token-auth",
        ]
        ways = base.targets(model, http, f"/predictions/{model.name}", None, "json")
        return Launch(argv, ways, env, dict.fromkeys(("binary", "grpc"), _REFUSED))

    def _write_archive(self, model: Model, store: Path) -> None:
        store.mkdir()
        manifest = {
            "runtime": "python",
            "model": {"modelName": model.name, "handler": "torchserve_handler.py", "modelVersion": "1"},
            "archiverVersion": "0.12.0",
        }
        with zipfile.ZipFile(store / f"{model.name}.mar", "w") as archive:
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
            archive.write(base.INSIDE / "torchserve_handler.py", "torchserve_handler.py")

    def _properties(self, model: Model, http: int, store: Path) -> str:
        loaded = {
            "defaultVersion": True,
            "marName": f"{model.name}.mar",
            "minWorkers": 1,
            "maxWorkers": 1,
            "batchSize": MAX_BATCH,
            "maxBatchDelay": _DELAY_MS,
            "responseTimeout": 60,
        }
        lines = {
            "inference_address": f"http://127.0.0.1:{http}",
            "management_address": f"http://127.0.0.1:{free_port()}",
            "metrics_address": f"http://127.0.0.1:{free_port()}",
            "grpc_inference_port": free_port(),
            "grpc_management_port": free_port(),
            "default_workers_per_model": 1,
            "disable_token_authorization": "true",
            "disable_system_metrics": "true",
            "number_of_netty_threads": 2,
            "job_queue_size": 1000,
            "install_py_dep_per_model": "false",
            "model_store": store,
            "load_models": f"{model.name}.mar",
            "models": json.dumps({model.name: {"1": loaded}}),
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())
