"""Programs of Debian that are taken out of their package and not installed: installed, their service would start."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .assets import locked
from .places import ClusterError, cache_folder
from .progress import step

PROMETHEUS = ("prometheus", "promtool")


def program(name: str, package: str) -> Path | None:
    """The program as the host has it, or as `unpack` has left it in the cache; None when neither is there."""
    if found := shutil.which(name):
        return Path(found)
    unpacked = _folder(package) / "usr" / "bin" / name
    return unpacked if unpacked.exists() else None


def unfetchable(package: str, programs: Sequence[str]) -> str | None:
    """Why the programs of a package cannot be had here, in one line; None when they are there or can be fetched."""
    if all(program(name, package) for name in programs):
        return None
    absent = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    return f"{' and '.join(programs)}: not installed, and {' and '.join(absent)} are not here" if absent else None


def unpack(package: str, programs: Sequence[str]) -> None:
    """Fetches a package and unpacks it into the cache, unless its programs are there: seconds. A second one waits.

    Raises:
        ClusterError: there is no apt-get, or it has not the package.
    """
    if all(program(name, package) for name in programs):
        return
    if reason := unfetchable(package, programs):
        raise ClusterError(reason)
    place = _folder(package)
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.parent / f"{package}.lock"):
        if all(program(name, package) for name in programs):
            return
        with step(f"fetch Debian's package {package}"), tempfile.TemporaryDirectory(dir=place.parent) as half:
            _fetch(package, Path(half))
            (archive,) = Path(half).glob("*.deb")
            _run(["dpkg-deb", "--extract", str(archive), f"{half}/root"])
            shutil.rmtree(place, ignore_errors=True)
            (Path(half) / "root").rename(place)


def _folder(package: str) -> Path:
    return cache_folder() / f"debian-{package}"


def _fetch(package: str, folder: Path) -> None:
    # apt-get would else complain that its own user cannot write here.
    download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
    try:
        _run(download, folder)
    except ClusterError:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "-q", "update"])  # a fresh machine's lists are empty, or name versions that are gone
        _run(download, folder)


def _run(argv: Sequence[str], folder: Path | None = None) -> None:
    result = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ClusterError(f"`{' '.join(argv)}` failed:\n{result.stdout[-1000:]}{result.stderr[-2000:]}")
