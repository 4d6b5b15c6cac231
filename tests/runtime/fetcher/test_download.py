import hashlib
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest

from mooring_runtime.errors import (
    AccessDenied,
    DigestMismatch,
    DownloadFailed,
    FatalError,
    NotFound,
)
from mooring_runtime.fetcher.download import MAX_ATTEMPTS
from mooring_runtime.fetcher.store import Store
from tests.support.tls_server import (
    CONTENT,
    ETAG,
    Act,
    ModelServer,
    Pauses,
    chunked,
    hang_up,
    serve,
    status,
    wrong_part,
)

DIGEST = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2

pytestmark = pytest.mark.timeout(20)


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
