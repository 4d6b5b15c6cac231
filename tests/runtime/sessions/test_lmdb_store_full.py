"""A full volume: what does not fit is refused alone, what is there stays and is read, and ends and moves go on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mooring_runtime.sessions.copies import End, Phase, Target
from mooring_runtime.sessions.lmdb_store import StoreOptions
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import Change, StoreFull
from tests.support.stores import Commits, change, kept, key, noise, opened, reply, shown

_MIB = 2**20


@pytest.fixture(params=["limit", "disk"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, StoreOptions]]:
    """A directory with room for about 14 MiB of sessions: by the setting, or because its disk is no larger."""
    if request.param == "limit":
        yield tmp_path, StoreOptions(limit=14 * _MIB)
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    try:
        yield tmp_path / "sessions", StoreOptions(limit=2**30)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


async def _fill(commits: Commits) -> int:
    """Sessions of 1 MiB, one after the other, until one is refused; how many fit."""
    for number in range(100):
        failed = await commits.commit(change(1, number, tensors=noise(_MIB)))
        if failed is not None:
            assert isinstance(failed, StoreFull)
            assert "no room on the volume of sessions" in str(failed)
            return number
    raise AssertionError("the volume never fills up")


async def test_what_does_not_fit_is_refused_and_what_is_there_stays(volume: tuple[Path, StoreOptions]) -> None:
    path, options = volume
    with opened(path, options) as store:
        commits = Commits(store)
        fit = await _fill(commits)
        # Without the reserve, and without what is allocated for it.
        assert 4 <= fit <= 14
        for number in range(fit):
            assert store.read(key(number)).copy.step == 1
        with pytest.raises(KeyError):
            store.read(key(fit))
    with opened(path, options) as store:
        assert len(list(store.copies())) == fit
        assert store.clean


async def test_one_that_is_too_large_does_not_take_its_neighbours_with_it(volume: tuple[Path, StoreOptions]) -> None:
    path, options = volume
    with opened(path, options) as store:
        changes = [change(1, 1), change(1, 2, tensors=noise(30 * _MIB)), change(1, 3)]
        outcome = await Commits(store).all(changes)
        assert [type(failed) for failed in outcome] == [type(None), StoreFull, type(None)]
        assert {found for found, _ in store.copies()} == {key(1), key(3)}


async def test_all_that_makes_room_is_possible_when_there_is_none(volume: tuple[Path, StoreOptions]) -> None:
    path, options = volume
    with opened(path, options) as store:
        commits = Commits(store)
        await _fill(commits)
        # To the last page, too.
        for number in range(4000):
            if await commits.commit(change(1, f"small {number}", tensors=noise(5000))) is not None:
                break
        else:
            raise AssertionError("the volume never fills up")
        first = change(1, 0).copy
        assert first is not None
        # A move out: frozen, then moved; an end with its replies; a record; a barrier; a deletion.
        moving = first._replace(phase=Phase.MOVING, to=Target(1, "a" * 32))
        assert await commits.commit(Change(key(0), moving)) is None
        assert len(store.read(key(0)).state) == 1
        assert await commits.commit(Change(key(0), moving._replace(phase=Phase.MOVED, to=None), (), ())) is None
        assert await commits.commit(Change(key(1), first._replace(end=End("ended", 9, 1)), (), (reply(1),))) is None
        assert await commits.adopt(Record(9, 3)) is None
        assert await commits.barrier() is None
        assert await commits.commit(Change(key(2), None)) is None
        # Freed pages can be used again by the commit after the next.
        await commits.barrier()
        assert await commits.commit(change(1, "new", tensors=noise(_MIB))) is None
        assert store.read(key("new")).copy.step == 1


async def test_a_full_volume_is_opened_again_and_again(volume: tuple[Path, StoreOptions]) -> None:
    path, options = volume
    with opened(path, options) as store:
        fit = await _fill(Commits(store))
    for boot in range(2, 30):
        with opened(path, options) as store:
            assert (store.boot, store.clean, len(list(store.copies()))) == (boot, True, fit)
            assert await Commits(store).commit(change(1, "new", tensors=noise(_MIB))) is not None


async def test_sessions_go_on_when_there_is_room_again(volume: tuple[Path, StoreOptions]) -> None:
    path, options = volume
    with opened(path, options) as store:
        commits = Commits(store)
        fit = await _fill(commits)
        for number in range(fit - 1):
            assert await commits.commit(Change(key(number), None)) is None
        for step in range(2, 40):
            made = change(step, fit - 1, tensors=noise(_MIB // 2))
            assert await commits.commit(made) is None
        assert shown(store.read(key(fit - 1))) == shown(kept(made))


async def test_usage_tells_what_is_taken(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        before = store.usage()
        await Commits(store).commit(change(1, tensors=noise(2**20)))
        after = store.usage()
        assert 2**20 <= after.used - before.used < 2**20 + 2**16
        assert after.limit == 2**26
        assert after.free > 0
        await Commits(store).commit(Change(key(), None))
        assert store.usage().used - before.used < 2**16
