import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mooring_runtime.errors import (
    AccessDenied,
    AddressRefused,
    DownloadFailed,
    NoSpace,
    NotFound,
    RedirectRefused,
    SettingsInvalid,
    TooLarge,
)
from mooring_runtime.fetcher.download import MAX_ATTEMPTS, Fetcher
from mooring_runtime.fetcher.store import Partial, Store
from mooring_runtime.fetcher.transport import Transport
from mooring_runtime.settings import FetchSettings
from tests.support.tls_server import (
    CONTENT,
    ModelServer,
    Pauses,
    chunked,
    redirect,
    status,
)

DIGEST = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2

pytestmark = pytest.mark.timeout(20)


Fetch = Callable[..., bytes]


def names(tmp_path: Path) -> list[str]:
    return sorted(file.name for file in (tmp_path / "models").iterdir())


def test_redirects_are_followed(fetch: Fetch, server: ModelServer) -> None:
    server.scripts["/b"] = [redirect("../c/../d?x=ä y", 308)]
    assert fetch(redirect("/b", 301)) == CONTENT
    assert [seen.path for seen in server.seen] == ["/model.onnx", "/b", "/d?x=%C3%A4%20y"]


def test_too_many_redirects(fetch: Fetch, server: ModelServer) -> None:
    server.scripts["/b"] = [redirect("/b")] * 20
    with pytest.raises(RedirectRefused, match="more than 5 redirects"):
        fetch(redirect("/b"))
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://localhost/model.onnx", "redirects to http://localhost; only https:// is followed"),
        ("file:///etc/passwd", "only https:// is followed"),
        ("ftp://h/x", "only https:// is followed"),
        ("https://h:bad/x", "a redirect to what is no address"),
        ("", "a redirect without a Location"),
    ],
)
def test_redirects_that_are_not_followed(fetch: Fetch, server: ModelServer, location: str, words: str) -> None:
    with pytest.raises(RedirectRefused, match=words):
        fetch(redirect(location))
    assert len(server.seen) == 1


def test_a_redirect_to_the_metadata_service_is_refused_before_it_is_asked(fetch: Fetch, server: ModelServer) -> None:
    def resolver(host: str, port: int) -> list[str]:
        return {"localhost": ["127.0.0.1"], "metadata.test": ["169.254.169.254"]}[host]

    with pytest.raises(AddressRefused, match=r"host metadata\.test has the address 169\.254\.169\.254"):
        fetch(redirect("https://metadata.test/latest"), resolver=resolver)
    assert len(server.seen) == 1


def test_a_name_that_changes_its_address_between_check_and_use_gains_nothing(fetch: Fetch) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    with pytest.raises(AddressRefused):
        fetch(status(503), resolver=lambda host, port: next(answers))


def test_by_itself_it_does_not_fetch_from_this_machine(server: ModelServer, tmp_path: Path) -> None:
    settings = FetchSettings(model_uri=server.url(), model_sha256=DIGEST, model_dir=tmp_path)
    with pytest.raises(AddressRefused, match="this machine's own"):
        Fetcher(settings, Transport(resolver=lambda host, port: ["127.0.0.1"])).fetch()
    assert server.seen == []


def secret(tmp_path: Path, **files: str) -> Path:
    directory = tmp_path / "credentials"
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


@pytest.mark.parametrize(
    ("files", "header"),
    [
        ({"token": "abc\n"}, "Bearer abc"),
        ({"username": "me", "password": "pw\n"}, "Basic bWU6cHc="),
    ],
)
def test_credentials_are_sent(
    fetch: Fetch, server: ModelServer, tmp_path: Path, files: dict[str, str], header: str
) -> None:
    fetch(credentials_dir=secret(tmp_path, **files))
    assert server.seen[0].authorization == header


def test_credentials_go_to_their_own_host_alone(fetch: Fetch, server: ModelServer, tmp_path: Path) -> None:
    server.scripts["/there"] = [redirect(server.url("/back", "a.test"))]
    where = secret(tmp_path, token="abc")
    fetch(redirect(server.url("/there", "b.test")), uri=server.url("/model.onnx", "a.test"), credentials_dir=where)
    assert [(seen.host.partition(":")[0], seen.authorization) for seen in server.seen] == [
        ("a.test", "Bearer abc"),
        ("b.test", None),
        ("a.test", "Bearer abc"),
    ]


