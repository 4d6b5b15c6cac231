"""The operator as a process of this host: what its pod runs, with its pod's rights, and what it costs."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.processes import wait_until

_TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60
STOP_SECONDS = 20


@dataclass(frozen=True)
class Operator:
    """A running operator."""

    pid: int
    log: Path
    metrics_port: int

    def cpu(self) -> float:
        """Seconds of CPU that it has used, in all its threads."""
        return cpu_of(self.pid)

    def memory(self, what: str = "VmRSS") -> float:
        """Its resident memory in MB (10^6 bytes); the largest so far with `VmHWM`."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        [kibibytes] = [line.split()[1] for line in lines if line.startswith(f"{what}:")]
        return int(kibibytes) * 1024 / 1e6

    def rounds(self) -> int:
        """How many rounds of its loop have ended, well or not, as its own metrics tell."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return int(
            sum(float(line.split()[-1]) for line in lines if line.startswith("mooring_operator_reconciles_total"))
        )


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def running(env: Mapping[str, str], log: Path) -> Iterator[Operator]:
    """Start an operator, return when it leads and its cache is filled, and stop it after the block.

    Raises:
        ClusterError: it is not ready in time; its log tells why.
    """
    health, metrics = _free_port(), _free_port()
    ports = {"MOORING_HEALTH_PORT": str(health), "MOORING_METRICS_PORT": str(metrics)}
    argv = [sys.executable, "-m", "mooring_operator", "run"]
    with log.open("ab") as output:
        process = subprocess.Popen(argv, env={**env, **ports}, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def leads() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{health}/readyz", timeout=2) as answer:
                return b"leads" in answer.read()
        except (urllib.error.URLError, OSError):
            return process.poll() is not None

    try:
        wait_until(leads, START_SECONDS, f"the operator to lead; see {log}")
        if process.poll() is not None:
            raise RuntimeError(f"the operator ended with {process.returncode}; see {log}")
        yield Operator(process.pid, log, metrics)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
