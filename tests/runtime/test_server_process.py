"""The real process, asked by plain sockets; `clients` asks it by unmodified clients."""

import contextlib
import gzip
import json
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import models
from tests.support.runtime_process import (
    Server,
    connect,
    exchange,
    perceptron_request,
    post,
    read_reply,
    send_all,
    serving,
)

pytestmark = pytest.mark.timeout(60)

MAGIKA = Path(str(distribution("magika").locate_file("magika/models/standard_v3_3/model.onnx")))
ROOT = Path(__file__).parents[2]
INFER = "/v2/models/m/infer"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A small perceptron, with limits short enough to reach."""
    limits = {"max_body_bytes": "1Mi", "max_header_bytes": "4Ki", "header_timeout": "0.5", "body_timeout": "0.5"}
    with serving(models.perceptron(folder / "tiny.onnx"), idle_timeout="1", **limits) as running:
        yield running


def test_bfloat16_goes_through_as_it_is(folder: Path) -> None:
    with serving(models.echo(folder / "bf16.onnx", ("BF16",))) as running:
        raw = np.array([[0x3F80, 0xC000]], np.uint16).tobytes()
        head = json.dumps(
            {
                "inputs": [
                    {"name": "in_BF16", "shape": [1, 2], "datatype": "BF16", "parameters": {"binary_data_size": 4}}
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        told = f"Inference-Header-Content-Length: {len(head)}"
        status, headers, body = exchange(running.port, post(INFER, head + raw, told))
        assert status == 200
        assert body[int(headers["inference-header-content-length"]) :] == raw


# --- a real model


def test_magika_answers_as_its_own_package_does() -> None:
    files = [ROOT / "pyproject.toml", ROOT / "LICENSE", Path(__file__), Path(sys.executable), MAGIKA]
    with serving(MAGIKA, "file-type") as running:
        result = subprocess.run(
            [sys.executable, str(ROOT / "examples/file-type/client.py"), "--url", f"http://127.0.0.1:{running.port}"]
            + [str(file) for file in files],
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 0, result.stdout + result.stderr
    assert [line.split()[1] for line in result.stdout.splitlines()[1:]] == ["toml", "txt", "python", "elf", "onnx"]


# --- plain sockets


def test_ipv4_and_ipv6(server: Server) -> None:
    for host in ("127.0.0.1", "::1"):
        assert exchange(server.port, b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n", host)[0] == 200


def test_keep_alive_and_pipelining(server: Server) -> None:
    with connect(server.port) as connection:
        for _ in range(3):
            connection.sendall(post(INFER, perceptron_request()))
            assert read_reply(connection)[0] == 200
        connection.sendall(
            post(INFER, perceptron_request()) + b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n" + post(INFER, b"{}")
        )
        assert [read_reply(connection)[0] for _ in range(3)] == [200, 404, 400]


def test_a_request_in_chunks_of_one_byte(server: Server) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in perceptron_request()) + b"0\r\n\r\n"
    head = f"POST {INFER} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with connect(server.port) as connection:
        for start in range(0, len(head + body), 300):
            connection.sendall((head + body)[start : start + 300])
        assert read_reply(connection)[0] == 200


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
def test_compressed_requests(server: Server, coding: str, pack: Any) -> None:
    assert exchange(server.port, post(INFER, pack(perceptron_request()), f"Content-Encoding: {coding}"))[0] == 200


def test_a_compressed_reply(folder: Path) -> None:
    with serving(models.echo(folder / "wide.onnx")) as running:
        body = json.dumps(
            {"inputs": [{"name": "in_FP32", "shape": [1, 500_000], "datatype": "FP32", "data": [0] * 500_000}]}
        ).encode()
        status, headers, packed = exchange(running.port, post(INFER, body, "Accept-Encoding: gzip"))
        assert (status, headers["content-encoding"]) == (200, "gzip")
        assert json.loads(gzip.decompress(packed))["outputs"][0]["data"] == [0.0] * 500_000


def test_expect_continue(server: Server) -> None:
    with connect(server.port) as connection:
        head, _, body = post(INFER, perceptron_request(), "Expect: 100-continue").partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_reply(connection)[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 5000 + b"\r\n\r\n", 431),
        (b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n", 413),
        (b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: zip\r\n\r\n", 501),
        (post(INFER, b"x", "Content-Encoding: br"), 415),
        (post(INFER, gzip.compress(b"x" * 2_000_000), "Content-Encoding: gzip"), 413),
        (b"DELETE /v2 HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        (b"GET /v2/models/m/infer HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        (b"GET /v3 HTTP/1.1\r\nHost: h\r\n\r\n", 404),
        (b"HEAD /v2/health/ready HTTP/1.1\r\nHost: h\r\n\r\n", 200),
    ],
)
def test_codes(server: Server, request_: bytes, status: int) -> None:
    found, headers, body = exchange(server.port, request_)
    assert found == status
    assert headers["content-type"] == "application/json"
    assert "date" in headers
    if status >= 400:
        assert list(json.loads(body)) == ["error"]


def test_a_large_body_is_refused_in_words_although_it_is_still_being_sent(server: Server) -> None:
    with connect(server.port) as connection:
        head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n"
        sender = threading.Thread(target=lambda: send_all(connection, head + b"x" * 8_000_000))
        sender.start()
        status, headers, body = read_reply(connection)
        assert (status, headers["connection"]) == (413, "close")
        assert b"the body has 50000000 bytes, the limit is 1048576" in body
        sender.join()


def test_a_slow_request_is_answered_408_and_a_resting_connection_is_closed(server: Server) -> None:
    with connect(server.port) as slow, connect(server.port) as resting:
        slow.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nx")
        resting.sendall(b"GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert read_reply(resting)[0] == 200
        assert read_reply(slow)[0] == 408
        assert resting.recv(1) == b""


def test_many_connections(folder: Path) -> None:
    with serving(models.perceptron(folder / "many.onnx")) as running, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(running.port)) for _ in range(500)]
        for connection in connections:
            connection.sendall(post(INFER, perceptron_request()))
        assert {read_reply(connection)[0] for connection in connections} == {200}


def test_a_client_that_does_not_read_holds_up_nobody(folder: Path) -> None:
    with serving(models.echo(folder / "held.onnx")) as running, connect(running.port) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps(
            {"inputs": [{"name": "in_FP32", "shape": [1, 100_000], "datatype": "FP32", "data": [0.25] * 100_000}]}
        ).encode()
        sender = threading.Thread(target=lambda: send_all(deaf, post(INFER, body) * 60))
        sender.start()
        before = time.monotonic()
        for _ in range(20):
            assert exchange(running.port, b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n")[0] == 200
        assert time.monotonic() - before < 10
        deaf.shutdown(socket.SHUT_RDWR)
        sender.join()