def test_another_port_is_another_host(
    fetch: Fetch, server: ModelServer, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with ModelServer(*pair) as other:
        fetch(redirect(other.url()), credentials_dir=secret(tmp_path, token="abc"))
        assert [seen.authorization for seen in server.seen + other.seen] == ["Bearer abc", None]


def test_credentials_that_are_not_there(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="it must hold a file token, or username and password"):
        fetch(credentials_dir=secret(tmp_path, username="me"))


def test_refused_credentials_are_not_told(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(AccessDenied) as caught:
        fetch(status(403), credentials_dir=secret(tmp_path, token="hunter2"))
    assert "the server answers 403 to a request with the credentials given" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_query_is_sent_and_never_told(fetch: Fetch, server: ModelServer) -> None:
    with pytest.raises(NotFound) as caught:
        fetch(status(404), uri=server.url("/model.onnx?signature=hunter2"))
    assert server.seen[0].path == "/model.onnx?signature=hunter2"
    assert "hunter2" not in str(caught.value)


def test_a_limit_is_checked_before_a_byte_is_fetched(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match=f"has {len(CONTENT)} bytes, more than the 1000 that MOORING_MAX_MODEL_BYTES"):
        fetch(max_model_bytes=1000)
    assert (tmp_path / "models" / "model.onnx.partial").stat().st_size == 0


def test_a_limit_holds_without_a_length(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="has more than the 7000 bytes"):
        fetch(chunked(), max_model_bytes=7000)
    assert names(tmp_path) == [".lock"]


def test_room_is_checked_before_a_byte_is_fetched(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "free", lambda self: 100)
    with pytest.raises(NoSpace, match=f"needs {len(CONTENT)} more bytes, but the volume of .* has 100 free"):
        fetch()


def test_a_volume_that_fills_up_is_told_and_emptied(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Partial.write

    def write(self: Partial, piece: bytes) -> None:
        if self.size:
            with Path("/dev/full").open("wb") as full:
                os.dup2(full.fileno(), self._stream.fileno())
        whole(self, piece)

    monkeypatch.setattr(Partial, "write", write)
    with pytest.raises(NoSpace, match=r"the volume of .* is full"):
        fetch(chunked())
    assert names(tmp_path) == [".lock"]


def test_an_unwritable_place_is_told(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Store) -> Partial:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Store, "partial", fail)
    with pytest.raises(DownloadFailed, match=r"cannot write to .*: Read-only file system"):
        fetch()


def test_a_certificate_that_is_not_trusted_ends_at_once(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pauses: Pauses
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    with pytest.raises(DownloadFailed, match=r"the certificate of localhost is not trusted: .*SSL_CERT_FILE"):
        fetch()
    assert pauses.taken == []


def test_a_certificate_for_another_name_is_not_trusted(fetch: Fetch, server: ModelServer) -> None:
    with pytest.raises(DownloadFailed, match=r"the certificate of elsewhere\.example is not trusted"):
        fetch(uri=server.url("/model.onnx", "elsewhere.example"))


def test_every_address_of_a_host_is_tried(fetch: Fetch, pauses: Pauses) -> None:
    assert fetch(resolver=lambda host, port: ["127.0.0.2", "127.0.0.1"]) == CONTENT
    assert pauses.taken == []


def test_a_name_without_address_is_tried_again(fetch: Fetch, pauses: Pauses) -> None:
    answers = iter([OSError(-2, "Name or service not known"), None])

    def resolver(host: str, port: int) -> list[str]:
        if (failure := next(answers)) is not None:
            raise failure
        return ["127.0.0.1"]

    assert fetch(resolver=resolver) == CONTENT
    assert pauses.taken == [0.5]


def test_nothing_listens(fetch: Fetch, server: ModelServer, pauses: Pauses) -> None:
    with pytest.raises(DownloadFailed, match=r"cannot connect to localhost \(127\.0\.0\.1\): Connection refused"):
        fetch(uri="https://localhost:1/model.onnx")
    assert len(pauses.taken) == MAX_ATTEMPTS - 1


def test_a_server_that_speaks_no_http(fetch: Fetch, server: ModelServer) -> None:
    def act(handler: Any) -> None:
        handler.wfile.write(b"hello\r\n\r\n")

    assert fetch(act) == CONTENT
