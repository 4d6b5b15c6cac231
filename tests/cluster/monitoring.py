"""Prometheus, taken out of Debian's packages and not installed: installed, its service would start."""

import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from . import debian
from .assets import locked
from .places import ClusterError, cache_folder
from .progress import step

SUITE = "trixie"
"""A release of Debian whose Prometheus (2.53) finds pods by itself: that of bookworm (2.42) is built without."""
PROGRAMS = ("prometheus", "promtool")
"""Each is in the package of its name. They are always of one build: both the host's, or both fetched."""
_DISCOVERY = {"scrape_configs": [{"job_name": "pods", "kubernetes_sd_configs": [{"role": "pod"}]}]}


def program(name: str) -> Path:
    """The program, as the host has it where that one finds pods, else as it is fetched by `unavailable`."""
    return _installed().get(name) or _fetched() / "usr" / "bin" / name


@cache
def unavailable() -> str | None:
    """Why Prometheus cannot be had here, in one line; None when it is there, for which it is fetched into the cache on
    first use (10 s; a second process waits). A process asks once.

    Raises:
        ClusterError: the archive does not answer, or what it has does not run here.
    """
    if _whole():
        return None
    place = _fetched()
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.parent / "prometheus.lock"):
        if _whole():
            return None
        try:
            with step(f"fetch Prometheus (Debian {SUITE})"), tempfile.TemporaryDirectory(dir=place.parent) as half:
                _fetch(Path(half) / "root", place)
        except debian.UnavailableError as error:
            return str(error)
    return None


def _fetch(half: Path, place: Path) -> None:
    debian.unpack(SUITE, PROGRAMS, half)
    if why := _cannot_discover(half / "usr" / "bin" / "promtool"):
        raise ClusterError(f"Prometheus of Debian {SUITE} does not find pods on this host: {why}")
    shutil.rmtree(place, ignore_errors=True)
    half.rename(place)


def _whole() -> bool:
    return all(program(name).exists() for name in PROGRAMS)


def _fetched() -> Path:
    # The release stands in the name: what an earlier one has left there is not taken for it.
    return cache_folder() / f"debian-{SUITE}-prometheus"


def _installed() -> dict[str, Path]:
    """The host's own programs; empty where it lacks one, or they find no pods."""
    found = {name: Path(path) for name in PROGRAMS if (path := shutil.which(name))}
    one_build = len(found) == len(PROGRAMS) and len({path.parent for path in found.values()}) == 1
    return found if one_build and not _cannot_discover(found["promtool"]) else {}


@cache
def _cannot_discover(promtool: Path) -> str | None:
    """What keeps Prometheus from finding pods, in promtool's words, which is built with the same parts."""
    argv = [str(promtool), "check", "config", "/dev/stdin"]
    try:
        done = subprocess.run(argv, input=json.dumps(_DISCOVERY), capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return (done.stdout + done.stderr).strip() or f"it ended with {done.returncode}" if done.returncode else None
