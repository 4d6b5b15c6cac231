"""One process a volume: what keeps another one from writing where we write.

1. The file `LOCK` in the volume is locked by `flock` before the database is opened, and stays so until the process
   ends, however it ends. LMDB's own lock is not enough: it knows processes by their ids, and two containers have two
   worlds of ids.
2. `boot` is raised at every opening, and every write transaction reads it (`lmdb_store`): should two processes have got
   past the lock all the same, the older one ends at its next commit.
3. Network file systems are refused. Nothing there stops a machine that was cut off and still writes, and their locks
   and memory maps do not do what LMDB needs.

`LOCK` also has the store's id as text: a volume that lost its database, but not that file, is not taken for a new one.
"""

import ctypes
import enum
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mooring_runtime.errors import StoreInvalid, StoreLocked, VolumeRefused
from mooring_runtime.sessions.record import Record

log = logging.getLogger(__name__)

_NETWORK = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFE534D42: "SMB",
    0xFF534D42: "CIFS",
    0x65735546: "FUSE",
    0x00C36400: "Ceph",
    0x01021997: "9P",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x73757245: "Coda",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
    0xAAD7AAEA: "PanFS",
    0x20030528: "OrangeFS",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
    0x786F4256: "vboxsf",
}
"""What `statfs` says of file systems that several machines can write to at once, or that stand for any of them."""
_PASSING = {
    0x01021994: "tmpfs: sessions end with the pod",
    0x858458F6: "ramfs: sessions end with the pod",
    0x794C7630: "the container's own layer: sessions end with the container",
}
_POLL = 0.1
_REMIND = 5.0
"""Seconds between two lines of the log that say that the volume is waited for."""


def file_system(path: Path) -> int:
    """The magic number of the file system that has `path`, as `statfs` gives it. Raises OSError."""
    # Python's statvfs leaves it out. It is the first field of the structure on every Linux; the rest is room.
    answer = (ctypes.c_long * 64)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), ctypes.byref(answer)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    return int(answer[0]) & 0xFFFFFFFF


def check_file_system(path: Path, magic: Callable[[Path], int] = file_system) -> None:
    """Refuse a directory on a network file system. Raises VolumeRefused."""
    found = magic(path)
    if found in _NETWORK:
        raise VolumeRefused(
            f"MOORING_SESSION_PATH={path} is on {_NETWORK[found]}, a network file system: nothing there keeps two "
            "servers from writing the same sessions. Use a volume of block storage with ReadWriteOncePod (or "
            "ReadWriteOnce) that is formatted with ext4 or xfs, or a local volume"
        )
    if found in _PASSING:
        log.warning("MOORING_SESSION_PATH=%s is on %s", path, _PASSING[found])


class Lock:
    """The exclusive lock of a volume; held until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self._file = path / "LOCK"
        self._handle: int | None = None

    def take(self, give_up: threading.Event | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Wait for the lock, and say every few seconds that we do. Raises StoreLocked when `give_up` is set."""
        handle = self._open(os.O_RDWR | os.O_CREAT)
        told: float | None = None
        while not _locked(handle, fcntl.LOCK_EX):
            if told is None or clock() - told >= _REMIND:
                told = clock()
                log.warning("waiting for the volume of sessions: another process has %s (%s)", self._file, self.owner())
            if give_up is None:
                time.sleep(_POLL)
            elif give_up.wait(_POLL):
                os.close(handle)
                raise StoreLocked(f"another process has {self._file} ({self.owner()}); this one no longer waits for it")
        self._handle = handle

    def share(self) -> None:
        """Take the lock for reading, at once or not at all. Raises StoreLocked."""
        handle = self._open(os.O_RDONLY)
        if not _locked(handle, fcntl.LOCK_SH):
            os.close(handle)
            raise StoreLocked(
                f"a server has {self._file} ({self.owner()}): ask it instead (--server), or stop it before"
            )
        self._handle = handle

    def release(self) -> None:
        """Let others have the volume."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self, flags: int) -> int:
        try:
            return os.open(self._file, flags | os.O_CLOEXEC, 0o660)
        except OSError as error:
            raise StoreInvalid(f"cannot open {self._file}: {error.strerror}") from error

    # --- whose it is

    def owner(self) -> str:
        """Who wrote into the file last, for people."""
        found = self._read()
        return (
            f"store {found['store']}, boot {found.get('boot')}, host {found.get('host')}" if found else "no store yet"
        )

    @property
    def store(self) -> str | None:
        """The id of the store that was last opened under this lock."""
        found = self._read()
        return None if found is None else str(found["store"])

    def sign(self, store: str, boot: int) -> None:
        """Write whose it is, on disk before this returns."""
        assert self._handle is not None
        text = json.dumps({"store": store, "boot": boot, "host": os.uname().nodename}).encode()
        os.pwrite(self._handle, text, 0)
        os.ftruncate(self._handle, len(text))
        os.fsync(self._handle)

    def _read(self) -> dict[str, object] | None:
        # A crash while it was written leaves half of it; it then tells nothing, and the database itself is asked.
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "store" in found else None


def _locked(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Standing(enum.Enum):
    """What a membership record says of this replica's store."""

    OURS = "ours"
    REPLACED = "replaced"
    """The record names another store for this ordinal: nothing may be taken, created or answered."""
    LOST = "lost"
    """It was given up: others may have its sessions by now. It is never served again, only read."""


def standing(record: Record, ordinal: int, store: str) -> Standing:
    """What `record` says of the store with the id `store` at `ordinal`. Pure."""
    if store in record.lost:
        return Standing.LOST
    return Standing.OURS if record.stores.get(ordinal, store) == store else Standing.REPLACED
