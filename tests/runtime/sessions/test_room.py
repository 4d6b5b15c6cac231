"""Blocks ahead of the database: how far a commit may go, when the disk grants them and when it does not."""

import errno
import os
from pathlib import Path

import pytest

from mooring_runtime.sessions.room import RESERVE, Room

_MIB = 2**20


class Disk:
    """Grants what fits; counts how often it was asked."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked = 0
        self.now = 0.0
        self.error = errno.ENOSPC

    def allocate(self, handle: int, start: int, length: int) -> None:
        self.asked += 1
        if start + length > self.size:
            raise OSError(self.error, "refused")

    def room(self, file: Path, limit: int) -> Room:
        file.touch()
        return Room(file, limit, allocate=self.allocate, clock=lambda: self.now)


def test_on_a_disk_with_room_only_the_limit_counts(tmp_path: Path) -> None:
    disk = Disk(2**40)
    room = disk.room(tmp_path / "file", 2**30)
    assert room.ceiling(0, _MIB) == 2**30
    assert room.allocated >= _MIB + RESERVE
    asked = disk.asked
    assert room.ceiling(_MIB, _MIB) == 2**30
    assert disk.asked == asked
    # The reserve is beyond the limit.
    assert room.ceiling(2**30, 100 * _MIB) == 2**30
    assert room.allocated == 2**30 + RESERVE


def test_on_a_full_disk_commits_stop_before_the_reserve(tmp_path: Path) -> None:
    disk = Disk(100 * _MIB)
    room = disk.room(tmp_path / "file", 2**30)
    assert room.ceiling(80 * _MIB, 4 * _MIB) == 2**30
    assert room.ceiling(88 * _MIB, 50 * _MIB) == room.allocated - RESERVE == 88 * _MIB
    # What is there already is never cut.
    assert room.ceiling(99 * _MIB, 50 * _MIB) == 99 * _MIB


def test_what_was_too_much_for_the_disk_does_not_stop_what_is_small(tmp_path: Path) -> None:
    disk = Disk(100 * _MIB)
    room = disk.room(tmp_path / "file", 2**30)
    assert room.ceiling(0, 500 * _MIB) < 2**30
    assert room.ceiling(0, _MIB) == 2**30


def test_a_full_disk_is_asked_again_after_a_second(tmp_path: Path) -> None:
    disk = Disk(10 * _MIB)
    room = disk.room(tmp_path / "file", 2**30)
    assert room.ceiling(0, 20 * _MIB) < 2**30
    asked = disk.asked
    disk.size = 2**40
    assert room.ceiling(0, 20 * _MIB) < 2**30
    assert disk.asked == asked
    disk.now = 1.5
    assert room.ceiling(0, 20 * _MIB) == 2**30


def test_a_file_system_that_cannot_allocate_ahead_is_used_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(0)
    disk.error = errno.EOPNOTSUPP
    room = disk.room(tmp_path / "file", 2**30)
    assert room.ceiling(0, _MIB) == 2**30
    assert room.ceiling(500 * _MIB, _MIB) == 2**30
    assert disk.asked == 1
    assert "cannot allocate blocks" in caplog.text


@pytest.mark.parametrize("refused", ["nothing", "to open", "to write"])
def test_the_zeros_ahead_never_touch_the_database(
    tmp_path: Path, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * _MIB)
    _refuse(refused, monkeypatch)
    room = Room(file, 2**30)
    for end in (_MIB, _MIB + 4096, 4 * _MIB, 5 * _MIB):
        with file.open("r+b") as handle:
            handle.write(b"x" * end)
        room.ceiling(end, 4096)
        assert file.read_bytes()[:end] == b"x" * end
    room.close()


@pytest.mark.parametrize("refused", ["nothing", "to open", "to write"])
def test_there_are_zeros_ahead_also_where_the_page_cache_cannot_be_left_out(
    tmp_path: Path, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    _refuse(refused, monkeypatch)
    room = Room(file, 2**30, allocate=lambda handle, start, length: None)  # Nothing but the zeros makes it longer.
    room.ceiling(0, 4096)
    assert file.read_bytes() == bytes(4 * _MIB)
    room.close()


def _refuse(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows no way past the page cache."""
    opening, writing, past = os.open, os.pwrite, set[int]()

    def opened(path: Path, flags: int) -> int:
        if what == "to open" and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "refused")
        handle = opening(path, flags)
        if flags & os.O_DIRECT:
            past.add(handle)
        return handle

    def written(handle: int, data: memoryview, at: int) -> int:
        if what == "to write" and handle in past:
            raise OSError(errno.EINVAL, "refused")
        return writing(handle, data, at)

    monkeypatch.setattr("mooring_runtime.sessions.room.os.open", opened)
    monkeypatch.setattr("mooring_runtime.sessions.room.os.pwrite", written)
