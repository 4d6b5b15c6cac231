"""Requests that come when they come, whatever the server does: a Poisson process of single requests.

Each has a connection of its own: kube-proxy chooses a replica for a connection, not for a request, so that a new one
gets its share at once. Latency counts from the planned moment.

Usage: python -m tests.support.e2e_autoscaling_load URL MODEL [HEADER] (requests a second on standard input, a line
each, the last one holds; one `Second` a second as JSON on standard output; it ends with its input)
"""

import asyncio
import json
import math
import random
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from tests.bench.report import percentile

_TIMEOUT = 10.0
_SPAN = 5.0
"""Seconds of which a percentile is taken."""


@dataclass(frozen=True)
class Second:
    """What a client sees of one second.

    Attributes:
        came: requests that were sent, of which
        refused: were answered 503 or 429, and
        failed: had another answer than 200, or none.
        p95: of the latency of answers in seconds, over five seconds; None without any.
    """

    came: int
    refused: int
    failed: int
    p95: float | None


@dataclass
class _Client:
    host: str
    port: int
    request: bytes
    rate: float = 0.0
    over: bool = False
    came: int = 0
    refused: int = 0
    failed: int = 0
    answered: deque[tuple[float, float]] = field(default_factory=deque)
    """When each answer came, and after how long."""
    running: set["asyncio.Task[None]"] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def obey(self, rate: float | None) -> None:
        """So many requests a second from now on; None ends it."""
        self.rate, self.over = rate or 0.0, rate is None
        self.changed.set()

    async def come(self) -> None:
        """Sends requests at the rate of the moment until it is over."""
        due = time.monotonic()
        while not self.over:
            due += random.expovariate(self.rate) if self.rate > 0.0 else math.inf
            if await self._hears_of_a_change(due - time.monotonic()):
                due = time.monotonic()
                continue
            self.came += 1
            task = asyncio.create_task(self._ask(due))
            self.running.add(task)
            task.add_done_callback(self.running.discard)

    async def _hears_of_a_change(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        return True

    async def _ask(self, due: float) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                status = await self._exchange()
        except (OSError, ValueError, IndexError, TimeoutError):
            self.failed += 1
            return
        if status in {429, 503}:
            self.refused += 1
        elif status != 200:
            self.failed += 1
        else:
            now = time.monotonic()
            self.answered.append((now, now - due))

    async def _exchange(self) -> int:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(self.request)
            return int((await reader.read()).split(b" ", 2)[1])
        finally:
            writer.close()

    def second(self) -> Second:
        """What came since it was asked last."""
        now = time.monotonic()
        while self.answered and self.answered[0][0] < now - _SPAN:
            self.answered.popleft()
        took = [seconds for _, seconds in self.answered]
        told = Second(self.came, self.refused, self.failed, percentile(took, 95) if took else None)
        self.came = self.refused = self.failed = 0
        return told


async def main(url: str, model: str, *headers: str) -> None:
    parts = urlsplit(url)
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]})
    further = "".join(f"{header}\r\n" for header in headers)
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {parts.hostname}\r\nConnection: close\r\n{further}"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    client = _Client(parts.hostname or "", parts.port or 80, request)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)

    async def obey() -> None:
        while line := await orders.readline():
            client.obey(float(line))
        client.obey(None)

    async def tell() -> None:
        while not client.over:
            await asyncio.sleep(1.0)
            print(json.dumps(asdict(client.second())), flush=True)

    await asyncio.gather(obey(), tell(), client.come())
    await asyncio.gather(*client.running)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
