"""A closed loop of requests over keep-alive connections, one at a time on each; a process of its own on its own core.

wrk cannot keep a session to a connection, so this does: bytes that were made before the run, plain sockets, one epoll.
`python -m tests.bench.sessions.client` reads a `Spec` as JSON and prints a line of JSON.
"""

import gc
import json
import random
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.bench.report import percentile

INPUTS = 16
"""Numbers of an input; as `models`, which takes long to import."""

_LENGTH = b"\r\nContent-Length: "
_RANDOM = random.Random("bench")
INPUT = {
    "name": "x",
    "shape": [1, INPUTS],
    "datatype": "FP32",
    "data": [round(_RANDOM.gauss(0, 1), 6) for _ in range(INPUTS)],
}
"""The same in every request."""


@dataclass(frozen=True)
class Spec:
    """What to send.

    Attributes:
        path: of the POST.
        sessions: the ids are 1 to this; 0: requests name no session. No two connections use the same.
        parameter: the session is named in the JSON, as clients of Triton do; else in a header.
        create: every session's first step once, instead of a timed run.
    """

    port: int
    path: str
    sessions: int
    connections: int
    seconds: float
    parameter: bool = False
    warm: float = 0.5
    create: bool = False
    seed: int = 1


def request(spec: Spec, session: int, *, start: bool = False) -> bytes:
    """The bytes of one step; session 0: of a request without one."""
    document: dict[str, object] = {"inputs": [INPUT]}
    lines = [f"POST {spec.path} HTTP/1.1", "Host: 127.0.0.1"]
    if session and spec.parameter:
        document["parameters"] = {"sequence_id": session}
    elif session:
        lines.append(f"X-Mooring-Session: {session}")
    if start:
        lines.append("X-Mooring-Session-Start: true")
    body = json.dumps(document, separators=(",", ":"))
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


def whole(data: bytes) -> bool:
    """Whether these bytes are one answer to its end. Raises ValueError for one that is no success."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    if not data.startswith(b"HTTP/1.1 200"):
        raise ValueError(f"an answer that is no success: {data[:300]!r}")
    at = data.index(_LENGTH, 0, end) + len(_LENGTH)
    return len(data) >= end + 4 + int(data[at : data.index(b"\r", at)])


def run(spec: Spec) -> dict[str, float]:
    """Send for so many seconds. Raises ValueError, OSError."""
    if spec.create:
        starts = iter([request(spec, session, start=True) for session in range(1, spec.sessions + 1)])
        return _loop(spec, lambda _: next(starts, None))
    if not spec.sessions:
        only = request(spec, 0)
        return _loop(spec, lambda _: only)
    own = [
        [request(spec, session) for session in range(1 + line, spec.sessions + 1, spec.connections)]
        for line in range(spec.connections)
    ]
    choose = random.Random(spec.seed).choice
    return _loop(spec, lambda line: choose(own[line]))


def _loop(spec: Spec, following: Callable[[int], bytes | None]) -> dict[str, float]:
    with ExitStack() as stack:
        lines = [stack.enter_context(_connect(spec.port)) for _ in range(spec.connections)]
        return _Load(spec, lines, following).run()


class _Load:
    """One request at a time on each of the connections, which are known by their place."""

    def __init__(self, spec: Spec, lines: Sequence[socket.socket], following: Callable[[int], bytes | None]) -> None:
        self._spec = spec
        self._lines = lines
        self._following = following
        self._sent = [0.0] * len(lines)
        self._parts = [b""] * len(lines)
        self._waited: list[float] = []

    def run(self) -> dict[str, float]:
        """Until the time is over, or nothing follows."""
        clock, poll = time.perf_counter, select.epoll()
        places = {line.fileno(): place for place, line in enumerate(self._lines)}
        began = clock()
        first, end = began + self._spec.warm, began + self._spec.warm + self._spec.seconds
        running = 0
        for place, line in enumerate(self._lines):
            poll.register(line.fileno(), select.EPOLLIN)
            running += self._send(place)
        cpu, counted, told = time.process_time(), began, None
        while running:
            for file, _ in poll.poll():
                place = places[file]
                if not self._receive(place):
                    continue
                now = clock()
                if counted == began and now >= first:
                    cpu, counted, self._waited = time.process_time(), now, []
                self._waited.append(now - self._sent[place])
                if self._spec.create or now < end:
                    running -= not self._send(place)
                else:
                    running -= 1
                    # What comes after the end comes from ever fewer connections: it is no figure.
                    told = told or self._figure(now - counted, time.process_time() - cpu)
        poll.close()
        return told or self._figure(clock() - counted, time.process_time() - cpu)

    def _send(self, place: int) -> bool:
        data = self._following(place)
        if data is None:
            return False
        self._sent[place] = time.perf_counter()
        self._lines[place].sendall(data)
        return True

    def _receive(self, place: int) -> bool:
        data = self._lines[place].recv(1 << 16)
        if not data:
            raise ValueError("the server closed a connection")
        data = self._parts[place] + data
        done = whole(data)
        self._parts[place] = b"" if done else data
        return done

    def _figure(self, seconds: float, cpu: float) -> dict[str, float]:
        return {
            "rate": len(self._waited) / seconds,
            "p50": percentile(self._waited, 50) * 1000,
            "p99": percentile(self._waited, 99) * 1000,
            "client": 100 * cpu / seconds,
        }


def _connect(port: int) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), 30)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def main() -> int:
    """Run what standard input asks for."""
    gc.disable()  # A collection among 10^5 objects is a pause that would be told as the server's.
    try:
        told: dict[str, object] = dict(run(Spec(**json.load(sys.stdin))))
    except (OSError, ValueError) as error:
        told = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(told))
    return 1 if "error" in told else 0


if __name__ == "__main__":
    sys.exit(main())
