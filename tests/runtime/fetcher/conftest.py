import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mooring_runtime.fetcher.download import Fetcher
from mooring_runtime.fetcher.transport import Transport
from mooring_runtime.settings import FetchSettings
from tests.support.tls_server import CONTENT, Act, ModelServer, Pauses, certificate


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key."""
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A running server whose certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    with ModelServer(*pair) as running:
        yield running


def local(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def fetch(server: ModelServer, tmp_path: Path, pauses: Pauses) -> Callable[..., bytes]:
    """Fetch from the server by a script of its answers; gives the file's bytes."""

    def run(*script: Act, uri: str | None = None, **changes: Any) -> bytes:
        server.scripts["/model.onnx"] = list(script)
        transport = Transport(lambda address: address.startswith("127."), changes.pop("resolver", local), 0.3)
        settings = FetchSettings(
            model_uri=uri or server.url(),
            model_sha256=changes.pop("sha256", hashlib.sha256(CONTENT).hexdigest()),
            model_dir=tmp_path / "models",
            **changes,
        )
        Fetcher(settings, transport, pauses, lambda: 1.0).fetch()
        return (tmp_path / "models" / "model.onnx").read_bytes()

    return run
