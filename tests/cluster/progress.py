"""Shows a long step while it runs: its name and the seconds that it has taken so far."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from .places import ClusterError

# Where no terminal redraws the line, a new one is printed this often (seconds): a log of a CI run
# then shows that the step is alive and still stays short.
_QUIET_INTERVAL = 30.0


@contextmanager
def step(name: str, stream: TextIO | None = None) -> Iterator[None]:
    """Prints `name` and the elapsed seconds until the block ends; on a terminal in one line, live."""
    out = stream or sys.stderr
    terminal = out.isatty()
    started = time.monotonic()
    done = threading.Event()

    def line(verdict: str) -> None:
        text = f"{name} … {verdict}{time.monotonic() - started:.0f} s"
        out.write(f"\r\033[K{text}" if terminal else f"{text}\n")
        out.flush()

    def tick() -> None:
        while not done.wait(1.0 if terminal else _QUIET_INTERVAL):
            line("")

    line("")
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    verdict = "failed after "
    try:
        yield
        verdict = ""
    finally:
        done.set()
        ticker.join()
        line(verdict)
        if terminal:
            out.write("\n")


def logged(argv: Sequence[str], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    """Runs a command with its output in `log`.

    Raises:
        ClusterError: the command failed; the message ends with the last lines of its output.
    """
    with log.open("ab") as output:
        result = subprocess.run(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if result.returncode:
        tail = log.read_text(errors="replace").splitlines()[-25:]
        raise ClusterError(f"`{' '.join(argv)}` ended with {result.returncode}; log {log}:\n  " + "\n  ".join(tail))
