"""Certificates of somebody else, such as cert-manager."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mooring_operator.adapter.certificates import Files
from mooring_operator.adapter.generations import Generation, make

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
HOSTS = ("mooring-adapter.system.svc",)


def generation(days: int) -> Generation:
    return make(HOSTS, NOW, timedelta(days=days))


def write(folder: Path, made: Generation) -> None:
    (folder / "tls.crt").write_text(made.certificate)
    (folder / "tls.key").write_text(made.key)
    (folder / "ca.crt").write_text(made.certificate)


async def test_a_replica_adds_its_authority_and_takes_none_away(tmp_path: Path) -> None:
    # While an authority is replaced, one replica sees the new files and another the old ones: were each to write its
    # own, the one that had written last would be the only one that is trusted.
    old, new = generation(10), generation(20)
    clock = [NOW]
    files = Files(tmp_path, lambda: clock[0])
    write(tmp_path, old)
    before = await files.bundle("")
    write(tmp_path, new)
    both = await files.bundle(before)
    assert old.certificate.strip() in both
    assert new.certificate.strip() in both
    write(tmp_path, old)
    # In the same order, too: else the two would write it in turns for ever.
    assert await files.bundle(both) == both

    write(tmp_path, new)
    clock[0] = NOW + timedelta(days=11)
    assert await files.bundle(both) == new.certificate
    assert await files.bundle(new.certificate) == new.certificate
    broken = "-----BEGIN CERTIFICATE-----\nhello\n-----END CERTIFICATE-----\n"
    assert await files.bundle(broken + new.certificate) == new.certificate
    served = files.served("")
    assert (served.certificate, served.key, served.expires) == (new.certificate, new.key, new.expires)


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    files = Files(tmp_path, lambda: NOW)
    with pytest.raises(OSError, match=r"ca\.crt"):
        await files.bundle("")
    (tmp_path / "ca.crt").write_text("hello")
    with pytest.raises(ValueError, match=r"ca\.crt holds no certificate"):
        await files.bundle("")
