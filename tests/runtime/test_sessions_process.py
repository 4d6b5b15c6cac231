"""Sessions on a real server, with a real volume, that is killed."""

import contextlib
import http.client
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import state_models
from tests.support.runtime_process import Server, serving

pytestmark = pytest.mark.timeout(60)


class Told(NamedTuple):
    """An answer."""

    status: int
    document: dict[str, Any]
    headers: dict[str, str]

    @property
    def sum(self) -> float:
        assert self.status == 200, self
        return float(self.document["outputs"][0]["data"][0])

    @property
    def cause(self) -> tuple[int, str, str]:
        return self.status, self.document["cause"], self.document["applied"]


class Client:
    """Asks one server; a connection for each request, so that none is left over when the server is killed."""

    def __init__(self, server: Server) -> None:
        self._port = server.port

    def post(self, path: str, body: str, headers: dict[str, str] | None = None) -> Told:
        """Raises OSError and HTTPException where no answer comes."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)) as connection:
            connection.request("POST", path, body, headers or {})
            reply = connection.getresponse()
            document = json.loads(reply.read() or b"{}")
            return Told(reply.status, document, {name.lower(): text for name, text in reply.getheaders()})

    def step(self, value: float, headers: dict[str, str] | None = None, **parameters: object) -> Told:
        """A step of V2 in JSON."""
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}
        named = {f"sequence_{name}": given for name, given in parameters.items()}
        return self.post("/v2/models/m/infer", json.dumps({"inputs": [tensor], "parameters": named}), headers)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return state_models.accumulator(tmp_path / "model.onnx")


@contextlib.contextmanager
def stateful(model: Path, **variables: str) -> Iterator[Server]:
    given = {"session_path": str(model.parent / "sessions"), "stand_alone": "true", **variables}
    with serving(model, **given) as server:
        yield server


def test_a_session_lives_through_kills_and_retries(model: Path) -> None:
    total = 0.0
    for life in range(3):
        with stateful(model) as server:
            client = Client(server)
            for number in range(life * 10 + 1, life * 10 + 11):
                total += number
                told = client.step(number, id="s", step=number, start=number == 1)
                assert told.sum == total
                assert told.headers["x-mooring-step"] == str(number)
                assert "x-mooring-repeat" not in told.headers
            server.stop(signal.SIGKILL)
            server.code()
        with stateful(model) as server:
            again = Client(server).step(life * 10 + 10, id="s", step=life * 10 + 10)
            assert again.sum == total
            assert again.headers["x-mooring-repeat"] == "true"
            assert Client(server).step(0, id="s", step=life * 10 + 10).cause == (409, "mismatch", "no")
            server.stop()
            assert server.code() == 0


def test_what_clients_are_told(model: Path) -> None:
    with stateful(model) as server:
        client = Client(server)
        assert client.step(1).cause == (400, "bad-session", "no")
        assert client.step(1, id=7).cause == (404, "unknown", "no")
        assert client.step(1, id=7, start=True).sum == 1
        assert client.step(2, id=7).sum == 3
        assert client.step(2, id="7").sum == 5, "a number is its text"
        assert client.step(2, id=7, step=9).cause == (409, "gap", "no")
        assert client.step(5, id=7, end=True).sum == 10
        assert client.step(5, id=7).cause == (410, "ended", "no")
        minted = client.step(4, {"X-Mooring-Session": "new"})
        session = minted.headers["x-mooring-session"]
        assert session.startswith("0.")
        assert client.step(1, {"X-Mooring-Session": session}).sum == 5
        ends = {"model": "m", "cause": "ended", "version": None}
        assert server.metric("mooring_sessions_ended_total", **ends) == 1


def test_clients_that_retry_through_kills_are_counted_once(model: Path) -> None:
    """Each of 8 clients sends numbered steps and sends one again until it is answered, while the server is killed."""
    steps, count, kills = 60, 8, 3
    answered = [0] * count
    sums = [0.0] * count
    clients: list[Client] = []
    up, never = threading.Event(), threading.Event()

    def run(index: int) -> None:
        number = 1
        while number <= steps:
            assert up.wait(20)
            try:
                told = clients[-1].step(number + index, id=f"c{index}", step=number, start=number == 1)
            except (OSError, http.client.HTTPException):
                continue
            sums[index] = told.sum
            answered[index] = number
            number += 1

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for life in range(kills + 1):
        with stateful(model) as server:
            clients.append(Client(server))
            up.set()
            if life == 0:
                for thread in threads:
                    thread.start()
            if life < kills:
                while min(answered) < (life + 1) * steps // (kills + 2):
                    assert not never.wait(0.002)
                up.clear()
                server.stop(signal.SIGKILL)
                server.code()
                continue
            for thread in threads:
                thread.join(20)
            assert answered == [steps] * count
            assert sums == [sum(range(1 + index, steps + 1 + index)) for index in range(count)]


def test_in_interval_mode_a_kill_is_told_of(model: Path) -> None:
    mode = {"session_durability": "interval", "session_interval": "10s"}
    with stateful(model, **mode) as server:
        client = Client(server)
        first = client.step(1, id="s", start=True)
        assert (first.sum, first.headers["x-mooring-durable-step"]) == (1, "1")
        second = client.step(2, id="s")
        assert (second.sum, second.headers["x-mooring-durable-step"]) == (3, "1")
        server.stop(signal.SIGKILL)
        server.code()
    with stateful(model, **mode) as server:
        client = Client(server)
        assert client.step(4, id="s").cause == (409, "rewound", "no")
        assert client.step(4, id="s").sum == 5
        server.stop()
        assert server.code() == 0
    with stateful(model, **mode) as server:
        assert Client(server).step(8, id="s").sum == 13, "an end in order loses nothing"


def test_a_session_stays_with_the_version_that_knows_its_state_until_it_ends(tmp_path: Path) -> None:
    root = tmp_path / "models"

    def add(version: str, pair: str) -> None:
        (root / "m" / version).mkdir(parents=True)
        state_models.accumulator(root / "m" / version / "model.onnx", pair=(f"state_in_{pair}", f"state_out_{pair}"))

    add("1", "sum")
    variables = {
        "model_repository": str(root),
        "model_control": "explicit",
        "session_path": str(tmp_path / "sessions"),
        "stand_alone": "true",
        "model_path": "",
    }
    server = Server(root, "", **variables)
    try:
        client = Client(server.ready())
        assert client.step(1, id="s", start=True).document["model_version"] == "1"
        add("2", "other")
        for _ in range(2):
            assert client.post("/v2/repository/models/m/load", "{}").status == 200
            old = client.step(2, id="s")
            assert old.document["model_version"] == "1", "its state is of another schema"
        assert old.sum == 5
        assert client.step(2, id="t", start=True).document["model_version"] == "2"
        server.stop()
        server.code()
        server.end()
        server = Server(root, "", **variables)
        client = Client(server.ready())
        old = client.step(0, id="s")
        assert (old.sum, old.document["model_version"]) == (5, "1"), "a start brings back what sessions need"
        assert client.step(2, id="s", end=True).sum == 7
        server.line("model 'm' version 1 has no sessions left")
        assert client.step(2, id="t").sum == 4
    finally:
        server.end()
