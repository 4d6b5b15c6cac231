from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tls_server import ModelServer, certificate


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
