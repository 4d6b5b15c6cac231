"""The runtime as a real process, and a plain socket to it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Runtime:
    """`python -m mooring_runtime COMMAND` with these variables; its log is one JSON object a line."""

    def __init__(self, command: str, variables: Mapping[str, str]) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="runtime-", suffix=".log")  # noqa: SIM115 - closed by `end`
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORING_")}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mooring_runtime", command],
            env={**environment, **variables},
            stdout=subprocess.DEVNULL,
            stderr=self._log.file,
        )

    def log(self) -> str:
        """What it has logged so far."""
        return Path(self._log.name).read_text()

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the log that are whole."""
        return [json.loads(line) for line in self.log().splitlines(keepends=True) if line.endswith("}\n")]

    def line(self, message: str, seconds: float = 20, *, word: str = "message") -> dict[str, Any]:
        """The first line with this message that also tells `word`; waits for it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self.lines():
                if line["message"].startswith(message) and word in line:
                    return line
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} before it said {message!r}:\n{self.log()}")
            time.sleep(0.01)
        raise AssertionError(f"did not say {message!r} within {seconds} s:\n{self.log()}")

    def memory(self) -> int:
        """Bytes of its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [kibibytes] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(kibibytes) * 1024

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def code(self, seconds: float = 20) -> int:
        """Its exit code; waits for the end."""
        return self.process.wait(seconds)

    def end(self) -> None:
        """Make sure that it is gone."""
        self.process.kill()
        self.process.wait()
        self._log.close()


class Server(Runtime):
    """`serve` on free ports."""

    def __init__(self, model: Path, name: str = "m", **variables: str) -> None:
        super().__init__(
            "serve",
            {
                "MOORING_MODEL_NAME": name,
                "MOORING_MODEL_PATH": str(model),
                "MOORING_HTTP_PORT": "0",
                "MOORING_GRPC_PORT": "0",
                "MOORING_METRICS_PORT": "0",
                "MOORING_DRAIN_SECONDS": "0",
                **{f"MOORING_{key.upper()}": value for key, value in variables.items()},
            },
        )

    @property
    def port(self) -> int:
        """The port of V2; waits until it listens."""
        return int(self.line("listening", word="http_port")["http_port"])

    @property
    def grpc_port(self) -> int:
        """The port of V2 over gRPC."""
        return int(self.line("listening", word="grpc_port")["grpc_port"])

    @property
    def metrics_port(self) -> int:
        """The port of the metrics."""
        return int(self.line("listening", word="metrics_port")["metrics_port"])

    def ready(self) -> "Server":
        """Wait until the model is served."""
        self.line("ready")
        return self

    def metric(self, name: str, **labels: str | None) -> float:
        """One sample of the metrics page, of the model that is served; a label that is None is not there."""
        _, _, page = exchange(self.metrics_port, b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        wanted = {f'{key}="{text}"' for key, text in {"model": "m", "version": "1", **labels}.items() if text}
        for line in page.decode().splitlines():
            sample, _, value = line.rpartition(" ")
            found, _, told = sample.partition("{")
            if found == name and {label for label in told.rstrip("}").split(",") if label} == wanted:
                return float(value)
        raise AssertionError(f"no {name} with {labels} on the page:\n{page.decode()}")


@contextlib.contextmanager
def serving(model: Path, name: str = "m", **variables: str) -> Iterator[Server]:
    """A server that is ready."""
    server = Server(model, name, **variables)
    try:
        yield server.ready()
    finally:
        server.end()


def connect(port: int, host: str = "127.0.0.1", seconds: float = 10) -> socket.socket:
    """A plain connection."""
    return socket.create_connection((host, port), seconds)


def read_reply(connection: socket.socket, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body of the next reply; `head`: it has none."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(1)
        if not piece:
            raise EOFError(data)
        data += piece
    lines = data.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    left = 0 if head else int(headers.get("content-length", 0))
    body = bytearray()
    while left > len(body):
        piece = connection.recv(left - len(body))
        if not piece:
            raise EOFError(bytes(body))
        body += piece
    return int(lines[0].split()[1]), headers, bytes(body)


def exchange(port: int, request: bytes, host: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""
    with connect(port, host) as connection:
        connection.sendall(request)
        return read_reply(connection, head=request.startswith(b"HEAD "))


def get(port: int, path: str) -> tuple[int, Any]:
    """Status and JSON of a GET."""
    status, _, body = exchange(port, f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    return status, json.loads(body)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def perceptron_request() -> bytes:
    """The body of a request for `models.perceptron`."""
    data = [0.5] * 16
    return json.dumps({"inputs": [{"name": "x", "shape": [1, 16], "datatype": "FP32", "data": data}]}).encode()


def one(value: float) -> bytes:
    """The body of a request for `models.slow`."""
    return json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [value]}]}).encode()


def send_all(connection: socket.socket, data: bytes) -> None:
    """Send what the other end may stop to read."""
    with contextlib.suppress(OSError):
        connection.sendall(data)
