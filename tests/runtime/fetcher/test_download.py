import errno
import hashlib
import os
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from mooring_runtime.errors import (
    AccessDenied,
    AddressRefused,
    DigestMismatch,
    DownloadFailed,
    FatalError,
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
    ETAG,
    Act,
    ModelServer,
    Pauses,
    chunked,
    hang_up,
    redirect,
    serve,
    status,
    wrong_part,
)

DIGEST = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2

pytestmark = pytest.mark.timeout(20)


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
            model_sha256=changes.pop("sha256", DIGEST),
            model_dir=tmp_path / "models",
            **changes,
        )
        Fetcher(settings, transport, pauses, lambda: 1.0).fetch()
        return (tmp_path / "models" / "model.onnx").read_bytes()

    return run


Fetch = Callable[..., bytes]


def names(tmp_path: Path) -> list[str]:
    return sorted(file.name for file in (tmp_path / "models").iterdir())


def test_a_file_arrives_whole(fetch: Fetch, tmp_path: Path, pauses: Pauses) -> None:
    assert fetch() == CONTENT
    assert names(tmp_path) == [".lock", "model.onnx", "model.onnx.complete"]
    assert pauses.taken == []


def test_a_restart_does_not_fetch_again(fetch: Fetch, server: ModelServer) -> None:
    fetch()
    fetch(status(500))
    assert len(server.seen) == 1


def test_another_digest_is_fetched_again(fetch: Fetch, server: ModelServer, tmp_path: Path) -> None:
    fetch()
    assert fetch(serve(b"version two"), sha256=hashlib.sha256(b"version two").hexdigest()) == b"version two"


def test_a_file_without_a_length_arrives(fetch: Fetch) -> None:
    assert fetch(chunked()) == CONTENT


def test_what_breaks_off_is_resumed(fetch: Fetch, server: ModelServer, pauses: Pauses) -> None:
    assert fetch(serve(cut=HALF), serve(cut=100)) == CONTENT
    assert [(seen.range, seen.if_range) for seen in server.seen] == [
        (None, None),
        (f"bytes={HALF}-", ETAG),
        (f"bytes={HALF + 100}-", ETAG),
    ]
    assert pauses.taken == [0.5, 0.5]


def test_a_server_that_stalls_is_asked_again(fetch: Fetch, server: ModelServer) -> None:
    assert fetch(serve(cut=HALF, stall=True)) == CONTENT
    assert server.seen[1].range == f"bytes={HALF}-"


def test_without_an_etag_the_date_is_used(fetch: Fetch, server: ModelServer) -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    assert fetch(serve(etag=None, modified=date, cut=HALF), serve(etag=None, modified=date)) == CONTENT
    assert server.seen[1].if_range == date


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_validator_it_begins_anew(fetch: Fetch, server: ModelServer, etag: str | None) -> None:
    assert fetch(serve(etag=etag, cut=HALF)) == CONTENT
    assert [seen.range for seen in server.seen] == [None, None]


def test_a_file_that_changed_meanwhile_begins_anew(fetch: Fetch, server: ModelServer) -> None:
    assert fetch(serve(b"old" * 1000, etag='"old"', cut=1000), serve()) == CONTENT
    assert server.seen[1].if_range == '"old"'


def test_the_next_container_goes_on_where_this_one_ended(fetch: Fetch, server: ModelServer, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        fetch(serve(cut=HALF), status(404))
    assert names(tmp_path) == [".lock", "model.onnx.partial", "model.onnx.partial.json"]
    assert fetch() == CONTENT
    assert server.seen[-1].range == f"bytes={HALF}-"


def test_what_was_whole_but_not_yet_moved_needs_no_request(fetch: Fetch, server: ModelServer, tmp_path: Path) -> None:
    store = Store(tmp_path / "models", "model.onnx")
    with store.locked():
        partial = store.partial()
        partial.restart(ETAG)
        partial.write(CONTENT)
        partial.close()
    assert fetch() == CONTENT
    assert server.seen == []


def test_a_part_that_is_gone_or_wrong_begins_anew(fetch: Fetch, server: ModelServer) -> None:
    assert fetch(serve(cut=HALF), status(416)) == CONTENT
    assert [seen.range for seen in server.seen] == [None, f"bytes={HALF}-", None]
    server.seen.clear()


def test_a_server_that_sends_another_part(fetch: Fetch, server: ModelServer) -> None:
    assert fetch(serve(cut=HALF), wrong_part()) == CONTENT
    assert [seen.range for seen in server.seen] == [None, f"bytes={HALF}-", None]


def test_a_wrong_digest_ends_at_once_and_leaves_nothing(fetch: Fetch, server: ModelServer, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch) as caught:
        fetch(serve(b"something else"))
    found = hashlib.sha256(b"something else").hexdigest()
    assert found in str(caught.value)
    assert DIGEST in str(caught.value)
    assert names(tmp_path) == [".lock"]
    assert len(server.seen) == 1


def test_a_resumed_part_counts_for_the_digest(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        fetch(serve(cut=HALF), status(404))
    partial = tmp_path / "models" / "model.onnx.partial"
    partial.write_bytes(b"\xff" * HALF)
    with pytest.raises(DigestMismatch):
        fetch()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (401, AccessDenied),
        (403, AccessDenied),
        (404, NotFound),
        (410, NotFound),
        (400, DownloadFailed),
        (501, DownloadFailed),
    ],
)
def test_what_another_attempt_cannot_cure_ends_at_once(
    fetch: Fetch, server: ModelServer, pauses: Pauses, code: int, error: type[FatalError]
) -> None:
    with pytest.raises(error, match=str(code)):
        fetch(status(code))
    assert len(server.seen) == 1
    assert pauses.taken == []


@pytest.mark.parametrize("act", [status(500), status(503), status(429), status(408), hang_up(), chunked(end=False)])
def test_what_another_attempt_may_cure_is_tried_again(fetch: Fetch, pauses: Pauses, act: Act) -> None:
    assert fetch(act, act) == CONTENT
    assert pauses.taken in ([0.5, 1.0], [0.5, 0.5])


def test_it_gives_up_after_enough_attempts(fetch: Fetch, server: ModelServer, pauses: Pauses) -> None:
    with pytest.raises(DownloadFailed, match=r"the server answers 503 \(8 attempts in a row without progress\)"):
        fetch(*[status(503)] * 20)
    assert len(server.seen) == MAX_ATTEMPTS
    assert pauses.taken == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]


def test_progress_gives_new_attempts(fetch: Fetch, server: ModelServer) -> None:
    pieces = [serve(cut=len(CONTENT) // 20)] * 15
    assert fetch(*pieces) == CONTENT
    assert len(server.seen) == 16


@pytest.mark.parametrize(("told", "pause"), [("7", 7.0), ("9999", 120.0), ("nonsense", 0.5)])
def test_the_server_says_when_to_come_back(fetch: Fetch, pauses: Pauses, told: str, pause: float) -> None:
    assert fetch(status(503, ("Retry-After", told))) == CONTENT
    assert pauses.taken == [pause]


def test_the_server_says_it_by_a_date(fetch: Fetch, pauses: Pauses) -> None:
    fetch(status(429, ("Retry-After", formatdate(time.time() + 20, usegmt=True))))
    assert 15 < pauses.taken[0] <= 20


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
        Fetcher(settings, Transport(resolver=local)).fetch()
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
