import fcntl
import hashlib
import json
import os
from pathlib import Path

import pytest

from mooring_runtime.errors import DownloadFailed
from mooring_runtime.fetcher.store import Store

CONTENT = b"the model"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def fill(store: Store, content: bytes = CONTENT, validator: str = '"v"') -> None:
    partial = store.partial()
    partial.restart(validator)
    partial.write(content)
    partial.close()


def test_a_complete_file_has_a_marker_and_nothing_else_beside_it(tmp_path: Path) -> None:
    store = Store(tmp_path, "m.onnx")
    fill(store)
    store.accept(store.partial(), DIGEST)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "m.onnx.complete"]
    assert json.loads((tmp_path / "m.onnx.complete").read_text()) == {"sha256": DIGEST, "size": 9}
    assert store.is_complete(DIGEST)
    assert not store.is_complete("0" * 64)


def test_a_marked_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, "m.onnx")
    fill(store)
    store.accept(store.partial(), DIGEST)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert store.is_complete(DIGEST)


def test_a_file_without_marker_is_judged_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(CONTENT)
    store = Store(tmp_path, "m.onnx")
    assert not store.is_complete("0" * 64)
    assert not (tmp_path / "m.onnx.complete").exists()
    assert store.is_complete(DIGEST)
    assert (tmp_path / "m.onnx.complete").exists()


def test_a_marker_of_another_size_is_not_believed(tmp_path: Path) -> None:
    store = Store(tmp_path, "m.onnx")
    fill(store)
    store.accept(store.partial(), DIGEST)
    (tmp_path / "m.onnx").write_bytes(b"cut")
    assert not store.is_complete(DIGEST)


def test_partial_bytes_are_read_again_and_go_on(tmp_path: Path) -> None:
    store = Store(tmp_path, "m.onnx")
    fill(store, CONTENT[:4])
    partial = store.partial()
    assert (partial.size, partial.validator) == (4, '"v"')
    partial.write(CONTENT[4:])
    assert (partial.size, partial.digest.hexdigest()) == (9, DIGEST)
    partial.close()


@pytest.mark.parametrize("origin", [None, "not json", "[]", '{"validator": 7}', '{"validator": ""}'])
def test_partial_bytes_of_unknown_origin_are_thrown_away(tmp_path: Path, origin: str | None) -> None:
    (tmp_path / "m.onnx.partial").write_bytes(b"1234")
    if origin is not None:
        (tmp_path / "m.onnx.partial.json").write_text(origin)
    partial = Store(tmp_path, "m.onnx").partial()
    assert partial.size == 0
    partial.close()
    assert (tmp_path / "m.onnx.partial").read_bytes() == b""


def test_a_second_fetcher_waits_for_the_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "new", "m.onnx")
    with store.locked():
        other = os.open(tmp_path / "new" / ".lock", os.O_RDWR)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(other)
    with store.locked():
        pass


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DownloadFailed, match=r"cannot write to .*file/x: Not a directory"),
        Store(tmp_path / "file" / "x", "m.onnx").locked(),
    ):
        pass
