"""The cgroups of a cluster's containers: all stand below one that carries the cluster's name (see runc.sh)."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
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


def container(state: Path, identity: str) -> set[int]:
    """The processes of one container, by the id that its runtime gave it; none when it has ended."""
    for hierarchy in _hierarchies():
        with suppress(OSError):
            return {int(pid) for pid in (hierarchy / name(state) / identity / "cgroup.procs").read_text().split()}
    return set()


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


def memory_limits_work(state: Path, pause: Path, enter: Sequence[str]) -> bool:
    """Whether runc can limit a container's memory here, found out by letting it: some hosts keep the controller.

    Args:
        pause: a static program to put into the container.
        enter: the words that put a command into the cluster's namespaces.
    """
    bundle = state / "memory-probe"
    (bundle / "rootfs").mkdir(parents=True)
    shutil.copy(pause, bundle / "rootfs" / "pause")
    runc = [*enter, "runc", f"--root={bundle / 'run'}"]
    path = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}

    def succeeds(*arguments: str) -> bool:
        # No pipe: the container would hold it open, and this would wait for it.
        nowhere = subprocess.DEVNULL
        result = subprocess.run(
            [*runc, *arguments], env=path, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=False
        )
        return result.returncode == 0

    if not succeeds("spec", f"--bundle={bundle}"):
        return False
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/pause"]}
    config["linux"] |= {"cgroupsPath": f"/{name(state)}/probe", "resources": {"memory": {"limit": 64 << 20}}}
    (bundle / "config.json").write_text(json.dumps(config))
    try:
        return succeeds("create", f"--bundle={bundle}", "probe")
    finally:
        succeeds("delete", "--force", "probe")


def _folders(state: Path) -> list[Path]:
    tops = [hierarchy / name(state) for hierarchy in _hierarchies()]
    return [Path(folder) for top in tops for folder, _, _ in os.walk(top)]


def _hierarchies() -> list[Path]:
    """The root of each cgroup hierarchy: one folder each of version 1, or the one of version 2."""
    return [_TOP, *(entry for entry in _TOP.iterdir() if entry.is_dir() and not entry.is_symlink())]
