"""A client that asks without pause and forgives nothing: no retry, no reconnect that it would not count.

Some of its connections are kept alive for as long as the server lets them, the others are new for each request: a
rollout can fail either kind alone. The model adds 1000 times its version to what it gets, so each answer tells which
version gave it, and whether it is right.

Usage: python -m tests.support.e2e_load URL MODEL VERSION... (one line "asking" after the first answer; SIGTERM ends it
and prints what happened, as JSON)
"""

import http.client
import json
import signal
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_KEPT = 2
_FRESH = 2
# Two cores are shared with the cluster: more would slow the very rollout that is watched.
_PAUSE = 0.02
_TIMEOUT = 10.0


@dataclass
class Tally:
    """What happened so far; the threads write it under the lock."""

    versions: tuple[int, ...]
    answers: Counter[int] = field(default_factory=Counter)
    connections: int = 0
    failures: list[str] = field(default_factory=list)
    last: float = 0.0
    longest_gap: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    first: threading.Event = field(default_factory=threading.Event)

    def answered(self, version: int) -> None:
        with self.lock:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self.last if self.last else 0.0)
            self.last = now
            self.answers[version] += 1
        self.first.set()

    def failed(self, what: str) -> None:
        with self.lock:
            self.failures.append(what)
        self.first.set()

    def report(self) -> dict[str, Any]:
        return {
            "answers": {str(version): count for version, count in sorted(self.answers.items())},
            "connections": self.connections,
            "failures": self.failures[:20],
            "failed": len(self.failures),
            "longest_gap": round(self.longest_gap, 3),
        }


def reach(url: str, seconds: float = 20.0) -> None:
    """Waits until the Service takes connections: ready pods are one thing, every node's proxy knowing them another."""
    parts, deadline = urlsplit(url), time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((parts.hostname or "", parts.port or 80), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def ask(connection: http.client.HTTPConnection, model: str, number: int, versions: tuple[int, ...]) -> int:
    """Asks once and returns the version that answered. Raises what went wrong."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [number]}
    body = json.dumps({"inputs": [tensor]})
    connection.request("POST", f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read().decode()
    if response.status != 200:
        raise ValueError(f"status {response.status}: {text[:200]}")
    [output] = json.loads(text)["outputs"]
    version, rest = divmod(output["data"][0], 1000)
    if rest != number or version not in versions:
        raise ValueError(f"asked {number}, got {output['data'][0]}")
    return int(version)


class Asker(threading.Thread):
    """One thread with one connection at a time."""

    def __init__(self, url: str, model: str, kept: bool, tally: Tally, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._model, self._kept, self._tally, self._stop_asking = model, kept, tally, stop

    def run(self) -> None:
        connection, number = self._connection(), 0
        while not self._stop_asking.wait(_PAUSE):
            number = (number + 1) % 1000
            began = time.monotonic()
            # The server may say that it is the last answer on a connection; a new one is then opened, and counted.
            if connection.sock is None:
                with self._tally.lock:
                    self._tally.connections += 1
            try:
                self._tally.answered(ask(connection, self._model, number, self._tally.versions))
                if not self._kept:
                    connection.close()
            except Exception as error:
                kind = "kept" if self._kept else "new"
                took = time.monotonic() - began
                self._tally.failed(f"{kind} connection, after {took:.2f} s: {type(error).__name__}: {error}")
                connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._address, timeout=_TIMEOUT)


def main(arguments: list[str]) -> None:
    url, model, *versions = arguments
    reach(url)
    tally, stop = Tally(tuple(map(int, versions))), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    askers = [Asker(url, model, number < _KEPT, tally, stop) for number in range(_KEPT + _FRESH)]
    for asker in askers:
        asker.start()
    while not (tally.first.wait(0.2) or stop.is_set()):
        pass
    print("asking", flush=True)
    for asker in askers:
        asker.join()
    print(json.dumps(tally.report()))


if __name__ == "__main__":
    main(sys.argv[1:])
