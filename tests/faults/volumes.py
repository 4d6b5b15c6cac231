"""The volume of a replica: a directory, or a small file system of its own that can be filled up."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

SIZE = 48
"""MiB of a file system of its own."""
LEFT = 64 * 2**10
"""Bytes that are left free on a full volume."""
ATTEMPTS = 20
"""Times that all room is taken, while a server takes room too."""


class Volume:
    """A directory that lasts as long as the run."""

    can_fill = False

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self.path = path

    def fill(self) -> None:
        """Leave no room on it."""
        raise AssertionError(f"{self.path} is no file system of its own")

    def empty(self) -> None:
        """Give the room back."""

    def lose(self) -> None:
        """Take away what sessions are on it, as a new volume in its place does."""
        shutil.rmtree(self.path / "sessions", ignore_errors=True)

    def remove(self) -> None:
        """The run is over; what is in it stays for who looks for the reason of a failure."""


class SmallVolume(Volume):
    """A file system in memory: it outlives the processes, and nobody else's files make it full."""

    can_fill = True

    def __init__(self, path: Path) -> None:
        """Raises OSError where this process may not mount."""
        super().__init__(path)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "mooring-faults", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise OSError(f"cannot mount a file system on {path}: {done.stderr.strip()}")
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """See `Volume`."""
        with self._ballast.open("wb") as file:
            for attempt in range(ATTEMPTS):
                room = os.statvfs(self.path)
                free = room.f_bavail * room.f_frsize - LEFT
                try:
                    if free > 0:
                        os.posix_fallocate(file.fileno(), 0, free)
                    return
                except OSError as error:  # The server has taken some of it since.
                    if error.errno != errno.ENOSPC or attempt == ATTEMPTS - 1:
                        raise

    def empty(self) -> None:
        """See `Volume`."""
        self._ballast.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount it: unlike a directory it takes memory."""
        subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True, check=False)


def make(path: Path, *, small: bool) -> Volume:
    """A small one where that is wanted and can be had, else a directory."""
    if small:
        try:
            return SmallVolume(path)
        except OSError:
            path.rmdir()
    return Volume(path)
