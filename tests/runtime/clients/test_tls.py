"""TLS and mutual TLS of the real process, on both ports, with unmodified clients."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs
from tritonclient.utils import InferenceServerException

from tests.support import models
from tests.support.certificates import Pair, authority, signed
from tests.support.runtime_process import Server, connect, read_reply, send_all, serving

pytestmark = pytest.mark.timeout(60)


class Site:
    """An authority, what it has signed, and a server that shows it and asks for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = authority(folder)
        self.server = signed(self.authority, folder, "server")
        self.client = signed(self.authority, folder, "client")
        self.model = models.perceptron(folder / "tiny.onnx")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def mutual(site: Site) -> Iterator[Server]:
    variables = {
        "tls_cert_file": str(site.server.certificate),
        "tls_key_file": str(site.server.key),
        "tls_client_ca_file": str(site.authority.certificate),
    }
    with serving(site.model, **variables) as running:
        yield running


def inputs() -> list[Any]:
    tensor = triton.InferInput("x", [1, 16], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 16), np.float32))
    return [tensor]


def https(port: int, trusted: Path, shown: Pair | None) -> Any:
    context = ssl.create_default_context(cafile=str(trusted))
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    with urllib.request.urlopen(f"https://localhost:{port}/v2", timeout=10, context=context) as answer:
        return json.load(answer)


def test_mutual_tls_of_grpc(site: Site, mutual: Server) -> None:
    known: dict[str, Any] = {
        "ssl": True,
        "root_certificates": str(site.authority.certificate),
        "private_key": str(site.client.key),
        "certificate_chain": str(site.client.certificate),
    }
    with triton.InferenceServerClient(f"localhost:{mutual.grpc_port}", **known) as client:
        first = client.infer("m", inputs()).as_numpy("y")
        assert first.shape == (1, 4)
    unknown = {"ssl": True, "root_certificates": str(site.authority.certificate)}
    with (
        triton.InferenceServerClient(f"localhost:{mutual.grpc_port}", **unknown) as client,
        pytest.raises(InferenceServerException),
    ):
        client.infer("m", inputs(), client_timeout=3)


def test_mutual_tls_of_http(site: Site, mutual: Server) -> None:
    assert https(mutual.port, site.authority.certificate, site.client)["name"] == "mooring"
    with pytest.raises((urllib.error.URLError, ssl.SSLError, OSError)):
        https(mutual.port, site.authority.certificate, None)


def test_a_large_body_is_refused_in_words_although_it_is_still_being_sent(site: Site, mutual: Server) -> None:
    """TLS has no half-closed connections; the answer must arrive all the same."""
    context = ssl.create_default_context(cafile=str(site.authority.certificate))
    context.load_cert_chain(site.client.certificate, site.client.key)
    with context.wrap_socket(connect(mutual.port), server_hostname="localhost") as connection:
        connection.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 500000000\r\n\r\n")
        send_all(connection, bytes(1_000_000))
        status, headers, body = read_reply(connection)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):  # It lingers, so that the client can read the answer.
            connection.recv(1)
    assert (status, headers["connection"]) == (413, "close")
    assert b"the body has 500000000 bytes" in body
    assert "Traceback" not in mutual.log()


def test_who_does_not_finish_a_handshake_is_cut_off(site: Site) -> None:
    variables = {"tls_cert_file": str(site.server.certificate), "tls_key_file": str(site.server.key)}
    with (
        serving(site.model, header_timeout="0.3", **variables) as running,
        connect(running.port) as http,
        connect(running.grpc_port) as calls,
    ):
        assert http.recv(1) == b""
        assert calls.recv(1) == b""


def test_who_does_not_end_tls_holds_up_nobody(site: Site) -> None:
    variables = {"tls_cert_file": str(site.server.certificate), "tls_key_file": str(site.server.key)}
    context = ssl.create_default_context(cafile=str(site.authority.certificate))
    with (
        serving(site.model, **variables) as running,
        context.wrap_socket(connect(running.port), server_hostname="localhost") as connection,
    ):
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert read_reply(connection)[0] == 200
        running.stop()
        assert running.code(10) == 0


def test_who_speaks_plainly_gets_nothing(mutual: Server) -> None:
    with grpc.insecure_channel(f"localhost:{mutual.grpc_port}") as channel, pytest.raises(grpc.RpcError):
        stubs.GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest(), timeout=3)


def test_certificates_are_renewed_under_a_running_server(site: Site, tmp_path: Path) -> None:
    other = authority(tmp_path, "other")
    renewed = signed(other, tmp_path, "renewed")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(site.server.certificate.read_bytes())
    key.write_bytes(site.server.key.read_bytes())
    with serving(site.model, tls_cert_file=str(certificate), tls_key_file=str(key)) as running:
        root = {"ssl": True, "root_certificates": str(site.authority.certificate)}
        with triton.InferenceServerClient(f"localhost:{running.grpc_port}", **root) as before:
            assert before.is_server_ready()
            with triton_http.InferenceServerClient(
                f"localhost:{running.port}", ssl=True, ssl_options={"ca_certs": str(site.authority.certificate)}
            ) as http_client:
                assert http_client.is_server_ready()
            for source, target in ((renewed.certificate, certificate), (renewed.key, key)):
                fresh = target.with_suffix(".new")
                fresh.write_bytes(source.read_bytes())
                fresh.replace(target)
            running.line("TLS files read anew")
            deadline = time.monotonic() + 10
            while True:  # Each port reads the files by itself.
                try:
                    assert https(running.port, other.certificate, None)["name"] == "mooring"
                    break
                except urllib.error.URLError:
                    assert time.monotonic() < deadline
            assert before.is_server_ready(), "open connections keep what they began with"
        new_root = {"ssl": True, "root_certificates": str(other.certificate)}
        with triton.InferenceServerClient(f"localhost:{running.grpc_port}", **new_root) as after:
            assert after.infer("m", inputs()).as_numpy("y").shape == (1, 4)


def test_half_a_pair_is_a_wrong_setting(site: Site) -> None:
    server = Server(site.model, tls_cert_file=str(site.server.certificate))
    try:
        assert server.code() == 2
        assert "MOORING_TLS_KEY_FILE is not set, but MOORING_TLS_CERT_FILE is" in server.log()
    finally:
        server.end()
