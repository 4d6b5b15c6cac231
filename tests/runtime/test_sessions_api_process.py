"""/v2/sessions and its command line against real servers, their volumes, and each other."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from tests.support.ports import free_ports, is_free
from tests.support.runtime_process import Server, exchange, get, post
from tests.support.state_models import accumulator

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

TOKEN = "secret"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return accumulator(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


def step(server: Server, session: str, value: float, number: int | None = None, **parameters: object) -> float:
    """One step by V2's JSON; the sum of all so far."""
    named: dict[str, object] = {"sequence_id": session, **parameters}
    if number is not None:
        named["sequence_step"] = number
    data = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}
    request = json.dumps({"inputs": [data], "outputs": [{"name": "sum"}], "parameters": named}).encode()
    status, _, answer = exchange(server.port, post("/v2/models/m/infer", request))
    assert status == 200, answer
    return float(json.loads(answer)["outputs"][0]["data"][0])


def command(*words: str, folder: Path | None = None, code: int = 0, token: str = TOKEN) -> str:
    """What `mooring_runtime sessions` writes, as a process."""
    done = subprocess.run(
        [sys.executable, "-m", "mooring_runtime", "sessions", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "MOORING_SESSION_TOKEN": token},
        timeout=30,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@contextlib.contextmanager
def serving(model: Path, volume: Path, token: Path, **variables: str) -> Iterator[Server]:
    settings = {"session_path": str(volume), "session_token_file": str(token), "stand_alone": "true", **variables}
    server = Server(model, **settings)
    try:
        yield server.ready()
    finally:
        server.end()


def test_the_life_of_sessions_at_one_server(model: Path, token: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    with serving(model, volume, token) as server:
        at = ("--server", f"http://127.0.0.1:{server.port}")
        assert step(server, "a", 1.0, 1, sequence_start=True) == 1.0
        assert json.loads(command("trace", "a", "--steps", "10", *at)) == {"keeps": 10, "steps": []}
        assert step(server, "a", 2.0, 2) == 3.0
        assert step(server, "a", 2.0, 2) == 3.0  # Sent again: the stored reply.
        shown = json.loads(command("show", "a", *at))
        assert (shown["step"], shown["bytes"], shown["state"], shown["owner"]) == (2, 4, "active", 0)
        steps = json.loads(command("trace", "a", *at))["steps"]
        assert [(each["step"], each["outcome"]) for each in steps] == [(2, "applied"), (2, "repeat")]
        assert steps[0]["digest"] == shown["digest"]
        assert steps[0]["committed"] > 0
        assert "(forbidden)" in command("export", "a", *at, token="", code=1)
        command("export", "a", "--output", "a.session", *at, folder=tmp_path)
        forked = json.loads(command("fork", "a", "--to", "b", *at))
        assert (forked["step"], forked["digest"]) == (2, shown["digest"])
        assert step(server, "b", 10.0) == 13.0
        assert step(server, "a", 4.0, 3) == 7.0
        assert json.loads(command("reset", "b", *at))["step"] == 0
        assert step(server, "b", 5.0) == 5.0
        made = json.loads(exchange(server.port, post("/v2/sessions", b'{"id": "c"}'))[2])
        assert (made["step"], made["state"]) == (0, "active")
        assert step(server, "c", 8.0, 1) == 8.0  # It began without a start: it was there.
        assert json.loads(command("end", "c", *at))["state"] == "ended"
        assert "(exists)" in command("import", "a.session", *at, folder=tmp_path, code=1)
        rows = [json.loads(line) for line in command("list", "--json", *at).splitlines()]
        assert [(row["id"], row["state"], row["step"]) for row in rows] == [
            ("a", "active", 3),
            ("b", "active", 1),
            ("c", "ended", 1),
        ]
        labels: dict[str, str | None] = {"version": None}
        assert server.metric("mooring_sessions", state="active", **labels) == 2
        assert server.metric("mooring_session_steps_total", **labels) == 6
        assert server.metric("mooring_session_repeats_total", **labels) == 1
        assert server.metric("mooring_sessions_ended_total", cause="ended", **labels) == 1
        assert server.metric("mooring_session_commit_seconds_count", model=None, **labels) > 0
        assert server.metric("mooring_session_bytes", model=None, tier="disk", **labels) > 0
        assert server.metric("mooring_session_epoch", model=None, **labels) == 1
        shown = json.loads(command("show", "a", *at))
        server.stop(signal.SIGKILL)
        server.code()
    # Nobody has the volume open now.
    found = json.loads(command("show", "a", "--volume", str(volume)))
    assert (found["step"], found["digest"], found["incarnation"]) == (3, shown["digest"], shown["incarnation"])
    assert [row.split()[0] for row in command("list", "--volume", str(volume)).splitlines()[1:]] == ["a", "b", "c"]
    command("export", "a", "--volume", str(volume), "--output", "lost.session", folder=tmp_path)
    assert "it is not on this volume" in command("show", "x", "--volume", str(volume), code=1)
    with serving(model, tmp_path / "other", token) as server:
        at = ("--server", f"http://127.0.0.1:{server.port}")
        assert json.loads(command("import", "lost.session", *at, folder=tmp_path))["id"] == "a"
        assert step(server, "a", 4.0, 3) == 7.0  # The reply came along.
        assert step(server, "a", 1.0, 4) == 8.0
        assert "a server has" in command("list", "--volume", str(tmp_path / "other"), code=1)


def test_any_of_two_replicas_answers(model: Path, token: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    record.write_bytes(Record(1, 2).to_json())
    peers = tmp_path / "peers"
    peers.write_text("between us")
    # The address of an ordinal has the ordinal as the last digit of its port.
    tens = next(port // 10 for port in free_ports(20) if all(is_free(port // 10 * 10 + last) for last in range(2)))
    address = f"http://127.0.0.1:{tens}{{ordinal}}"
    shared = {"stand_alone": "false", "membership_file": str(record), "peer_token_file": str(peers)}
    with contextlib.ExitStack() as stack:
        servers = []
        for ordinal in range(2):
            at = tens * 10 + ordinal
            settings = {**shared, "ordinal": str(ordinal), "peer_address": address, "peer_port": str(at)}
            servers.append(stack.enter_context(serving(model, tmp_path / f"volume{ordinal}", token, **settings)))
        names = [next(f"s{n}" for n in range(99) if place(Key("m", f"s{n}"), 2) == home) for home in range(2)]
        for name in names:
            assert step(servers[0], name, 1.0, 1, sequence_start=True) == 1.0
        for server in servers:
            at_it = ("--server", f"http://127.0.0.1:{server.port}")
            rows = [json.loads(line) for line in command("list", "--json", *at_it).splitlines()]
            assert {row["id"]: row["owner"] for row in rows} == {names[0]: 0, names[1]: 1}
            for ordinal, name in enumerate(names):
                assert json.loads(command("show", name, *at_it))["owner"] == ordinal
        other = ("--server", f"http://127.0.0.1:{servers[1].port}")
        assert json.loads(command("fork", names[0], "--to", "fork-of-it", *other))["step"] == 1
        assert json.loads(command("reset", names[0], *other))["step"] == 0
        assert json.loads(command("end", names[0], *other))["state"] == "ended"
        local = f"/v2/sessions/{names[0]}?local=true&model=m"
        assert get(servers[1].port, local)[0] == 421
        # The peer port has the same API, for who has the token of the peers.
        peer = ("--server", f"http://127.0.0.1:{tens}0")
        assert json.loads(command("show", names[0], *peer, token="between us"))["state"] == "ended"
        assert "the peer port wants" in command("show", names[0], *peer, code=1)
        servers[0].stop(signal.SIGKILL)
        servers[0].code()
        assert "ordinal 0 did not answer" in command("list", *other, code=3)
        status, document = get(servers[1].port, f"/v2/sessions/{names[0]}")
        assert (status, document["cause"]) == (503, "owner-down")
