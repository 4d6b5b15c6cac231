"""The cgroups of a cluster's containers: all stand below one that carries the cluster's name (see runc.sh)."""

import os
import time
from contextlib import suppress
from pathlib import Path

from .places import key_of

_TOP = Path("/sys/fs/cgroup")
_OURS = "mooring"


def name(state: Path) -> str:
    """The cluster's cgroup, relative to the root of each hierarchy."""
    return f"{_OURS}/{key_of(state)}"


def processes(state: Path) -> set[int]:
    """The processes that run in the cluster's containers."""
    found: set[int] = set()
    for folder in _folders(state):
        with suppress(OSError):
            found.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
    return found


def remove(state: Path) -> None:
    """Removes the cluster's cgroups, which no process may be in any more."""
    # The kernel empties a cgroup a moment after its last process is gone, and refuses until then.
    deadline = time.monotonic() + 5
    while (folders := _folders(state)) and time.monotonic() < deadline:
        for folder in sorted(folders, reverse=True):
            with suppress(OSError):
                folder.rmdir()
        time.sleep(0.02)
    for hierarchy in _hierarchies():
        with suppress(OSError):
            (hierarchy / _OURS).rmdir()


def _folders(state: Path) -> list[Path]:
    tops = [hierarchy / name(state) for hierarchy in _hierarchies()]
    return [Path(folder) for top in tops for folder, _, _ in os.walk(top)]


def _hierarchies() -> list[Path]:
    """The root of each cgroup hierarchy: one folder each of version 1, or the one of version 2."""
    return [_TOP, *(entry for entry in _TOP.iterdir() if entry.is_dir() and not entry.is_symlink())]
