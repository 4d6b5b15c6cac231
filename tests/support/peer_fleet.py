"""Replicas of one service as processes on this machine, each with its volume, and an operator's words to them."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mooring_runtime.sessions.record import Record
from tests.support.ports import free_port
from tests.support.runtime_process import Server, exchange, post

TOKEN = "between-us"


class Fleet:
    """`count` replicas; each has an address of its own in 127.0.0.0/8, and all have the same peer port."""

    def __init__(self, folder: Path, model: Path, count: int, **variables: str) -> None:
        self._folder, self._model, self._variables = folder, model, variables
        self.scheme = "https" if "tls_cert_file" in variables else "http"
        self.hosts = [f"127.0.0.1{ordinal}" for ordinal in range(max(1, count))]
        self.port = free_port()
        (folder / "token").write_text(TOKEN)
        self.servers: dict[int, Server] = {}

    def start(self, ordinal: int, **variables: str) -> Server:
        """Start a replica on its volume."""
        settings = {
            "host": self.hosts[ordinal],
            "ordinal": str(ordinal),
            "session_path": str(self._folder / f"volume{ordinal}"),
            "peer_address": f"{self.scheme}://127.0.0.1{{ordinal}}:{self.port}",
            "peer_port": str(self.port),
            "peer_token_file": str(self._folder / "token"),
            **self._variables,
            **variables,
        }
        self.servers[ordinal] = server = Server(self._model, **settings)
        return server

    def ready(self) -> None:
        """Wait for all of them."""
        for server in self.servers.values():
            server.ready()

    def kill(self, ordinal: int) -> None:
        """Kill -9."""
        self.servers.pop(ordinal).end()

    def readiness(self, ordinal: int) -> tuple[int, Any]:
        """Status and JSON of what kubelet asks."""
        request = b"GET /v2/health/ready HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        status, _, answer = exchange(self.servers[ordinal].port, request, self.hosts[ordinal])
        return status, json.loads(answer)

    # --- the peer port

    def tell(self, ordinal: int, method: str, path: str, body: bytes = b"", *headers: str, token: str = TOKEN) -> Any:
        """Status and JSON of a message."""
        lines = (f"Authorization: Bearer {token}", "Connection: close", *headers)
        request = post(path, body, *lines).replace(b"POST", method.encode(), 1)
        status, _, answer = exchange(self.port, request, self.hosts[ordinal])
        return status, json.loads(answer)

    def report(self, ordinal: int) -> Any:
        """What a replica says of itself."""
        status, document = self.tell(ordinal, "GET", "/membership")
        assert status == 200, document
        return document

    def adopt(self, record: Record, *ordinals: int) -> None:
        """Send a record to some replicas, or to all."""
        for ordinal in ordinals or self.servers:
            status, document = self.tell(ordinal, "PUT", "/membership", record.to_json())
            assert status == 200, document
            assert document["record"]["epoch"] >= record.epoch

    def clean(self, seconds: float = 20) -> None:
        """Wait until nobody has a foreign session."""
        end = time.monotonic() + seconds
        while not all(self.report(ordinal)["clean"] for ordinal in self.servers):
            assert time.monotonic() < end, [self.report(ordinal) for ordinal in self.servers]
            time.sleep(0.05)

    def resize(self, record: Record, size: int) -> Record:
        """From a settled record to another size, settled."""
        moving = Record(record.epoch + 1, size, (record.size,))
        self.adopt(moving)
        self.clean()
        settled = Record(moving.epoch + 1, size)
        self.adopt(settled)
        return settled

    # --- clients

    def step(self, ordinal: int, session: str, number: int, value: float = 1.0) -> tuple[int, Any, dict[str, str]]:
        """A numbered step of an accumulator's session; status, JSON, headers."""
        request = step_bytes(session, number, value)
        status, headers, answer = exchange(self.servers[ordinal].port, request, self.hosts[ordinal])
        return status, json.loads(answer), headers

    def sum(self, ordinal: int, session: str, number: int, value: float = 1.0) -> float:
        """The sum after a step that is applied."""
        status, document, _ = self.step(ordinal, session, number, value)
        assert status == 200, document
        return float(document["outputs"][0]["data"][0])


def step_bytes(session: str, number: int, value: float = 1.0) -> bytes:
    """A numbered step of an accumulator's session."""
    body = {
        "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}],
        "parameters": {"sequence_id": session, "sequence_start": number == 1, "sequence_step": number},
    }
    return post("/v2/models/m/infer", json.dumps(body).encode(), "Connection: close")


@contextlib.contextmanager
def fleet(folder: Path, model: Path, count: int, record: Record | None, **variables: str) -> Iterator[Fleet]:
    """Replicas that are ready, of which the members have adopted `record`."""
    replicas = Fleet(folder, model, count, **variables)
    try:
        for ordinal in range(count):
            replicas.start(ordinal)
        replicas.ready()
        if record is not None:
            replicas.adopt(record, *range(record.size))
        yield replicas
    finally:
        for server in replicas.servers.values():
            server.end()
