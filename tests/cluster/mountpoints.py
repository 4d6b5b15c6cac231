"""Host folders whose paths are fixed in Kubernetes' and containerd's code, and that the cluster gets copies of.

Inside the cluster's mount namespace a folder of its state stands at each of these paths, so nothing
is ever written to the host's. The paths must exist on the host for that; those that did not are
noted, and removed with the last cluster.
"""

import os
from contextlib import suppress
from pathlib import Path

from . import processes
from .assets import locked
from .places import cache_folder

VOLUMES = Path("/tmp/hostpath_pv")  # the host-path provisioner's volumes; both nodes share them
SHARED = {
    "volumes": VOLUMES,
    "run-containerd": Path("/run/containerd"),
    "container-logs": Path("/var/log/containers"),
    "device-plugins": Path("/var/lib/kubelet"),
}
CNI_CACHE = Path("/var/lib/cni")  # one a node: addresses are handed out from it

# Outlives each single cluster: the one that made a mount point may go before another that uses it.
_MADE = Path("/run/mooring/mountpoints")


def make(paths: list[Path]) -> None:
    """Makes the paths that are missing, and notes which these are; call it when a process of the cluster runs."""
    with locked(_lock()):
        _MADE.parent.mkdir(parents=True, exist_ok=True)
        for path in paths:
            if not path.exists():
                with _MADE.open("a") as notes:
                    notes.write(f"{path}\n")
                path.mkdir(parents=True)


def remove() -> None:
    """Removes the noted paths that are still empty, unless a cluster is left on the host."""
    # Looked at under the lock: a cluster that starts meanwhile would find its mount points gone.
    with locked(_lock()):
        if processes.marks():
            return
        with suppress(FileNotFoundError):
            for line in _MADE.read_text().splitlines():
                with suppress(OSError):
                    Path(line).rmdir()
            _MADE.unlink()
        with suppress(OSError):
            _MADE.parent.rmdir()


def possible() -> bool:
    """Whether this process may bind folders: only root may."""
    return os.geteuid() == 0


def _lock() -> Path:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "mountpoints.lock"
