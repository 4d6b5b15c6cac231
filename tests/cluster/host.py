"""What this host must have, and what of it is missing."""

import os
import platform
import shutil
import subprocess

from . import assets
from .places import ClusterError
from .progress import step

# Each tool, and the Debian package that brings it.
_TO_BUILD = {"gcc": "gcc"}
_TO_RUN = {"openssl": "openssl", "setsid": "util-linux"}
_FOR_NODES = {
    **{"nsenter": "util-linux", "unshare": "util-linux", "mount": "mount", "ip": "iproute2", "nft": "nftables"},
    **{"conntrack": "conntrack", "runc": "runc", "jq": "jq"},
}
_FOR_IMAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}
# What gcc and buildah need beside themselves, and Debian only recommends.
_COMPANIONS = {"gcc": "libc6-dev", "buildah": "ca-certificates"}


def unfit(nodes: int) -> str | None:
    """Why this host cannot run a cluster, in one line; None when it can. The binaries may still have to be built."""
    if platform.system() != "Linux":
        return f"a cluster needs Linux, this is {platform.system()}"
    if nodes and os.geteuid() != 0:
        return "a cluster with nodes needs root"
    absent = _absent({**_TO_RUN, **(_FOR_NODES if nodes else {})})
    if absent:
        return f"not installed: {', '.join(absent)}; run `python -m tests.cluster prerequisites` as root"
    return assets.buildable() if assets.missing() else None


def unable_to_build_images() -> str | None:
    """Why images cannot be built on this host, in one line; None when they can."""
    absent = _absent(_FOR_IMAGES)
    return (
        f"not installed: {', '.join(absent)}; run `python -m tests.cluster prerequisites` as root" if absent else None
    )


def install() -> None:
    """Installs by apt-get what is missing to build binaries and images and to run nodes.

    Raises:
        ClusterError: not root, no apt-get, or no Go (which Debian has too old).
    """
    if platform.system() != "Linux":
        raise ClusterError(f"a cluster needs Linux, this is {platform.system()}")
    absent = _absent({**_TO_BUILD, **_TO_RUN, **_FOR_NODES, **_FOR_IMAGES})
    packages = sorted({*absent.values(), *(_COMPANIONS[tool] for tool in absent if tool in _COMPANIONS)})
    if packages:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise ClusterError(f"missing {', '.join(packages)}: install them, or run this as root where apt-get is")
        with step(f"install {' '.join(packages)}"):
            _apt("update")
            _apt("install", "--yes", "--no-install-recommends", *packages)
    if assets.missing() and shutil.which("go") is None:
        raise ClusterError("missing Go: install the version that tests/cluster/go/*/go.mod name")


def _absent(tools: dict[str, str]) -> dict[str, str]:
    # Debian keeps these out of a user's PATH, although the user may run them.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return {tool: package for tool, package in tools.items() if shutil.which(tool, path=path) is None}


def _apt(*arguments: str) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(["apt-get", "-q", *arguments], env=env, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ClusterError(f"`apt-get {' '.join(arguments)}` failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
