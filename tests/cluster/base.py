"""The base image that stands in for the public Python image: Debian bookworm with its Python 3.11, by debootstrap."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import buildah, debian
from .assets import locked
from .places import cache_folder, digest_of
from .progress import logged, step

_SUITE = "bookworm"
_PACKAGES = "python3,python3-venv,ca-certificates"
# What only a build needs: the base that images run on goes without.
_BUILD_ONLY = ("python3-venv", "python3.11-venv", "python3-pip-whl", "python3-setuptools-whl")
_SHED = (
    *("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian"),
    *("var/cache/apt", "var/lib/apt/lists", "var/log", "var/cache/debconf"),
)
_DOCKERFILE = """FROM scratch
ADD rootfs.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["/bin/sh"]
"""


@dataclass(frozen=True)
class Base:
    """The names of both images: `run` for what is shipped, `build` with the venv module besides."""

    run: str
    build: str


def image() -> Base:
    """The base images, made on first use (1 min) and kept in the cache.

    Raises:
        ClusterError: no mirror is known, or debootstrap or buildah failed.
    """
    digest = digest_of([], _SUITE, _PACKAGES, *_BUILD_ONLY, *_SHED, _DOCKERFILE)
    names = Base(f"localhost/mooring-base:{_SUITE}-{digest}", f"localhost/mooring-build-base:{_SUITE}-{digest}")
    folder = cache_folder() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "base.lock"):
        if not (buildah.has(names.run) and buildah.has(names.build)):
            with step(f"make the base image (Debian {_SUITE}, 1 min)"), tempfile.TemporaryDirectory(dir=folder) as work:
                _make(names, Path(work), folder / "base.log")
    return names


def _make(names: Base, work: Path, log: Path) -> None:
    root = work / "root"
    # A mount namespace of its own: a killed debootstrap leaves /proc and /sys mounted in the folder.
    own = ["unshare", "--mount"]
    bootstrap = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root), debian.mirror()]
    logged([*own, *bootstrap], log)
    _pack(names.build, root, work, log)
    purge = ["dpkg", "--purge", *_BUILD_ONLY]
    logged([*own, "chroot", str(root), *purge], log, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    _pack(names.run, root, work, log)
    buildah.run(log, "tag", names.run, f"localhost/mooring-base:{_SUITE}")


def _pack(image: str, root: Path, work: Path, log: Path) -> None:
    for name in _SHED:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)
    # Device nodes, and what debootstrap mounted: a container gets its own.
    without = ["--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*"]
    logged(["tar", "--numeric-owner", "-C", str(root), *without, "-cf", str(work / "rootfs.tar"), "."], log)
    (work / "Dockerfile").write_text(_DOCKERFILE)
    buildah.run(log, "bud", f"--tag={image}", f"--file={work / 'Dockerfile'}", str(work))
