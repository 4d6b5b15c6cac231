"""Where sessions may be kept, whose a volume is, and what a record says of a store."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from mooring_runtime.errors import StoreInvalid, StoreLocked, VolumeRefused
from mooring_runtime.sessions.fences import Lock, Standing, check_file_system, file_system, standing
from mooring_runtime.sessions.record import Record


@pytest.mark.parametrize("path", ["/proc", "/sys", "/dev/shm", "."])
def test_the_magic_number_is_the_one_that_stat_shows(path: str) -> None:
    shown = subprocess.run(["stat", "-f", "-c", "%t", path], capture_output=True, text=True, check=True).stdout
    assert file_system(Path(path)) == int(shown, 16)


def test_there_is_no_magic_number_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_system(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("magic", "name"),
    [(0x6969, "NFS"), (0xFE534D42, "SMB"), (0xFF534D42, "CIFS"), (0x65735546, "FUSE"), (0x00C36400, "Ceph")],
)
def test_network_file_systems_are_refused_with_what_to_use(magic: int, name: str) -> None:
    with pytest.raises(VolumeRefused, match=rf"MOORING_SESSION_PATH=/sessions is on {name}.*ext4 or xfs"):
        check_file_system(Path("/sessions"), lambda path: magic)


@pytest.mark.parametrize("magic", [0xEF53, 0x58465342, 0x9123683E, 0x2FC12FC1])
def test_local_file_systems_are_taken(magic: int, caplog: pytest.LogCaptureFixture) -> None:
    check_file_system(Path("/sessions"), lambda path: magic)
    assert caplog.text == ""


@pytest.mark.parametrize(("magic", "what"), [(0x01021994, "tmpfs"), (0x794C7630, "own layer")])
def test_file_systems_that_pass_away_are_warned_of(magic: int, what: str, caplog: pytest.LogCaptureFixture) -> None:
    check_file_system(Path("/sessions"), lambda path: magic)
    assert what in caplog.text


# --- the lock


def test_the_lock_is_exclusive_until_it_is_released(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second, reader = Lock(tmp_path), Lock(tmp_path), Lock(tmp_path)
    first.take()
    first.sign("ab12", 3)
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(StoreLocked, match="store ab12, boot 3"):
        second.take(given_up)
    assert "waiting for the volume" in caplog.text
    with pytest.raises(StoreLocked, match=r"--server"):
        reader.share()
    first.release()
    reader.share()
    with pytest.raises(StoreLocked):
        second.take(given_up)
    reader.release()
    second.take(given_up)
    assert second.store == "ab12"
    second.sign("cd", 10)
    assert (second.store, second.owner()) == ("cd", f"store cd, boot 10, host {os.uname().nodename}")
    second.release()


def test_who_waits_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    first, second = Lock(tmp_path), Lock(tmp_path)
    first.take()
    got = threading.Event()

    def wait() -> None:
        second.take()
        got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.wait(0.05)
    first.release()
    assert got.wait(1.5)
    thread.join()
    second.release()


def test_the_wait_is_told_every_few_seconds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Lock(tmp_path), Lock(tmp_path)
    first.take()
    now, told = 0.0, []

    class GiveUp(threading.Event):
        """Lets time pass instead of waiting."""

        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now
            now += timeout or 0.0
            told.append(len(caplog.records))
            return now > 12.0

    with pytest.raises(StoreLocked):
        second.take(GiveUp(), lambda: now)
    assert told[-1] == 3
    first.release()


@pytest.mark.parametrize("text", [b"", b'{"store": "a', b"[1]", b"\xff\xfe"])
def test_half_a_text_in_the_lock_tells_nothing(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "LOCK").write_bytes(text)
    lock = Lock(tmp_path)
    assert (lock.store, lock.owner()) == (None, "no store yet")


def test_a_volume_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "LOCK").mkdir()
    with pytest.raises(StoreInvalid, match="LOCK: Is a directory"):
        Lock(tmp_path).take()


# --- what a record says


@pytest.mark.parametrize(
    ("stores", "lost", "found"),
    [
        ({}, (), Standing.OURS),
        ({0: "mine"}, (), Standing.OURS),
        ({1: "other"}, (), Standing.OURS),
        ({0: "other"}, (), Standing.REPLACED),
        ({0: "other"}, ("mine",), Standing.LOST),
        ({0: "mine"}, ("mine",), Standing.LOST),
        ({0: "mine"}, ("other",), Standing.OURS),
    ],
)
def test_a_record_says_whose_store_it_is(stores: dict[int, str], lost: tuple[str, ...], found: Standing) -> None:
    assert standing(Record(1, 2, (), stores, lost), 0, "mine") is found
