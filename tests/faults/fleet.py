"""Replicas as processes that are killed, stopped and started again on the same volumes and ports."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import ledger
from tests.faults.volumes import Volume

START_SECONDS = 30.0


@dataclass
class Replica:
    """One server: its process comes and goes, its volume, its ports and its log stay."""

    ordinal: int
    volume: Volume
    log: Path
    variables: Mapping[str, str]
    http: int
    grpc: int
    peer: int = 0
    """Where it listens to other replicas."""
    links: int = 0
    """Where it reaches them: the port of all proxies."""
    slow: Path | None = None
    """How many milliseconds its disk is slow, while the file is there; None: it cannot be."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by who does something to the process."""
    process: subprocess.Popen[bytes] | None = None
    boots: int = 0

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        self.boots += 1
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORING_")}
        # In turns, so that each finds what the other has left.
        server = "tests.faults.small_journal" if self.boots % 2 else "mooring_runtime"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", server, "serve"],
                env={**environment, **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def kill(self) -> None:
        """Kill -9, and it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end in order."""
        assert self.process is not None
        self.process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for its end. Raises AssertionError when it does not come."""
        assert self.process is not None
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"replica {self.ordinal} did not end within {seconds} s: {self.last_words()}"
            ) from None

    def pause(self) -> None:
        """It stands still, and its connections stay open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it stood."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def ready(self) -> None:
        """Wait until it serves. Raises AssertionError where it ends before, or takes too long."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if await self.ask("GET", "/v2/health/ready") == 200:
                return
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(
                    f"replica {self.ordinal} ended with {self.process.returncode}: {self.last_words()}"
                )
            await asyncio.sleep(0.02)
        raise AssertionError(f"replica {self.ordinal} is not ready after {START_SECONDS} s: {self.last_words()}")

    async def ask(self, method: str, path: str, seconds: float = 5.0) -> int | None:
        """The status of one request without a body; None: no answer."""
        return (await request(self.http, method, path, seconds=seconds))[0]

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def tracebacks(self) -> list[str]:
        """What its log tells of that its programmers did not expect."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                found.append(line)  # The interpreter's or a library's own last words.
                continue
            if "traceback" in told:
                found.append(f"{told['message']}: {told['traceback'].splitlines()[-1]}")
        return found


async def request(
    port: int, method: str, path: str, *, body: bytes = b"", headers: Sequence[str] = (), seconds: float = 5.0
) -> tuple[int | None, bytes]:
    """Status and body of one request on a connection of its own; no status: there was no answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", "Connection: close", *headers]
    with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                answer = await reader.read(-1)
            finally:
                writer.close()
            head, _, rest = answer.partition(b"\r\n\r\n")
            return int(head.split()[1]), rest
    return None, b""


def variables(repository: Path, volume: Path, http: int, grpc: int, **more: str) -> dict[str, str]:
    """The settings of a replica."""
    return {
        "MOORING_MODEL_REPOSITORY": str(repository),
        "MOORING_MODEL_CONTROL": "explicit",
        "MOORING_DEFAULT_MODEL": ledger.NAME,
        "MOORING_HOST": "127.0.0.1",
        "MOORING_HTTP_PORT": str(http),
        "MOORING_GRPC_PORT": str(grpc),
        "MOORING_METRICS_PORT": "0",
        "MOORING_THREADS": "1",
        "MOORING_DRAIN_SECONDS": "0",
        "MOORING_SESSION_PATH": str(volume / "sessions"),
        "MOORING_TERMINATION_LOG": str(volume.parent / f"{volume.name}-termination"),
        **{f"MOORING_{name.upper()}": text for name, text in more.items()},
    }
