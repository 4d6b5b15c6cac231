"""Open-loop load as a process: requests leave when a Poisson process says so, whatever the server does.

`python -m tests.bench.runtime.openloop < SPEC` with SPEC as JSON of `Spec`; prints JSON of `Summary`. Latency counts
from the planned arrival, also where all connections were taken and the request had to wait: a slow server cannot slow
the load down. The loop polls without sleeping, for it has a core of its own; sleeping costs a millisecond of lateness.
"""

import base64
import gc
import json
import random
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.bench.report import percentile
from tests.bench.runtime.exchange import Exchange, ExchangeError, GrpcExchange, HttpExchange, http_request
from tests.bench.runtime.wire import Body

WARM = 0.1
"""Share of the run at its begin that is not counted."""
GRACE = 5.0
"""Seconds for what is unanswered at the end. What is not answered then counts with the time that it has waited."""
CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Spec:
    """One run: `rate` arrivals a second for `seconds`, over so many connections with one request each at a time."""

    protocol: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...]
    data: str
    """The body in base64."""
    rate: float
    seconds: float
    seed: int
    connections: int = 256


@dataclass(frozen=True)
class Summary:
    """What came of it; milliseconds, and answers a second among the arrivals that count."""

    rate: float
    p50: float
    p99: float
    late: float
    failed: int
    unanswered: int


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of a Poisson process in [0, seconds): independent exponential gaps with the mean 1 / rate."""
    source = random.Random(seed)
    times: list[float] = []
    at = source.expovariate(rate)
    while at < seconds:
        times.append(at)
        at += source.expovariate(rate)
    return times


class Connection:
    """A socket and what runs on it."""

    def __init__(self, spec: Spec) -> None:
        self.exchange = _exchange(spec)
        self.planned = 0.0
        self.socket = socket.create_connection(("127.0.0.1", spec.port), CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opening = self.exchange.opening()
        if opening:
            self.socket.sendall(opening)

    def send(self, planned: float) -> None:
        """Send the next request; it is small enough for the kernel's buffer to take it whole."""
        self.planned = planned
        self.socket.sendall(self.exchange.call())

    def receive(self) -> bool | None:
        """See `Exchange.feed`."""
        data = self.socket.recv(65536)
        if not data:
            raise ExchangeError("the server closed the connection")
        ended = self.exchange.feed(data)
        if self.exchange.out:
            self.socket.sendall(self.exchange.out)
            self.exchange.out = b""
        return ended


class Generator:
    """Sends what is due on free connections and notes what comes back."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._connections = [Connection(spec) for _ in range(spec.connections)]
        self._by_file = {each.socket.fileno(): each for each in self._connections}
        self._free = list(self._connections)
        self._waiting: deque[float] = deque()
        self._poll = select.epoll()
        for file in self._by_file:
            self._poll.register(file, select.EPOLLIN)
        self.answered: list[tuple[float, float]] = []
        self.late: list[float] = []
        self.failed = 0

    def run(self) -> Summary:
        """Send everything, wait for the answers, and sum up. Raises ExchangeError, OSError."""
        planned = arrivals(self._spec.rate, self._spec.seconds, self._spec.seed)
        clock, count, sent = time.perf_counter, len(planned), 0
        started = clock()
        end = self._spec.seconds + GRACE
        while True:
            now = clock() - started
            while sent < count and planned[sent] <= now:
                self.late.append(now - planned[sent])
                self._request(planned[sent])
                sent += 1
                now = clock() - started
            self._answers(started)
            if now > end or (sent == count and len(self._free) == len(self._connections)):
                return self._summary(planned, clock() - started)

    def _request(self, planned: float) -> None:
        if self._free:
            self._free.pop().send(planned)
        else:
            self._waiting.append(planned)

    def _answers(self, started: float) -> None:
        for file, _ in self._poll.poll(0):
            connection = self._by_file[file]
            ended = connection.receive()
            if ended is None:
                continue
            if ended:
                self.answered.append((connection.planned, time.perf_counter() - started - connection.planned))
            else:
                self.failed += 1
            if self._waiting:
                connection.send(self._waiting.popleft())
            else:
                self._free.append(connection)

    def _summary(self, planned: Sequence[float], now: float) -> Summary:
        free = set(map(id, self._free))
        open_still = [each.planned for each in self._connections if id(each) not in free] + list(self._waiting)
        return summarize(
            self._spec.seconds, self.answered, [(at, now - at) for at in open_still], self.late, self.failed
        )


def summarize(
    seconds: float,
    answered: Sequence[tuple[float, float]],
    unanswered: Sequence[tuple[float, float]],
    late: Sequence[float],
    failed: int,
) -> Summary:
    """Sum up (planned arrival, seconds until the answer or until the end), without the begin of the run."""
    warm = WARM * seconds
    counted = [waited for at, waited in answered if at >= warm]
    waited = counted + [waited for at, waited in unanswered if at >= warm]
    if not waited:
        return Summary(0, 0, 0, 0, failed, 0)
    return Summary(
        rate=len(counted) / (seconds - warm),
        p50=percentile(waited, 50) * 1000,
        p99=percentile(waited, 99) * 1000,
        late=percentile(late, 99) * 1000,
        failed=failed,
        unanswered=len(waited) - len(counted),
    )


def _exchange(spec: Spec) -> Exchange:
    body = Body(base64.b64decode(spec.data), spec.headers)
    if spec.protocol == "grpc":
        return GrpcExchange(spec.port, body.data)
    return HttpExchange(http_request(spec.port, spec.path, body))


def main() -> int:
    """Run what standard input asks for."""
    gc.disable()  # A collection among 10^5 tuples is a pause that would be told as the server's.
    raw = json.load(sys.stdin)
    spec = Spec(**{**raw, "headers": tuple((name, value) for name, value in raw["headers"])})
    try:
        summary = Generator(spec).run()
    except (ExchangeError, OSError) as error:
        sys.stdout.write(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        return 1
    sys.stdout.write(json.dumps(asdict(summary)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
