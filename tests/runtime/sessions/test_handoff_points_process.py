"""Real replicas that die at each point of a handoff, on either side: every acknowledged step is there afterwards.

The simulation dies there a thousand times in one process (`test_conformance`); here are real volumes and real sockets.
"""

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mooring_runtime.sessions.handoff import Point
from mooring_runtime.sessions.record import Record
from tests.support import stopping
from tests.support.peer_fleet import TOKEN, Fleet, fleet, step_bytes
from tests.support.runtime_process import connect, post, read_reply
from tests.support.state_models import accumulator

pytestmark = pytest.mark.timeout(90)

AT_RECEIVER = {Point.SENT, Point.KEPT, Point.ANSWERED}
SESSIONS = [f"s{number}" for number in range(12)]


@dataclass
class Service:
    """Two replicas that go on from one test to the next, and what their clients know."""

    replicas: Fleet
    stops: Path
    record: Record = field(default_factory=lambda: Record(1, 1))
    steps: dict[str, int] = field(default_factory=dict)
    """By session, the last step that was answered; each adds 1, so it is the sum as well."""

    def step(self, session: str, at: int) -> bool:
        """The next step of a session; whether it was applied."""
        status, document, _ = self.replicas.step(at, session, self.steps.get(session, 0) + 1)
        return self._told(session, status, document)

    def _told(self, session: str, status: int, document: dict[str, Any]) -> bool:
        if status != 200:
            assert (status, document["applied"]) in {(503, "no"), (504, "unknown")}, document
            return False
        number = self.steps.get(session, 0) + 1
        assert document["outputs"][0]["data"] == [number]
        self.steps[session] = number
        return True

    def step_all(self, at: int, seconds: float) -> None:
        """The next step of each session at once; who is not answered in this time is not answered."""
        with contextlib.ExitStack() as stack:
            asked = {}
            for session in SESSIONS:
                line = stack.enter_context(connect(self.replicas.servers[at].port, self.replicas.hosts[at]))
                line.sendall(step_bytes(session, self.steps[session] + 1))
                asked[session] = line
            end = time.monotonic() + seconds
            for session, line in asked.items():
                line.settimeout(max(0.001, end - time.monotonic()))
                with contextlib.suppress(TimeoutError):
                    status, _, body = read_reply(line)
                    self._told(session, status, json.loads(body))

    def check(self) -> None:
        """Everything is where it was left, and goes on."""
        for index, session in enumerate(SESSIONS):
            assert self.replicas.sum(index % 2, session, self.steps[session]) == self.steps[session]
            assert self.step(session, (index + 1) % 2), session

    def resize(self, size: int) -> None:
        """Write another record; whoever is asked may stop before it has answered."""
        self.record = Record(self.record.epoch + 1, size, (self.record.size,))
        leaving, coming = (0, 1) if size == 2 else (1, 0)
        self.replicas.adopt(self.record, coming)
        body, token = self.record.to_json(), f"Authorization: Bearer {TOKEN}"
        request = post("/membership", body, token, "Connection: close").replace(b"POST", b"PUT", 1)
        with connect(self.replicas.port, self.replicas.hosts[leaving]) as connection:
            connection.sendall(request)
            self._wait_for_stop()

    def _wait_for_stop(self) -> None:
        end, reached = time.monotonic() + 20, self.stops / "reached"
        while not reached.exists():
            assert time.monotonic() < end, "no replica came to the point"
            time.sleep(0.005)
        reached.unlink()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("points")
    stops = folder / "stops"
    stops.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(next(iter(stopping.__path__))))
        patch.setenv("STOP_AT", str(stops))
        with fleet(folder, accumulator(folder / "model.onnx"), 2, Record(1, 1)) as replicas:
            made = Service(replicas, stops)
            for session in SESSIONS:
                assert made.step(session, 0)
            yield made


@pytest.mark.parametrize("dies", ["sender", "receiver"])
@pytest.mark.parametrize("point", list(Point), ids=lambda point: point.name)
def test_a_replica_dies_at_a_point_of_a_handoff(service: Service, point: Point, dies: str) -> None:
    size = 2 if service.record.size == 1 else 1
    sender, receiver = (0, 1) if size == 2 else (1, 0)
    stopped = receiver if point in AT_RECEIVER else sender
    victim = sender if dies == "sender" else receiver
    (service.stops / f"{stopped}.{point.name}").touch()
    service.resize(size)
    replicas = service.replicas
    replicas.kill(victim)
    if stopped != victim:
        replicas.servers[stopped].stop(signal.SIGCONT)
    survivor = replicas.servers[1 - victim]
    for session in SESSIONS:
        service.step(session, 1 - victim)  # Here or there, or nowhere for now.
    # What comes back has to go by its own disk: for now nobody tells it what has happened since.
    survivor.stop(signal.SIGSTOP)
    replicas.start(victim).ready()
    service.step_all(victim, 0.3)
    survivor.stop(signal.SIGCONT)
    replicas.clean()
    service.check()
    service.record = Record(service.record.epoch + 1, size)
    replicas.adopt(service.record)
    service.check()
