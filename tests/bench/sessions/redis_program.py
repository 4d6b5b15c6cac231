"""Redis for the benchmark: the host's, or taken out of Debian's packages and not installed."""

import os
import shutil
import tempfile
from pathlib import Path

from tests.bench.runtime.processes import UnavailableError
from tests.cluster import debian
from tests.cluster.assets import locked
from tests.cluster.places import ClusterError, cache_folder

_SUITE = "bookworm"
_PACKAGES = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")
"""redis-server holds a link to a program of redis-tools; the others are libraries that few hosts have."""


def program() -> tuple[Path, dict[str, str]]:
    """redis-server, and the variables that it needs; fetched into the cache on first use (5 s, a second process waits).

    Raises UnavailableError: it is not installed, and cannot be fetched.
    """
    if installed := shutil.which("redis-server"):
        return Path(installed), {}
    place = cache_folder() / f"debian-{_SUITE}-redis"
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(place.parent / "redis.lock"):
            if not place.exists():
                with tempfile.TemporaryDirectory(dir=place.parent) as half:
                    debian.unpack(_SUITE, _PACKAGES, Path(half) / "root")
                    (Path(half) / "root").rename(place)
    except ClusterError as error:
        raise UnavailableError(f"redis-server is not installed, and cannot be fetched: {error}") from error
    [jemalloc] = place.glob("usr/lib/*/libjemalloc.so.2")
    libraries = [str(jemalloc.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return place / "usr" / "bin" / "redis-server", {"LD_LIBRARY_PATH": ":".join(libraries)}
