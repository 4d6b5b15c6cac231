"""Redis comes from the host, else once from Debian's packages, else the goal beside it is told as missing."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bench.runtime.processes import UnavailableError
from tests.bench.sessions import redis_program
from tests.cluster import debian
from tests.cluster.places import ClusterError


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without Redis and with an empty cache."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(redis_program, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)


def test_the_hosts_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert redis_program.program() == (Path("/usr/bin/redis-server"), {})


def test_it_is_fetched_once_with_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Sequence[str]] = []

    def unpack(_: str, packages: Sequence[str], folder: Path) -> None:
        fetched.append(packages)
        libraries = folder / "usr/lib/any-linux-gnu"
        libraries.mkdir(parents=True)
        (libraries / "libjemalloc.so.2").touch()

    monkeypatch.setattr(debian, "unpack", unpack)
    for _ in range(2):
        found, env = redis_program.program()
        assert found.parts[-3:] == ("usr", "bin", "redis-server")
        assert env == {"LD_LIBRARY_PATH": str(found.parents[2] / "usr/lib/any-linux-gnu")}
    assert len(fetched) == 1
    assert {"redis-server", "redis-tools"} < set(fetched[0])


def test_what_cannot_be_fetched_is_told_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(*_: object) -> None:
        raise ClusterError("no answer")

    monkeypatch.setattr(debian, "unpack", unpack)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="cannot be fetched: no answer"):
            redis_program.program()
