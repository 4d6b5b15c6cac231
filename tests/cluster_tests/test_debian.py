"""Where Debian's packages come from, and which Prometheus is taken; nothing is fetched."""

import secrets
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import debian, monitoring
from tests.cluster.places import ClusterError

needs_apt = pytest.mark.skipif(
    shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None, reason="apt-get and dpkg-deb are not here"
)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes apt know these sources and no others, with lists that are still empty."""
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    settings = {
        "Acquire::Retries": "0",
        "Dir::Etc::SourceList": tmp_path / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": tmp_path / "lists",
    }
    (tmp_path / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.delenv("MOORING_DEBIAN_MIRROR", raising=False)

    def write(text: str) -> None:
        (tmp_path / "sources.list").write_text(text)

    return write


@needs_apt
def test_a_fresh_machine_knows_its_archive(sources: Callable[[str], None]) -> None:
    others = "deb http://near.test/other x main\ndeb http://near.test/debian x contrib\n"
    sources(f"{others}deb http://near.test/own/debian x main\n")
    assert debian.mirror() == "http://near.test/own/debian/"
    sources(others)
    with pytest.raises(debian.UnavailableError, match="set MOORING_DEBIAN_MIRROR"):
        debian.mirror()


@needs_apt
def test_a_release_that_the_archive_has_not_is_told_from_an_archive_that_does_not_answer(
    sources: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "debian" / "dists").mkdir(parents=True)
    sources(f"deb file:{tmp_path}/debian stable main\n")
    with pytest.raises(debian.UnavailableError, match=r"^file:.*/debian/ has no Debian nosuch with prometheus: set "):
        debian.unpack("nosuch", ["prometheus"], tmp_path / "out")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("MOORING_DEBIAN_MIRROR", f"http://127.0.0.1:{taken.getsockname()[1]}/debian")
    with pytest.raises(ClusterError, match="Could not connect") as raised:
        debian.unpack("nosuch", ["prometheus"], tmp_path / "out")
    assert not isinstance(raised.value, debian.UnavailableError)
    assert not (tmp_path / "out").exists()


def test_the_hosts_prometheus_is_taken_where_it_finds_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fetched = tmp_path / "cache" / "mooring" / f"debian-{monitoring.SUITE}-prometheus" / "usr" / "bin"

    def taken(**scripts: str) -> list[Path]:
        """The programs that are taken on a host with these."""
        folder = tmp_path / f"host-{secrets.token_hex(4)}"
        folder.mkdir()
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        found = [monitoring.program(name) for name in monitoring.PROGRAMS]
        return [path.relative_to(folder) if path.is_relative_to(folder) else path for path in found]

    finds = 'read -r text; case "$text" in *kubernetes_sd_configs*) exit 0; esac; exit 1'
    assert taken(prometheus="exit 0", promtool=finds) == [Path(name) for name in monitoring.PROGRAMS]
    others = [fetched / name for name in monitoring.PROGRAMS]
    assert taken(prometheus="exit 0", promtool="exit 1") == others  # built without discovery
    assert taken(promtool=finds) == others  # the other one would be of another build
    assert taken() == others
