"""What becomes of steps that wait in queues when their server is told to stop: answered, or safe to send again."""

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from tests.support import failing_disk, state_models
from tests.support.peer_fleet import fleet
from tests.support.runtime_process import Server, connect, post, read_reply, serving

pytestmark = pytest.mark.timeout(60)

NUMBERED = [f"numbered{index}" for index in range(6)]
PLAIN = [f"plain{index}" for index in range(3)]
STEPS = 4
"""That are on their way at once on one connection, of one session."""


class Told(NamedTuple):
    """An answer."""

    status: int
    sum: float
    applied: str


def step(session: str, number: int, *, numbered: bool = True) -> bytes:
    """A step that adds a number of its own: the sum tells which steps were applied."""
    said = {"sequence_id": session, "sequence_start": number == 1}
    if numbered:
        said["sequence_step"] = number
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [float(2 ** (number - 1))]}
    return post("/v2/models/m/infer", json.dumps({"inputs": [tensor], "parameters": said}).encode())


def read(connection: socket.socket) -> Told:
    """The next answer. Raises EOFError and OSError where none comes."""
    status, _, body = read_reply(connection)
    document = json.loads(body)
    if status != 200:
        return Told(status, 0.0, document["applied"])
    return Told(status, float(document["outputs"][0]["data"][0]), "yes")


def rest(connection: socket.socket, most: int) -> list[Told]:
    """What is still answered, of so many requests, before the connection is closed."""
    found = list[Told]()
    try:
        while len(found) < most:
            found.append(read(connection))
    except (EOFError, ConnectionError):
        pass
    return found


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file is there each sync takes so many milliseconds as it says, of all servers that are started."""
    library = failing_disk.library(tmp_path)
    if library is None:
        pytest.skip("needs gcc, for a disk that is slow when it is told to be")
    file = tmp_path / "slow"
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("SLOW_SYNC", str(file))
    return file


class Run:
    """Clients of one address that have all they want on its way when the server is told to stop: those with numbers one
    step behind the other on one connection, the others each on a connection of its own.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._begin: Callable[[], socket.socket] = lambda: connect(port, host)
        self._lines: list[tuple[str, list[int], socket.socket]] = []
        self.answers: dict[tuple[str, int], Told] = {}
        for session in (*NUMBERED, *PLAIN):
            with self._begin() as first:
                first.sendall(step(session, 1, numbered=session in NUMBERED))
                assert read(first) == Told(200, 1.0, "yes")

    def send(self) -> None:
        """Everything, and wait for the first answer of all."""
        numbers = list(range(2, 2 + STEPS))
        for session, group in [
            *((session, numbers) for session in NUMBERED),
            *((session, [number]) for session in PLAIN for number in numbers),
        ]:
            line = self._begin()
            line.sendall(b"".join(step(session, number, numbered=session in NUMBERED) for number in group))
            self._lines.append((session, group, line))
        session, group, line = self._lines[0]
        self.answers[session, group[0]] = read(line)

    def end(self) -> int:
        """Read whatever comes; how many answers came."""
        before = len(self.answers)
        for session, group, line in self._lines:
            left = [number for number in group if (session, number) not in self.answers]
            self.answers |= {(session, number): told for number, told in zip(left, rest(line, len(left)), strict=False)}
            line.close()
        return len(self.answers) - before

    def check(self, port: int, host: str = "127.0.0.1") -> None:
        """What was acknowledged is there, what was refused is not, and numbered steps can be sent again."""
        with connect(port, host) as line:
            for session in NUMBERED:
                for number in range(2, 2 + STEPS):
                    line.sendall(step(session, number))
                    assert read(line) == Told(200, 2.0**number - 1, "yes")
            for session in PLAIN:
                line.sendall(step(session, 2 + STEPS, numbered=False))
                there = int(read(line).sum)
                for number in range(2, 2 + STEPS):
                    told = self.answers.get((session, number))
                    applied = "yes" if there & 2 ** (number - 1) else "no"
                    assert told is None or told.applied in ("unknown", applied), (session, number, there, told)


def test_steps_that_wait_are_answered_before_the_end(tmp_path: Path, slow: Path) -> None:
    model = state_models.accumulator(tmp_path / "model.onnx")
    variables = {"session_path": str(tmp_path / "sessions"), "stand_alone": "true"}
    with serving(model, **variables) as server:
        run = Run(server.port)
        slow.write_text("200")
        run.send()
        there = len(NUMBERED) + len(PLAIN)
        while server.metric("mooring_requests_received_total") < there + len(NUMBERED) + STEPS * len(PLAIN):
            time.sleep(0.01)
        server.stop(signal.SIGTERM)
        assert run.end() > 0
        assert server.code() == 0
        # Whoever was let in has an answer: it was in a queue, and the queue is served.
        assert {told.applied for told in run.answers.values()} <= {"yes", "no"}
        assert {(session, number) for session in PLAIN for number in range(2, 2 + STEPS)} <= set(run.answers)
    slow.unlink()
    with serving(model, **variables) as server:
        run.check(server.port)
        server.stop()
        assert server.code() == 0


def test_steps_that_were_passed_on_to_a_replica_that_stops_can_be_sent_again(tmp_path: Path, slow: Path) -> None:
    model = state_models.accumulator(tmp_path / "model.onnx")
    homes = [place(Key("m", session), 2) for session in (*NUMBERED, *PLAIN)]
    assert set(homes) == {0, 1}
    with fleet(tmp_path, model, 2, Record(1, 2)) as replicas:
        run = Run(replicas.servers[0].port, replicas.hosts[0])
        slow.write_text("100")
        run.send()
        owner: Server = replicas.servers[1]
        owner.stop(signal.SIGTERM)
        assert run.end() > 0
        assert owner.code() == 0
        slow.unlink()
        replicas.start(1).ready()
        run.check(replicas.servers[0].port, replicas.hosts[0])
