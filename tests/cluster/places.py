"""Where things stand: the checkout, the cache of binaries and images, the state of one cluster."""

import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPE = Path(__file__).resolve().parent

# Every process of a cluster carries this variable with the cluster's state folder as its value. A
# run that was killed leaves processes whose ids nobody wrote down (shims, a kubelet's helpers): the
# next run finds them by it, and no recycled process id is ever mistaken for one of ours.
MARK = "MOORING_CLUSTER_STATE"


class ClusterError(RuntimeError):
    """The cluster cannot do what was asked; the message says what stands in the way."""


def cache_folder() -> Path:
    """The folder outside the checkout that binaries and base images are kept in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mooring"


def state_folder(name: str, folder: Path | None = None) -> Path:
    """The state folder of the cluster `name`; `folder` stands in for the place in the checkout."""
    if not name or not name.replace("-", "").isalnum() or len(name) > 40:
        raise ClusterError(f"cluster name {name!r}: use at most 40 letters, digits and dashes")
    return (folder or ROOT / "build" / "cluster" / name).resolve()


def key_of(state: Path) -> str:
    """A short name of a cluster, unique on this host: two checkouts may hold clusters of one name."""
    return f"{state.name}-{hashlib.sha256(os.fsencode(state)).hexdigest()[:8]}"


def run_folder(state: Path) -> Path:
    """Where the sockets stand: the kernel takes no socket path longer than 107 bytes, a checkout's may be."""
    return Path("/run/mooring") / key_of(state)


def digest_of(paths: list[Path], *words: str, base: Path = ROOT) -> str:
    """Twelve hex digits over the names and contents of files (a folder stands for all files in it) and `words`."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    for path in sorted(_files(paths)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(base)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def _files(paths: list[Path]) -> set[Path]:
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(inner for inner in path.rglob("*") if inner.is_file() and "__pycache__" not in inner.parts)
        elif path.is_file():
            found.add(path)
        else:
            raise ClusterError(f"{path}: no such file, although it is an input of the build")
    return found
