"""KEDA itself, for the tests that are about it: built once from its Go module into the cache, beside the cluster's."""

import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from .assets import GO, Module, go_build, locked
from .places import ClusterError, cache_folder, digest_of
from .progress import step

_MODULE = Module("keda", "KEDA's operator and metrics server (15 min cold)", "tool")
_SOURCE = "github.com/kedacore/keda/v2"
OPERATOR, ADAPTER = "operator", "adapter"
MANIFESTS = "config"
"""Folder of its own manifests: definitions and rights."""


def folder() -> Path:
    """The folder of its binaries and manifests, built or not."""
    return cache_folder() / f"keda-{digest_of([GO / _MODULE.name], platform.machine())}"


def unusable() -> str | None:
    """Why it cannot run here, in one line; None when it is built or can be."""
    return None if folder().exists() or shutil.which("go") else "KEDA is not built, and go is not installed"


def build() -> Path:
    """Builds it, unless it is there, and returns its folder. A second builder waits for the first.

    Raises:
        ClusterError: the build failed; the message holds the end of its log.
    """
    place = folder()
    if place.exists():
        return place
    if reason := unusable():
        raise ClusterError(reason)
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.parent / "keda.lock"), step(f"build {_MODULE.title}"):
        if place.exists():
            return place
        with tempfile.TemporaryDirectory(prefix="keda-half-", dir=place.parent) as made:
            half = Path(made) / "made"
            half.mkdir()
            go_build(_MODULE, half, place.parent / "keda-build.log")
            shutil.copytree(_source() / MANIFESTS, half / MANIFESTS, copy_function=shutil.copyfile)
            half.rename(place)
    return place


def _source() -> Path:
    """Its module as Go keeps it."""
    argv = ["go", "list", "-m", "-f", "{{.Dir}}", _SOURCE]
    found = subprocess.run(argv, cwd=GO / _MODULE.name, check=True, capture_output=True, text=True)
    return Path(found.stdout.strip())
