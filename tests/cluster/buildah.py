"""Runs buildah with a storage of its own in the cache: the host's images are neither seen nor touched."""

import os
import subprocess
import tempfile
from pathlib import Path

from .places import cache_folder
from .progress import logged


def run(log: Path, *arguments: str, cwd: Path | None = None) -> None:
    """Runs one buildah command with its output in `log`.

    Raises:
        ClusterError: it failed; the message holds the end of its output.
    """
    # A mount namespace of its own: whatever a killed build had mounted goes with it.
    argv = ["unshare", "--mount", "buildah", *_storage(), *arguments]
    logged(argv, log, cwd=cwd, env={**os.environ, "BUILDAH_ISOLATION": "chroot"})


def has(image: str) -> bool:
    """Whether the storage holds an image of that name."""
    argv = ["buildah", *_storage(), "inspect", "--type=image", image]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def tags(repository: str) -> list[str]:
    """The tags that the storage holds of a repository."""
    argv = ["buildah", *_storage(), "images", "--format={{.Tag}}", f"--filter=reference={repository}"]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    return result.stdout.split() if result.returncode == 0 else []


def _storage() -> list[str]:
    folder = cache_folder() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = folder / "driver"
    if not chosen.exists():
        chosen.write_text("overlay" if _overlay_works(folder) else "vfs")
    # vfs copies every layer whole: slow, but it works where overlays cannot be mounted.
    driver = chosen.read_text()
    return [f"--root={folder / driver}", f"--runroot={folder / 'run'}", f"--storage-driver={driver}"]


def _overlay_works(folder: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="probe-", dir=folder) as probe:
        lower, upper, work, merged = (Path(probe) / name for name in ("lower", "upper", "work", "merged"))
        for path in (lower, upper, work, merged):
            path.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        argv = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
