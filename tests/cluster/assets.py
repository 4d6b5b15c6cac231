"""The cluster's binaries: built once from Go modules into the cache, for every checkout of this host."""

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import oci
from .places import RECIPE, ClusterError, cache_folder, digest_of
from .progress import logged, step

GO = RECIPE / "go"
PAUSE_IMAGE = "localhost/pause:1"
_STRIP = "-s -w"
_PAUSE_SOURCE = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"
# Needed to run: the names are files of the finished folder.
_PRODUCTS = [
    *("cluster", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr", "bridge", "host-local", "loopback"),
    *("portmap", "coredns", "helm", "registry", "pause.tar"),
]


@dataclass(frozen=True)
class Module:
    """One Go module below go/, and how it is built.

    Attributes:
        versions: link-time variables that get the version of the module named first: clients refuse to parse a
            Kubernetes version that was not set.
    """

    name: str
    title: str
    target: str
    tags: str = ""
    versions: tuple[tuple[str, str], ...] = ()


MODULES = (
    Module(
        "kubernetes",
        "Kubernetes and kubectl (7 min cold)",
        ".",
        versions=(
            ("k8s.io/kubernetes", "k8s.io/component-base/version.gitVersion"),
            ("k8s.io/kubernetes", "k8s.io/client-go/pkg/version.gitVersion"),
        ),
    ),
    Module("node", "containerd, CNI and CoreDNS (3 min cold)", "tool", tags="no_btrfs no_devmapper no_zfs"),
    Module(
        "tools",
        "helm and the image registry (3 min cold)",
        "tool",
        versions=(
            ("helm.sh/helm/v4", "helm.sh/helm/v4/internal/version.version"),
            ("github.com/distribution/distribution/v3", "github.com/distribution/distribution/v3/version.version"),
        ),
    ),
)


def folder() -> Path:
    """The folder of the binaries, built or not: MOORING_CLUSTER_ASSETS, or one in the cache.

    The cache's is named by a digest of what the binaries are made from, and by the machine's kind.
    """
    if ready := os.environ.get("MOORING_CLUSTER_ASSETS"):
        return Path(ready).resolve()
    sources = [GO / module.name for module in MODULES]
    flags = [f"{module.tags} {module.versions}" for module in MODULES]
    return cache_folder() / f"cluster-{digest_of(sources, *flags, _STRIP, _PAUSE_SOURCE, platform.machine())}"


def missing() -> str | None:
    """Why the binaries cannot be used, in one line; None when all are there."""
    place = folder()
    absent = [name for name in _PRODUCTS if not (place / name).exists()]
    if not absent:
        return None
    if "MOORING_CLUSTER_ASSETS" in os.environ:
        return f"MOORING_CLUSTER_ASSETS={place} lacks {', '.join(absent)}"
    return "the cluster's binaries are not built: run `python -m tests.cluster build`"


def buildable() -> str | None:
    """Why the binaries cannot be built here, in one line; None when they can."""
    if "MOORING_CLUSTER_ASSETS" in os.environ:
        return missing()
    absent = [tool for tool in ("go", "gcc") if shutil.which(tool) is None]
    return f"{' and '.join(absent)}: not installed" if absent else None


def build() -> Path:
    """Builds what is missing and returns the folder: 12 minutes cold on two cores, one when Go's cache is warm.

    A second builder waits for the first. The folder gets its name when it is whole, so one that a
    crash left half-built is never used.

    Raises:
        ClusterError: a build failed; the message holds the end of its log.
    """
    place = folder()
    if missing() is None:
        return place
    if reason := buildable():
        raise ClusterError(reason)
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.parent / "cluster.lock"):
        if missing() is None:
            return place
        for stale in place.parent.glob("half-*"):
            shutil.rmtree(stale)  # a killed builder's: the lock says that no other one lives
        half = Path(tempfile.mkdtemp(prefix="half-", dir=place.parent))
        log = place.parent / "cluster-build.log"
        log.unlink(missing_ok=True)
        for module in MODULES:
            with step(f"build {module.title}"):
                go_build(module, half, log)
        (half / "kubectl").symlink_to("cluster")
        _pause(half, log)
        shutil.rmtree(place, ignore_errors=True)
        half.chmod(0o755)
        half.rename(place)
    return place


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock among processes; it is freed with the process, however that ends."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(f"wait for another process to free {path}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def go_build(module: Module, target: Path, log: Path) -> None:
    """Builds what a module is for into a folder that exists. Raises `ClusterError`."""
    flags = [_STRIP, *(f"-X {variable}={_version(module, source)}" for source, variable in module.versions)]
    if module.name == "kubernetes":
        major, minor, _ = _version(module, "k8s.io/kubernetes").removeprefix("v").split(".")
        base = "k8s.io/component-base/version"
        flags += [f"-X {base}.gitMajor={major}", f"-X {base}.gitMinor={minor}", f"-X {base}.gitTreeState=clean"]
    output = target / "cluster" if module.target == "." else f"{target}/"
    # Without the checkout's state stamped in, equal sources make equal binaries.
    argv = ["go", "build", "-trimpath", "-buildvcs=false", f"-ldflags={' '.join(flags)}", f"-tags={module.tags}"]
    logged([*argv, "-o", str(output), module.target], log, cwd=GO / module.name)


def _version(module: Module, source: str) -> str:
    argv = ["go", "list", "-m", "-f", "{{.Version}}", source]
    return subprocess.run(argv, cwd=GO / module.name, check=True, capture_output=True, text=True).stdout.strip()


def _pause(target: Path, log: Path) -> None:
    """The image that holds a pod's namespaces: one static program that waits."""
    source = target / "pause.c"
    source.write_text(_PAUSE_SOURCE)
    logged(["gcc", "-static", "-Os", "-s", "-o", str(target / "pause"), str(source)], log)
    files = {"pause": (target / "pause").read_bytes()}
    oci.write(target / "pause.tar", PAUSE_IMAGE, files, entrypoint=["/pause"], executable=True)
