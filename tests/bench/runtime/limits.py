"""What no server can pass: a constant answer over uvloop, and onnxruntime alone at a batch of the same size.

`python -m tests.bench.runtime.limits constant PORT REPLY_FILE` answers each read with the same bytes, without a look at
them. `... limits onnxruntime MODEL_FILE INPUTS` reads "batch seconds" lines and answers each with a line of JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tests.bench import report
from tests.bench.runtime.cells import Figure
from tests.bench.runtime.models import INPUT, OUTPUT, Model
from tests.bench.runtime.peers import base
from tests.bench.runtime.processes import Launch, UnavailableError, free_port

CONSTANT = "constant"
RAW = "onnxruntime"
_MODULE = "tests.bench.runtime.limits"


@dataclass(frozen=True)
class Constant(base.Peer):
    """The server with the constant answer; one read is taken for one request, so it serves closed loops only."""

    name: str = CONSTANT
    requirements: str = ""
    about: str = "constant answer over uvloop, requests are not even read"
    protocols: tuple[str, ...] = ("json",)

    def launch(self, model: Model, folder: Path) -> Launch:
        """See `Peer`."""
        tensor = {"name": OUTPUT, "datatype": "FP32", "shape": [1, model.outputs], "data": list(model.answer)}
        body = json.dumps({"model_name": model.name, "model_version": "1", "outputs": [tensor]}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        (folder / "reply").write_bytes(head.encode() + body)
        port = free_port()
        argv = [sys.executable, "-m", _MODULE, "constant", str(port), str(folder / "reply")]
        ways = base.targets(model, port, base.v2_path(model), None, "json")
        return Launch(argv, ways, {"PYTHONPATH": str(base.ROOT)})


class Raw:
    """onnxruntime on one thread, in a process of its own on the servers' core, without any server."""

    def __init__(self, model: Model, cores: Sequence[int]) -> None:
        argv = ["taskset", "-c", ",".join(map(str, cores)), sys.executable, "-m", _MODULE, "onnxruntime"]
        argv += [str(model.file), str(model.inputs)]
        self._process = subprocess.Popen(
            argv, cwd=base.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def measure(self, batch: int, seconds: float) -> Figure:
        """Samples a second at this batch; p50 and p99 are of one run. Raises UnavailableError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{batch} {seconds}\n")
            line = self._process.stdout.readline()
        except OSError as error:
            raise UnavailableError(f"onnxruntime alone ended: {error}") from error
        if not line:
            raise UnavailableError(f"onnxruntime alone ended with {self._process.wait()}")
        return Figure(**json.loads(line), cpu=100.0)

    def stop(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _serve_constant(port: int, reply: bytes) -> None:
    import asyncio  # noqa: PLC0415 - the other command needs neither

    import uvloop  # noqa: PLC0415

    class Answer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.write = cast(asyncio.WriteTransport, transport).write  # uvloop's are of no class of asyncio

        def data_received(self, data: bytes) -> None:
            self.write(reply)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(serve())


def _run_model(file: str, inputs: int) -> None:
    import numpy  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    for line in sys.stdin:
        batch, seconds = int(line.split()[0]), float(line.split()[1])
        feed = {INPUT: numpy.random.default_rng(0).standard_normal((batch, inputs), numpy.float32)}
        session.run([OUTPUT], feed)
        runs: list[float] = []
        began = last = time.perf_counter()
        while last - began < seconds:
            session.run([OUTPUT], feed)
            now = time.perf_counter()
            runs.append(now - last)
            last = now
        told = {
            "rate": batch * len(runs) / (last - began),
            "p50": report.percentile(runs, 50) * 1000,
            "p99": report.percentile(runs, 99) * 1000,
        }
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Be one of the limits, until stopped or until there is nothing to read."""
    kind, first, second = arguments
    if kind == "constant":
        _serve_constant(int(first), Path(second).read_bytes())
    else:
        _run_model(first, int(second))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
