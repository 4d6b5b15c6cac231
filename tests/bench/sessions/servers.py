"""The servers of the benchmark as processes on one core: ours in two settings, Redis, and the naive design."""

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.runtime.processes import START_SECONDS, UnavailableError, free_port
from tests.bench.sessions import redis_program
from tests.bench.sessions.models import STATE

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 20.0


class Process:
    """One process on its core, with a port of HTTP or another protocol."""

    def __init__(self, argv: Sequence[str], core: int, port: int, log: Path, env: Mapping[str, str]) -> None:
        self.port = port
        self._log = log
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORING_")}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(core), *argv],
                env={**environment, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def until_ready(self) -> "Process":
        """Wait for its readiness. Raises UnavailableError."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/v2/health/ready")
                if connection.getresponse().status == 200:
                    return self
            if self.process.poll() is not None:
                raise UnavailableError(f"it ended with {self.process.returncode}: {self._last_words()}")
            time.sleep(0.02)
        raise UnavailableError(f"it is not ready after {START_SECONDS:.0f} s: {self._last_words()}")

    def cpu(self) -> float:
        """Seconds of CPU used so far, by all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def stop(self) -> None:
        """End it, by force where it does not go."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _last_words(self) -> str:
        return " | ".join(self._log.read_text(errors="replace").strip().splitlines()[-3:])[-400:] or "it said nothing"


def mooring(model: Path, core: int, folder: Path, volume: Path | None) -> Process:
    """Our server with one model; with a volume it keeps the model's state, each step on disk before its reply."""
    port = free_port()
    env = {
        "MOORING_MODEL_NAME": "m",
        "MOORING_MODEL_PATH": str(model),
        "MOORING_HOST": "127.0.0.1",
        "MOORING_HTTP_PORT": str(port),
        "MOORING_GRPC_PORT": str(free_port()),
        "MOORING_METRICS_PORT": str(free_port()),
        "MOORING_DRAIN_SECONDS": "0",
        "MOORING_THREADS": "1",
        "MOORING_TERMINATION_LOG": str(folder / f"termination-{port}"),
    }
    if volume is not None:
        env |= {"MOORING_SESSION_PATH": str(volume), "MOORING_STAND_ALONE": "true"}
    return Process([sys.executable, "-m", "mooring_runtime", "serve"], core, port, folder / f"mooring-{port}.log", env)


@contextlib.contextmanager
def redis(core: int, folder: Path) -> Iterator[int]:
    """A Redis that has each command on disk before it answers; its port. Raises UnavailableError."""
    program, env = redis_program.program()
    port, place = free_port(), folder / "redis"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    argv = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", ""]
    argv += ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
    running = Process(argv, core, port, folder / "redis.log", env)
    try:
        _until_ping(running)
        yield port
    finally:
        running.stop()


def _until_ping(running: Process) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", running.port), 5) as line:
            line.sendall(b"*1\r\n$4\r\nPING\r\n")
            if line.recv(100).startswith(b"+PONG"):
                return
        time.sleep(0.02)
    raise UnavailableError("Redis does not answer")


def naive(model: str, name: str, core: int, redis_port: int, folder: Path) -> Process:
    """The naive design; `model` is the port of a model server, or a path."""
    port = free_port()
    root = Path(__file__).resolve().parents[3]
    argv = [sys.executable, "-m", "tests.bench.sessions.naive", str(port), str(redis_port), model, str(STATE[name])]
    return Process(argv, core, port, folder / f"naive-{port}.log", {"PYTHONPATH": str(root)})
