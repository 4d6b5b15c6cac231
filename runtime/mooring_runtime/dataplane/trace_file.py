"""Traces in the form that Triton writes and its `trace_summary.py` reads: a JSON array of objects with timestamps.

The file is a whole array after each write. Traces are gathered for a second, since a write blocks the event loop.
"""

import asyncio
import logging
from pathlib import Path

import orjson

from mooring_runtime.scheduling.jobs import Run

log = logging.getLogger(__name__)

_GATHER = 1.0
"""Seconds between a trace and its place in the file."""
_AT_ONCE = 1000
"""Traces that are written without waiting for their second to end."""

Times = tuple[float, Run, float]
"""When the request arrived, its run, and when it was answered."""


class TraceFile:
    """The file of MOORING_TRACE_FILE; `path` is its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._in_file = 0
        self._files = 0
        self._frequency = 0

    def split(self, frequency: int) -> None:
        """From now on each `frequency` traces get a file of their own, PATH.0, PATH.1 ...; 0: all go into one.

        A change begins at the first file again, in place of what it held.
        """
        self.flush()
        if frequency != self._frequency:
            self._frequency = frequency
            self._in_file = self._files = 0

    def add(self, model: str, version: str, request_id: str, times: Times) -> None:
        """One request's times, in seconds of one clock; in the file they are its nanoseconds."""
        self._number += 1
        told = {
            "id": self._number,
            "model_name": model,
            "model_version": int(version) if version.isdecimal() else version,
        }
        if request_id:
            told["request_id"] = request_id
        stamps = [{"name": name, "ns": round(moment * 1e9)} for name, moment in _moments(times)]
        self._waiting += [orjson.dumps(told), orjson.dumps({"id": self._number, "timestamps": stamps})]
        if len(self._waiting) >= 2 * _AT_ONCE:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER, self.flush)

    def flush(self) -> None:
        """Write what was gathered. A file that cannot be written is told in the log, and its traces are lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        try:
            while waiting:
                room = 2 * (self._frequency - self._in_file) if self._frequency else len(waiting)
                if room <= 0:
                    self._files += 1
                    self._in_file = 0
                    continue
                self._append(waiting[:room])
                waiting = waiting[room:]
        except OSError as error:
            log.error("cannot write traces to %s: %s", error.filename, error.strerror)

    def _append(self, entries: list[bytes]) -> None:
        path = Path(f"{self.path}.{self._files}") if self._frequency else self.path
        begun = self._in_file > 0 and path.exists()
        with path.open("r+b" if begun else "wb") as file:
            if begun:
                file.seek(-1, 2)  # Over the bracket that ends the array.
            file.write((b"," if begun else b"[") + b",\n".join(entries) + b"]")
        self._in_file += len(entries) // 2


def _moments(times: Times) -> list[tuple[str, float]]:
    arrived, run, answered = times
    ready = run.started + run.gather
    computed = ready + run.infer
    return [
        ("REQUEST_START", arrived),
        ("QUEUE_START", arrived),
        ("COMPUTE_START", run.started),
        ("COMPUTE_INPUT_END", ready),
        ("COMPUTE_OUTPUT_START", computed),
        ("COMPUTE_END", computed + run.scatter),
        ("REQUEST_END", answered),
    ]
