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
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.bench.report import percentile

INPUTS = 16
"""Numbers of an input; as `models`, which takes long to import."""

_LENGTH = b"ontent-length: "
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
        raise ValueError(f"an answer that is no success: {data[:600]!r}")
    at = data.find(_LENGTH, 0, end)
    return len(data) >= end + 4 + int(data[at + len(_LENGTH) : data.find(b"\r", at)])


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
    lines = _lines(spec)
    poll = select.epoll()
    clock = time.perf_counter
    sent = [0.0] * spec.connections
    parts = [b""] * spec.connections
    waited: list[float] = []
    began = clock()
    first, end = began + spec.warm, began + spec.warm + spec.seconds
    cpu = counted = open_still = 0.0
    for file, (index, line) in lines.items():
        poll.register(file, select.EPOLLIN)
        if (data := following(index)) is not None:
            sent[index] = clock()
            line.sendall(data)
            open_still += 1
    started_counting = False
    while open_still:
        for file, _ in poll.poll():
            index, line = lines[file]
            data = line.recv(1 << 16)
            if not data:
                raise ValueError("the server closed a connection")
            if parts[index]:
                data = parts[index] + data
            if not whole(data):
                parts[index] = data
                continue
            parts[index] = b""
            now = clock()
            if not started_counting and now >= first:
                started_counting, counted, cpu, waited = True, now, time.process_time(), []
            waited.append(now - sent[index])
            after = following(index) if spec.create or now < end else None
            if after is None:
                open_still -= 1
                if open_still == spec.connections - 1:
                    total, used = len(waited), time.process_time() - cpu
                    ended = now
                continue
            sent[index] = now
            line.send(after)
    return {
        "rate": total / (ended - counted),
        "p50": percentile(waited, 50) * 1000,
        "p99": percentile(waited, 99) * 1000,
        "client": 100 * used / (ended - counted),
    }


def _lines(spec: Spec) -> dict[int, tuple[int, socket.socket]]:
    return {line.fileno(): (index, line) for index, line in enumerate(_connect(spec))}


def _connect(spec: Spec) -> Iterator[socket.socket]:
    for _ in range(spec.connections):
        line = socket.create_connection(("127.0.0.1", spec.port), 30)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield line


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
