"""Triton: the binary of the nvidia-pytriton wheel with its Python backend, the quickest peer there is.

Its C++ onnxruntime backend is in no package registry, so what is compared is its front end, its batcher and its Python
backend; every answer about Triton holds for that.
"""

import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from tests.bench.runtime.models import INPUT, MAX_BATCH, OUTPUT, Model
from tests.bench.runtime.peers import base
from tests.bench.runtime.processes import Launch, UnavailableError, free_port

_HTTP_THREADS = 8
_CONFIG = """name: "{name}"
backend: "python"
max_batch_size: {batch}
input [{{ name: "{input}" data_type: TYPE_FP32 dims: [{inputs}] }}]
output [{{ name: "{output}" data_type: TYPE_FP32 dims: [{outputs}] }}]
dynamic_batching {{ max_queue_delay_microseconds: {delay} }}
instance_group [{{ count: 1 kind: KIND_CPU }}]
"""


@dataclass(frozen=True)
class Triton(base.Peer):
    """Triton with a delay of its dynamic batcher."""

    name: str = "triton"
    requirements: str = "triton"
    about: str = f"Python backend, dynamic batching without delay, {_HTTP_THREADS} HTTP threads"
    delay: int = 0
    """Microseconds that a request may wait for others."""

    def launch(self, model: Model, folder: Path) -> Launch:
        """See `Peer`."""
        python = base.install(self.requirements)
        site = base.packages(python)
        home = site / "pytriton" / "tritonserver"
        self._place_stub(home)
        self._write_repository(model, folder / "repository")
        http, grpc = free_port(), free_port()
        libraries = [sysconfig.get_config_var("LIBDIR"), str(site / "nvidia_pytriton.libs")]
        env = {
            # The stub embeds an interpreter, and else takes Debian's libpython, which is of another patch version.
            "LD_LIBRARY_PATH": ":".join(libraries),
            "PYTHONPATH": str(site),
            "VIRTUAL_ENV": str(python.parents[1]),
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        }
        argv = [
            str(home / "bin" / "tritonserver"),
            f"--model-repository={folder / 'repository'}",
            f"--backend-directory={home / 'backends'}",
            "--http-address=127.0.0.1",
            f"--http-port={http}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={grpc}",
            f"--http-thread-count={_HTTP_THREADS}",
            "--allow-metrics=false",
        ]
        ways = base.targets(model, http, base.v2_path(model), grpc, *self.protocols)
        return Launch(argv, ways, env)

    def _place_stub(self, home: Path) -> None:
        """The wheel keeps a stub for each Python beside the place where the server looks for it."""
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = home / "python_backend_stubs" / minor / "triton_python_backend_stub"
        if not stub.exists():
            raise UnavailableError(f"the wheel has no Python backend for Python {minor}")
        place = home / "backends" / "python" / stub.name
        if not place.exists():
            shutil.copy(stub, place)

    def _write_repository(self, model: Model, repository: Path) -> None:
        version = repository / model.name / "1"
        version.mkdir(parents=True)
        shutil.copy(base.INSIDE / "triton_model.py", version / "model.py")
        (version / "model.onnx").symlink_to(model.file)
        config = _CONFIG.format(
            name=model.name,
            batch=MAX_BATCH,
            input=INPUT,
            output=OUTPUT,
            inputs=model.inputs,
            outputs=model.outputs,
            delay=self.delay,
        )
        (repository / model.name / "config.pbtxt").write_text(config)


def settings() -> tuple[Triton, ...]:
    """The settings that are compared; a delay pays for the longer model only, and there not always."""
    about = f"the same with max_queue_delay 2 ms, {_HTTP_THREADS} HTTP threads"
    return Triton(), Triton("triton-2ms", about=about, models=("medium",), protocols=("json",), delay=2000)
