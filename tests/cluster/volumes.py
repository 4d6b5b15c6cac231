"""Opens new volumes to every user.

A driver gives a volume to the group of the pod (`fsGroup`) when it is mounted. The host-path provisioner makes folders
of mode 0750 for root, and kubelet leaves such folders as they are: a pod that runs as another user, as all pods of
level `restricted` do, could not write. Each folder is opened once, when it is new: tests may close it again.

Usage: python -m tests.cluster.volumes
"""

import time
from contextlib import suppress

from .mountpoints import VOLUMES

_SECONDS = 0.1


def main() -> None:
    """Goes on until the process is killed."""
    known: set[str] = set()
    while True:
        present = {entry.name for entry in VOLUMES.iterdir()}
        for name in present - known:
            with suppress(FileNotFoundError):
                (VOLUMES / name).chmod(0o777)
        known = present
        time.sleep(_SECONDS)


if __name__ == "__main__":
    main()
