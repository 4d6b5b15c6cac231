"""Servers as processes: started on their core, asked until they answer rightly, watched, and stopped for certain."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.runtime import wire
from tests.bench.runtime.exchange import Exchange, ExchangeError, GrpcExchange, HttpExchange, http_request
from tests.bench.runtime.load import Target
from tests.bench.runtime.models import Model

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
START_SECONDS = 90.0
_STOP_SECONDS = 10.0


class UnavailableError(Exception):
    """A server that cannot be installed, started, or asked in some way; the message is the reason to show."""


@dataclass(frozen=True)
class Launch:
    """How a server is started, and where it then answers.

    Attributes:
        targets: by protocol; a protocol that the server does not speak stands in `refused` with the reason.
    """

    argv: Sequence[str]
    targets: Mapping[str, Target]
    env: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class Server:
    """A running server and all its processes; they share the session that it was started in."""

    def __init__(self, name: str, launch: Launch, model: Model, cores: Sequence[int], log: Path) -> None:
        self.name, self.model, self.log = name, model, log
        self.targets = dict(launch.targets)
        self.refused = dict(launch.refused)
        self._first = next(iter(launch.targets))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORING_")}
        argv = ["taskset", "-c", ",".join(map(str, cores)), *launch.argv]
        log.parent.mkdir(parents=True, exist_ok=True)
        self._began = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                argv,
                env={**environment, **launch.env},
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def until_ready(self) -> float:
        """Wait for the first right answer; seconds from exec to it. Raises UnavailableError."""
        self._until_right(self._first, START_SECONDS)
        seconds = time.monotonic() - self._began
        for protocol in list(self.targets):
            try:
                self._until_right(protocol, 5.0)
            except UnavailableError as error:
                self.refused[protocol] = str(error)
                del self.targets[protocol]
        return seconds

    def _until_right(self, protocol: str, patience: float) -> None:
        target, end = self.targets[protocol], time.monotonic() + patience
        while True:
            try:
                numbers, size = ask(target)
            except (OSError, ExchangeError, wire.AnswerError) as error:
                last = str(error) or type(error).__name__
            else:
                if self.model.is_right(numbers):
                    self.targets[protocol] = replace(target, answer_bytes=size)
                    return
                last = f"answers {numbers[:4]} instead of {self.model.answer[:4]}"
            if self._process.poll() is not None:
                raise UnavailableError(f"{self.name} ended with {self._process.returncode}: {self._last_words()}")
            if time.monotonic() > end:
                raise UnavailableError(f"{self.name} gives no right answer to {protocol}: {last}")
            time.sleep(0.005)

    def cpu(self) -> float:
        """Seconds of CPU used so far, by all processes."""
        return sum(_numbers(pid)[0] for pid in self._members())

    def memory(self) -> float:
        """MiB resident, in all processes."""
        return sum(_numbers(pid)[1] for pid in self._members()) / 2**20

    def stop(self) -> None:
        """End all its processes, by force where they do not go."""
        members = self._members()
        with suppress(OSError):
            self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        for pid in {*members, *self._members()}:
            if _session(pid) == self._process.pid:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def _members(self) -> list[int]:
        pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
        return [pid for pid in pids if _session(pid) == self._process.pid]

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])[-400:] or "it said nothing"


def ask(target: Target, seconds: float = 10.0) -> tuple[list[float], int]:
    """One request on a connection of its own: the numbers of the answer and the bytes of its body.

    Raises OSError, ExchangeError, and AnswerError for an answer that tells an error.
    """
    exchange: Exchange
    if target.protocol == "grpc":
        exchange = GrpcExchange(target.port, target.body.data)
    else:
        exchange = HttpExchange(http_request(target.port, target.path, target.body))
    with socket.create_connection(("127.0.0.1", target.port), seconds) as connection:
        connection.sendall(exchange.opening() + exchange.call())
        while (ended := exchange.feed(_receive(connection))) is None:
            if exchange.out:
                connection.sendall(exchange.out)
                exchange.out = b""
    if not ended:
        raise wire.AnswerError(f"an error: {exchange.body[:200]!r}")
    if target.protocol == "grpc":
        return wire.grpc_answer(exchange.body), len(exchange.body)
    return wire.json_answer(exchange.body, exchange.headers), len(exchange.body)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def busy_seconds() -> float:
    """Seconds of CPU that the whole machine has used, those that a hypervisor took away included."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, _, _, irq, softirq, steal = map(int, words[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def idle_share(seconds: float, sleep: Callable[[float], None] = time.sleep) -> float:
    """Share of all cores that nobody uses, from 0 to 1, looked at for some seconds."""
    before, began = busy_seconds(), time.monotonic()
    sleep(seconds)
    cores = os.cpu_count() or 1
    return max(0.0, 1 - (busy_seconds() - before) / (cores * (time.monotonic() - began)))


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ExchangeError("the server closed the connection without an answer")
    return data


def _numbers(pid: int) -> tuple[float, int]:
    """Seconds of CPU and resident bytes of one process; nothing when it is gone."""
    fields = _stat(pid)
    if not fields:
        return 0.0, 0
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE


def _session(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[3]) if fields else 0


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from the state on; the name before it may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
