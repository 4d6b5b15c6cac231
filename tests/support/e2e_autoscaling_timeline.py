"""What happened to a service while its load changed, as its clients, its autoscaler and Prometheus tell, by seconds."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.e2e_autoscaling import Prometheus
from tests.support.e2e_autoscaling_load import Second
from tests.support.e2e_service import ROOT, Served
from tests.support.e2e_stateful import Stateful
from tests.support.e2e_watch import Watch


@dataclass(frozen=True)
class Row:
    """One second.

    Attributes:
        at: seconds since the beginning.
        seen: what the clients saw.
        queue: requests that wait, as Prometheus has it.
        wanted: replicas that the HorizontalPodAutoscaler asks for; 0 before it has said so.
        replicas: of the Deployment or StatefulSet, of which
        ready: answer.
        notes: what the test did since the row before.
    """

    at: float
    seen: Second
    queue: float | None
    wanted: int
    replicas: int
    ready: int
    notes: tuple[str, ...] = ()

    @property
    def p95(self) -> float:
        """The clients' latency in seconds; 0 while nobody asks."""
        return self.seen.p95 or 0.0


def table(title: str, rows: list[Row], every: int = 3) -> str:
    """Each `every`th row, the last one, and each at which something was done or replicas changed, as lines of text."""
    lines = [
        title,
        f"{'s':>6} {'req/s':>6} {'503/s':>6} {'p95 ms':>7} {'queue':>6} {'desired':>8} {'replicas':>9} {'ready':>6}",
    ]
    last: tuple[int, int, int] | None = None
    for number, row in enumerate(rows):
        counts = (row.wanted, row.replicas, row.ready)
        if number % every and not row.notes and counts == last and row is not rows[-1]:
            continue
        last = counts
        p95 = "-" if row.seen.p95 is None else f"{row.seen.p95 * 1000:.0f}"
        queue = "-" if row.queue is None else f"{row.queue:.0f}"
        pods = f"{row.wanted:>8} {row.replicas:>9} {row.ready:>6}"
        line = f"{row.at:6.0f} {row.seen.came:6} {row.seen.refused:6} {p95:>7} {queue:>6} {pods}"
        lines.append(f"{line}  {'; '.join(row.notes)}".rstrip())
    return "\n".join(lines)


@dataclass
class Timeline:
    """The rows so far. `send` changes the load; `until` waits for a row."""

    service: Served
    orders: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def send(self, rate: float) -> None:
        """So many requests a second come from now on."""
        self.note(f"{rate:.1f} requests a second" if rate else "no more requests")
        self.orders(f"{rate}\n")

    def note(self, what: str) -> None:
        """Tells what the test does, for the table."""
        with self._changed:
            self._notes.append(what)

    def until(self, condition: Callable[[Row], bool], seconds: float, what: str) -> Row:
        """Waits for a row from now on that meets the condition, and returns it.

        Raises:
            AssertionError: none did in time; the message holds the table and what the cluster tells.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            seen = len(self.rows)
            while True:
                for row in self.rows[seen:]:
                    if condition(row):
                        return row
                seen = len(self.rows)
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
        raise AssertionError(f"{table(f'waited {seconds:.0f} s for {what}', self.rows, 1)}\n{self.service.account()}")

    def since(self, row: Row) -> list[Row]:
        """That row and all after it."""
        return [each for each in self.rows if each.at >= row.at]

    def add(self, at: float, seen: Second, queue: float | None, counts: tuple[int, int, int]) -> None:
        with self._changed:
            self.rows.append(Row(at, seen, queue, *counts, tuple(self._notes)))
            self._notes.clear()
            self._changed.notify_all()


@contextmanager
def recorded(service: Served, prometheus: Prometheus) -> Iterator[Timeline]:
    """Clients of a service, none of which asks yet, and what is told of it while the block runs. With a state each
    request begins a session.
    """
    module = [sys.executable, "-m", "tests.support.e2e_autoscaling_load", service.url, service.name]
    stateful = isinstance(service, Stateful)
    argv = service.cluster.command(*module, *(["X-Mooring-Session: new"] if stateful else []))
    queued = f'sum(mooring_queue_depth{{mooring_namespace="{service.namespace}",mooring_service="{service.name}"}})'
    watched = [
        Watch(service.cluster, kind, service.namespace, service.name)
        for kind in ("statefulset" if stateful else "deployment", "horizontalpodautoscaler")
    ]
    with (
        watched[0] as deployment,
        watched[1] as autoscaler,
        subprocess.Popen(
            argv, cwd=ROOT, env=service.cluster.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as clients,
    ):
        lines, orders = clients.stdout, clients.stdin
        assert lines is not None
        assert orders is not None

        def order(text: str) -> None:
            orders.write(text)
            orders.flush()

        timeline, began = Timeline(service, order), time.monotonic()

        def read() -> None:
            for line in lines:
                seen = Second(**json.loads(line))
                timeline.add(time.monotonic() - began, seen, prometheus.query(queued), _counts(deployment, autoscaler))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield timeline
        finally:
            orders.close()
            reader.join()


def _counts(deployment: Watch, autoscaler: Watch) -> tuple[int, int, int]:
    """What the autoscaler wants, what the workload has, and how many of them answer."""
    scaled = (deployment.states[-1] if deployment.states else None) or {}
    wanted = (autoscaler.states[-1] if autoscaler.states else None) or {}
    return (
        int(wanted.get("status", {}).get("desiredReplicas", 0)),
        int(scaled.get("spec", {}).get("replicas", 0)),
        int(scaled.get("status", {}).get("readyReplicas", 0)),
    )
