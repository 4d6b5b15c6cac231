"""Moves of sessions between real replicas: over TLS, and of so many bytes that they take a while."""

import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from tests.support import state_models
from tests.support.certificates import authority, signed
from tests.support.peer_fleet import TOKEN, Fleet, fleet, step_bytes
from tests.support.runtime_process import connect, read_reply

pytestmark = pytest.mark.timeout(90)


def test_sessions_move_over_tls_and_go_on(tmp_path: Path) -> None:
    file, sessions = tmp_path / "record.json", [f"s{number}" for number in range(20)]
    file.write_bytes(Record(1, 2).to_json())
    ours = authority(tmp_path, "ours")
    shown = signed(ours, tmp_path, "replica", "127.0.0.10", "127.0.0.11")
    settings = {
        "membership_file": str(file),
        "tls_cert_file": str(shown.certificate),
        "tls_key_file": str(shown.key),
        "peer_ca_file": str(ours.certificate),
    }
    trusting = ssl.create_default_context(cafile=str(ours.certificate))

    def ask(replicas: Fleet, ordinal: int, port: int, request: bytes) -> Any:
        host = replicas.hosts[ordinal]
        with trusting.wrap_socket(connect(port, host), server_hostname=host) as connection:
            connection.sendall(request)
            status, _, body = read_reply(connection)
        assert status == 200, body
        return json.loads(body)

    def total(replicas: Fleet, ordinal: int, session: str, number: int) -> float:
        document = ask(replicas, ordinal, replicas.servers[ordinal].port, step_bytes(session, number))
        return float(document["outputs"][0]["data"][0])

    def report(replicas: Fleet, ordinal: int) -> Any:
        lines = ("GET /membership HTTP/1.1", "Host: h", f"Authorization: Bearer {TOKEN}", "Connection: close")
        return ask(replicas, ordinal, replicas.port, "\r\n".join([*lines, "", ""]).encode())

    away = [session for session in sessions if place(Key("m", session), 2) == 1]
    model = state_models.accumulator(tmp_path / "model.onnx")
    with fleet(tmp_path, model, 2, None, **settings) as replicas:
        for session in sessions:
            assert [total(replicas, ordinal, session, 1 + ordinal) for ordinal in (0, 1)] == [1.0, 2.0]
        assert report(replicas, 1)["counts"]["held"] == len(away) > 0
        written = tmp_path / "new.json"
        written.write_bytes(Record(2, 1, (2,)).to_json())
        written.rename(file)
        end = time.monotonic() + 30
        while report(replicas, 0)["counts"]["held"] < len(sessions) or report(replicas, 1)["counts"]["held"]:
            assert time.monotonic() < end, [report(replicas, ordinal) for ordinal in (0, 1)]
            time.sleep(0.05)
        for session in sessions:
            assert total(replicas, 1, session, 3) == 3.0
        replicas.kill(1)
        for session in sessions:
            assert total(replicas, 0, session, 3) == 3.0, "the stored reply"
            assert total(replicas, 0, session, 4) == 4.0


def test_others_are_answered_while_hundreds_of_large_sessions_leave(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(400)]
    leaving = [session for session in names if place(Key("m", session), 2) == 1]
    staying = [session for session in names if place(Key("m", session), 2) == 0][:4]
    model = state_models.wide(tmp_path / "model.onnx", 2**18)
    with fleet(tmp_path, model, 2, Record(1, 1)) as replicas:
        replicas.adopt(Record(1, 1), 1)
        for session in (*leaving, *staying):
            assert replicas.sum(0, session, 1) == 1.0
        replicas.adopt(Record(2, 2, (1,)))
        number, meanwhile, before, clean = 1, 0, len(leaving), False
        while not clean:
            number += 1
            for session in staying:
                assert replicas.sum(0, session, number) == number
            report = replicas.report(0)
            left, clean = report["counts"]["foreign"], report["clean"]
            # Some were gone before these steps were answered, and others were still there after it.
            meanwhile += len(leaving) > before and left > 0
            before = left
        assert meanwhile > 0
        for session in leaving[::10]:
            assert replicas.sum(1, session, 1) == 1.0, "the stored reply"
            assert replicas.sum(0, session, 2) == 2.0
