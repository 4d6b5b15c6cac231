"""Real replicas that speak over real sockets: hops, resizes, deaths, and who is not let in."""

import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from tests.support import models
from tests.support.certificates import authority, signed
from tests.support.peer_fleet import Fleet, fleet, step_bytes
from tests.support.ports import free_port
from tests.support.runtime_process import connect, exchange, post, read_reply
from tests.support.state_models import accumulator

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]
SESSIONS = [f"s{number}" for number in range(60)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return accumulator(tmp_path_factory.mktemp("model") / "model.onnx")


def test_sessions_go_on_at_any_replica_through_resizes(model: Path, tmp_path: Path) -> None:
    with fleet(tmp_path, model, 3, Record(1, 2)) as replicas:
        for session in SESSIONS:
            assert replicas.sum(0, session, 1) == 1.0
        record, number = Record(1, 2), 1
        for size in (3, 1, 3):
            record = replicas.resize(record, size)
            number += 1
            for index, session in enumerate(SESSIONS):
                assert replicas.sum(index % 3, session, number) == number
                assert replicas.sum((index + 1) % 3, session, number) == number  # The stored reply.
            held = [replicas.report(ordinal)["counts"]["held"] for ordinal in range(3)]
            expected = [sum(place(Key("m", session), size) == ordinal for session in SESSIONS) for ordinal in range(3)]
            assert held == expected


def test_steps_that_wait_for_the_end_of_their_interval_move_with_their_session(model: Path, tmp_path: Path) -> None:
    settings = {"session_durability": "interval", "session_interval": "5s"}
    with fleet(tmp_path, model, 2, Record(1, 2), **settings) as replicas:
        record, number = Record(1, 2), 0
        for size in (1, 2):
            for _ in range(3):
                number += 1
                for session in SESSIONS:
                    assert replicas.sum(0, session, number) == number
            record = replicas.resize(record, size)  # Long before the interval ends.
        for session in SESSIONS:
            assert replicas.sum(1, session, number) == number  # The stored reply.
            assert replicas.sum(1, session, number + 1) == number + 1


def test_a_dead_owner_is_told_quickly_and_comes_back(model: Path, tmp_path: Path) -> None:
    mine = next(name for name in SESSIONS if place(Key("m", name), 2) == 1)
    with fleet(tmp_path, model, 2, Record(1, 2)) as replicas:
        assert replicas.sum(0, mine, 1) == 1.0
        replicas.kill(1)
        began = time.monotonic()
        status, document, headers = replicas.step(0, mine, 2)
        assert (status, document["cause"], document["applied"]) == (503, "owner-down", "no")
        assert headers["retry-after"] == "1"
        assert time.monotonic() - began < 2
        replicas.start(1).ready()
        assert replicas.sum(0, mine, 1) == 1.0  # The reply survived.
        assert replicas.sum(0, mine, 2) == 2.0


def test_a_replica_that_loads_lets_clients_find_another_one(model: Path, tmp_path: Path) -> None:
    """A router that reaches it would take its refusal for the answer, also about what others hold."""
    late = models.slow(tmp_path / "late.onnx", 20_000)
    with fleet(tmp_path, late, 0, None, threads="1") as replicas:  # It is never ready.
        clients, metrics = (free_port() for _ in range(2))
        loads = replicas.start(0, http_port=str(clients), metrics_port=str(metrics))
        loads.line("listening", word="peer_port")
        assert replicas.report(0)["record"] is None
        status, _, body = exchange(metrics, b"GET /v2/health/ready HTTP/1.1\r\nHost: h\r\n\r\n", replicas.hosts[0])
        assert (status, b"loading" in body) == (503, True)
        with pytest.raises(ConnectionRefusedError):
            connect(clients, replicas.hosts[0])
        loads.stop()
        assert loads.code() == 0, "told to stop while it loads"
    with fleet(tmp_path, model, 1, Record(1, 1), http_port=str(clients), metrics_port=str(metrics)) as replicas:
        assert replicas.sum(0, "s", 1) == 1.0


def test_an_owner_that_dies_in_a_handoff_goes_on_with_it(model: Path, tmp_path: Path) -> None:
    with fleet(tmp_path, model, 2, Record(1, 2)) as replicas:
        for session in SESSIONS:
            assert replicas.sum(0, session, 1) == 1.0
        for epoch, (victim, size) in enumerate([(1, 1), (0, 2), (0, 1), (1, 2)], 1):
            record = Record(2 * epoch, size, (3 - size,))
            replicas.adopt(record)
            replicas.kill(victim)
            replicas.start(victim).ready()
            replicas.clean()
            for session in SESSIONS:
                assert replicas.sum(epoch % 2, session, epoch + 1) == epoch + 1
            replicas.adopt(Record(2 * epoch + 1, size))


def test_who_speaks_to_a_replica_must_mean_it(model: Path, tmp_path: Path) -> None:
    with fleet(tmp_path, model, 1, None) as replicas:
        assert replicas.tell(0, "GET", "/membership", token="wrong")[0] == 401
        assert replicas.report(0)["record"] is None
        status, document, _ = replicas.step(0, "s", 1)
        assert (status, document["cause"]) == (503, "no-membership")
        assert replicas.tell(0, "POST", "/absent", b'{"keys": []}', "X-Mooring-To: 1")[0] == 421
        assert replicas.tell(0, "POST", "/absent", b"[]", "X-Mooring-To: 0")[0] == 400
        assert replicas.tell(0, "PUT", "/membership", b'{"epoch": 0}')[0] == 400
        # Another volume than the record names.
        replicas.adopt(Record(1, 1, stores={0: "another"}))
        status, document, _ = replicas.step(0, "s", 1)
        assert (status, document["cause"]) == (503, "volume-replaced")
        # Not ready: the router would bring it sessions of others, which it would refuse.
        status, document = replicas.readiness(0)
        assert (status, "wants another" in document["error"]) == (503, True)
        assert replicas.report(0)["clean"] is False
        store = replicas.report(0)["store"]
        replicas.adopt(Record(2, 1, stores={0: store}))
        assert replicas.readiness(0)[0] == 200
        assert replicas.sum(0, "s", 1) == 1.0
        status, document = replicas.tell(0, "PUT", "/membership", Record(1, 5).to_json())
        assert (status, document["record"]["epoch"]) == (200, 2)
        (tmp_path / "token").write_text("another")
        assert replicas.tell(0, "GET", "/membership")[0] == 401
        assert replicas.tell(0, "GET", "/membership", token="another")[0] == 200


def test_the_mounted_record_is_read_when_it_changes(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    with fleet(tmp_path, model, 1, None, membership_file=str(file)) as replicas:
        assert replicas.report(0)["record"] is None
        for record in (Record(3, 1), Record(4, 1)):
            written = tmp_path / "new.json"
            written.write_bytes(record.to_json())
            written.rename(file)  # As Kubernetes does it: another file takes the place.
            end = time.monotonic() + 10
            while (replicas.report(0)["record"] or {}).get("epoch") != record.epoch:
                assert time.monotonic() < end
                time.sleep(0.05)
        replicas.kill(0)
        file.unlink()
        replicas.start(0).ready()
        assert replicas.report(0)["record"]["epoch"] == 4


def test_replicas_speak_over_tls_to_those_that_their_authority_has_signed(model: Path, tmp_path: Path) -> None:
    mine, file = next(name for name in SESSIONS if place(Key("m", name), 2) == 1), tmp_path / "record.json"
    file.write_bytes(Record(1, 2).to_json())
    ours, other = authority(tmp_path, "ours"), authority(tmp_path, "other")
    shown = signed(ours, tmp_path, "replica", "127.0.0.10", "127.0.0.11")
    settings = {
        "membership_file": str(file),
        "tls_cert_file": str(shown.certificate),
        "tls_key_file": str(shown.key),
        "peer_ca_file": str(ours.certificate),
    }
    trusting = ssl.create_default_context(cafile=str(ours.certificate))

    def ask(replicas: Fleet, number: int) -> tuple[int, bytes]:
        host = replicas.hosts[0]
        with trusting.wrap_socket(connect(replicas.servers[0].port, host), server_hostname=host) as connection:
            connection.sendall(step_bytes(mine, number))
            status, _, body = read_reply(connection)
        return status, body

    with fleet(tmp_path, model, 2, None, **settings) as replicas:
        assert ask(replicas, 1)[0] == 200
        replicas.kill(0)
        replicas.start(0, peer_ca_file=str(other.certificate)).ready()
        status, body = ask(replicas, 2)
        assert (status, b'"owner-down"' in body, b"CERTIFICATE_VERIFY_FAILED" in body) == (503, True, True)


def test_an_answer_that_is_lost_is_no_reason_to_send_a_step_elsewhere(model: Path, tmp_path: Path) -> None:
    mine = next(name for name in SESSIONS if place(Key("m", name), 2) == 1)
    with fleet(tmp_path, model, 2, Record(1, 2)) as replicas:
        assert replicas.sum(0, mine, 1) == 1.0
        replicas.servers[1].process.send_signal(19)  # SIGSTOP: it accepts, and says nothing.
        body = b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [5]}], "parameters": {'
        body += b'"sequence_id": "%b"}}' % mine.encode()
        head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
        with connect(replicas.servers[0].port, replicas.hosts[0]) as connection:
            connection.sendall(head + body)
            time.sleep(0.5)  # Until the step is on its way; the test holds whether or not it is.
            replicas.kill(1)
            answer = connection.recv(65536)
        assert b"504" in answer.split(b"\r\n")[0] and b'"outcome-unknown"' in answer and b'"unknown"' in answer, answer
        replicas.start(1).ready()
        assert replicas.sum(0, mine, 2) == 2.0  # It stood still, so it cannot have applied the other one.


def test_a_volume_that_was_given_up(model: Path, tmp_path: Path) -> None:
    lost, kept = (next(name for name in SESSIONS if place(Key("m", name), 2) == ordinal) for ordinal in (1, 0))
    with fleet(tmp_path, model, 2, Record(1, 2)) as replicas:
        for session in (lost, kept):
            assert replicas.sum(0, session, 1) == 1.0
        stores = [replicas.report(ordinal)["store"] for ordinal in range(2)]
        settled = Record(2, 2, stores=dict(enumerate(stores)))
        replicas.adopt(settled)
        replicas.kill(1)
        (tmp_path / "volume1").rename(tmp_path / "gone")
        replicas.start(1).ready()
        replicas.adopt(settled)
        # Another volume: nothing is assumed until a person says so.
        for ordinal in range(2):
            status, document, _ = replicas.step(ordinal, lost, 2)
            assert (status, document["cause"], document["applied"]) in {
                (503, "volume-replaced", "no"),
                (503, "owner-down", "no"),
            }
        new = replicas.report(1)["store"]
        replicas.adopt(Record(3, 2, stores={0: stores[0], 1: new}, lost=(stores[1],)))
        for ordinal in range(2):
            status, document, _ = replicas.step(ordinal, lost, 2)
            assert (status, document["cause"], document["applied"]) == (410, "maybe-lost", "no")
            assert replicas.sum(ordinal, kept, 2) == 2.0
        assert replicas.sum(0, lost, 1) == 1.0  # A new life.
        assert replicas.sum(1, lost, 2) == 2.0
        # The old volume comes back after all, and is set aside.
        replicas.kill(1)
        (tmp_path / "volume1").rename(tmp_path / "new")
        (tmp_path / "gone").rename(tmp_path / "volume1")
        replicas.start(1).ready()
        replicas.adopt(Record(3, 2, stores={0: stores[0], 1: new}, lost=(stores[1],)))
        status, document, _ = replicas.step(1, lost, 2)
        assert (status, document["cause"]) == (503, "volume-replaced")
        assert replicas.report(1)["clean"] is False
        assert replicas.report(1)["counts"]["held"] == 1


def test_ids_that_the_router_does_not_see_find_their_session_from_any_replica(model: Path, tmp_path: Path) -> None:
    def ask(ordinal: int, path: str, *headers: str) -> tuple[int, Any, dict[str, str]]:
        request = post(path, b"[[1.0]]", "Content-Type: application/json", "Connection: close", *headers)
        status, found, answer = exchange(replicas.servers[ordinal].port, request, replicas.hosts[ordinal])
        return status, json.loads(answer), found

    with fleet(tmp_path, model, 2, Record(1, 2)) as replicas:
        for mine in (0, 1):
            _, _, begun = ask(mine, "/invocations", "X-Amzn-SageMaker-Session-Id: NEW_SESSION")
            session = begun["x-amzn-sagemaker-new-session-id"].partition(";")[0]
            sums = [ask(at, "/invocations", f"X-Amzn-SageMaker-Session-Id: {session}")[1] for at in (1 - mine, mine)]
            chosen = f"ts_request_sequence_id: chosen{mine}"
            sums += [
                ask(at, "/predictions/m", chosen, *(["ts_request_sequence_start: true"] if at == mine else []))[1]
                for at in (mine, 1 - mine)
            ]
            assert sums == [[[2.0]], [[3.0]], [[1.0]], [[2.0]]]
            looked = post(f"/v2/sessions/{session.replace('-', '.', 1)}", b"", "Connection: close")
            for at in (0, 1):
                asked = looked.replace(b"POST", b"GET", 1)
                status, _, answer = exchange(replicas.servers[at].port, asked, replicas.hosts[at])
                assert (status, json.loads(answer)["step"]) == (200, 3)
