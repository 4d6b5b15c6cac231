"""Pages of metrics as the runtime writes them, of replicas that are not there, for a real Prometheus: to be scraped, or
to be its past.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mooring_runtime.metrics import Aims, Capacity, MetricsPage, Page, WholePage, constant_labels, render

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
CAPACITY = Capacity(limit=32, delay=0.0, curve=(0.04, 0.008), mean=0.1, variation=0.2, queue=64)
"""A pod with the curve of a large model on a GPU."""


class Replica:
    """One replica and what happened to it."""

    def __init__(
        self, service: str, namespace: str, *, capacity: Capacity | None = CAPACITY, workers: int = 1, **aims: float
    ) -> None:
        page = MetricsPage(Aims(**aims))  # type: ignore[arg-type]
        self.stats = page.add(service, "1")
        self.stats.ready = True
        self.stats.capacity = lambda: self.capacity
        self.stats.load = lambda: (self.queued, self.running)
        self.capacity = capacity
        self.queued = self.running = 0
        self.alive = True
        """Else whoever scrapes it has no answer."""
        self._page = page
        self._workers = workers
        self._labels = constant_labels(service, namespace)

    def receive(self, requests: int) -> None:
        self.stats.received += requests

    def refuse(self, requests: int, cause: str = "queue_full") -> None:
        self.stats.received += requests
        self.stats.rejected[cause] += requests

    def answer(self, requests: int, seconds: float, samples: int = 1) -> None:
        """Requests come and are answered, each after so long and in a run of its own."""
        self.stats.received += requests
        self.stats.observe_requests([0.0] * requests, 0.0, seconds)
        for _ in range(requests):
            self.stats.observe_run(samples, 1, 0.0, seconds, 0.0)

    def text(self) -> str:
        """The page."""
        workers = (self._workers, self._workers, 0)
        return WholePage(self._page.page, lambda: workers, self._labels).render()[0].decode()

    def record(self, metrics: Collection[str], **labels: str) -> Iterator[tuple[str, str]]:
        """The lines of some metrics as OpenMetrics, each behind the line that begins its family, with the labels that a
        scraper adds.
        """
        page: Page = {**self._page.page(), "mooring_workers": {("", ()): float(self._workers)}}
        some = {name: samples for name, samples in page.items() if name in metrics}
        head = ""
        for line in render(some, OPENMETRICS, {**self._labels, **labels})[0].decode().splitlines():
            if line.startswith("# TYPE "):
                head = line
            elif not line.startswith("#"):
                yield head, line


def past(
    replicas: Mapping[str, Replica],
    metrics: Collection[str],
    moments: Iterable[float],
    happens: Callable[[float], None],
) -> str:
    """What a Prometheus would have that scraped these replicas, by their `instance`, at these moments (unix seconds):
    OpenMetrics with times. `happens` is called with each moment, before the scrape.
    """
    families: dict[str, list[str]] = {}
    for moment in moments:
        happens(moment)
        for instance, replica in replicas.items():
            for head, line in replica.record(metrics, instance=instance, job="models"):
                families.setdefault(head, []).append(f"{line} {moment:.3f}")
    return "\n".join([*(line for head, lines in families.items() for line in (head, *lines)), "# EOF\n"])


@contextmanager
def served(*replicas: Replica) -> Iterator[list[str]]:
    """Addresses at which the pages of replicas can be scraped."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(replica)) for replica in replicas]
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield [f"127.0.0.1:{server.server_address[1]}" for server in servers]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


def _handler(replica: Replica) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = replica.text().encode()
            self.send_response(200 if replica.alive else 503)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    return Handler
