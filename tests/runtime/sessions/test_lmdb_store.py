"""The store: what was committed is there, whole, in order, after a restart too; and what is torn is never served."""

import asyncio
import shutil
import time
from pathlib import Path

import lmdb
import pytest

from mooring_runtime.errors import StoreBroken, StoreInvalid, VolumeRefused
from mooring_runtime.sessions.copies import HERE_BYTES, End, Phase, Target
from mooring_runtime.sessions.lmdb_store import StoreOptions, open_store
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import Change, Corrupt, Done, StoreFailed, StoreFull
from tests.support.stores import (
    Commits,
    Deadly,
    change,
    kept,
    key,
    large_replies,
    noise,
    opened,
    reply,
    shown,
)


async def test_a_session_is_read_as_it_was_committed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert await Commits(store).commit(change(3)) is None
        found = store.read(key())
        assert shown(found) == shown(kept(change(3)))
        with pytest.raises(KeyError):
            store.read(key(2))


async def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    record = Record(4, 2, (1, 3), {0: "ab", 1: "cd"}, ("ef",))
    with opened(tmp_path) as store:
        commits = Commits(store)
        for step in range(1, 7):
            await commits.commit(change(step), change(step, 2))
        await commits.adopt(record)
        assert (store.boot, store.clean, store.record()) == (1, True, record)
        own = store.id
    with opened(tmp_path) as store:
        assert (store.id, store.boot, store.clean, store.record()) == (own, 2, True, record)
        assert shown(store.read(key())) == shown(kept(change(6)))
        assert dict(store.copies()) == {key(): change(6).copy, key(2): change(6).copy}


async def test_a_new_store_has_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "made" / "here") as store:
        assert (store.boot, store.clean, store.record(), list(store.copies())) == (1, True, None, [])
        assert store.quarantined() == {}
        assert len(store.id) == 32


async def test_ids_of_two_stores_differ(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as one, opened(tmp_path / "b") as other:
        assert one.id != other.id


async def test_what_a_change_does_not_say_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        commits = Commits(store)
        first = change(5)
        assert first.copy is not None
        await commits.commit(first)
        moving = first.copy._replace(phase=Phase.MOVING, to=Target(3, "ab"))
        await commits.commit(Change(key(), moving))
        assert shown(store.read(key())) == shown(kept(first)._replace(copy=moving))
        ended = first.copy._replace(end=End("expired", 9, 5))
        await commits.commit(Change(key(), ended, ()))
        assert shown(store.read(key())) == shown(kept(first)._replace(copy=ended, state=()))
        moved = ended._replace(phase=Phase.MOVED, end=None)
        await commits.commit(Change(key(), moved, (), ()))
        assert shown(store.read(key())) == (moved, [], [])
        await commits.commit(Change(key(), None))
        with pytest.raises(KeyError):
            store.read(key())


@pytest.mark.parametrize("size", [4000, 4096, 4300, 4400, 8192, 65536])
async def test_states_of_about_whole_pages_come_back_and_waste_none(tmp_path: Path, size: int) -> None:
    with opened(tmp_path) as store:
        commits = Commits(store)
        made = [change(4, number, tensors=noise(size)) for number in range(40)]
        await commits.commit(*made)
        for number in range(40):
            copy = made[number].copy
            assert copy is not None
            # What leaves the state as it is keeps all of it.
            await commits.commit(Change(key(number), copy._replace(phase=Phase.MOVING, to=Target(1, "ab"))))
            found = store.read(key(number))
            assert found.state[0].array.tobytes() == (made[number].state or ())[0].array.tobytes()
        if size == 4096:
            assert store.usage().used < 40 * 6000
        last = change(5, 0)
        await commits.commit(last)
        assert shown(store.read(key(0))) == shown(kept(last))


async def test_replies_of_an_earlier_life_do_not_come_back(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        commits = Commits(store)
        await commits.commit(change(4))
        anew = change(2, incarnation=8)._replace(replies=(reply(20)._replace(step=2),))
        await commits.commit(anew)
        assert shown(store.read(key()))[2] == [(2, [[[20]]])]
        await commits.commit(Change(key(), anew.copy, None, ()))
        assert store.read(key()).replies == ()


async def test_a_session_whose_name_begins_as_another_is_not_touched_with_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        commits = Commits(store)
        names = ["a", "a ", "aa", "ä", "a!"]
        await commits.all([change(2, name) for name in names])
        await commits.commit(Change(key("a"), None))
        assert {found.session for found, _ in store.copies()} == {f"session-{name}" for name in names[1:]}
        for name in names[1:]:
            assert shown(store.read(key(name))) == shown(kept(change(2, name)))


async def test_done_comes_on_the_loop_in_the_order_of_the_calls(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        order: list[object] = []
        inside = True

        def tell(number: int) -> Done:
            return lambda failed: order.append((number, failed, inside))

        for number in range(50):
            store.commit((change(1, number),), tell(number))
            if number % 10 == 3:
                store.barrier(tell(-number))
        inside = False
        await Commits(store).barrier()
    assert order == [
        (each, None, False) for number in range(50) for each in ([number, -number] if number % 10 == 3 else [number])
    ]


async def test_one_that_cannot_be_encoded_fails_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        bad = change(1, "bad")
        assert bad.copy is not None
        bad = bad._replace(copy=bad.copy._replace(version="v" * 300))
        outcome = await Commits(store).all([change(1, 1), bad, change(1, "x" * 600), change(1, 2)])
        assert [type(failed) for failed in outcome] == [type(None), StoreFailed, StoreFailed, type(None)]
        assert {found.session for found, _ in store.copies()} == {"session-1", "session-2"}


async def test_several_sessions_of_one_commit_are_there_together_or_not_at_all(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert await Commits(store).commit(change(1, "good"), change(1, "x" * 600)) is not None
        assert list(store.copies()) == []


async def test_lazy_changes_go_on_disk_when_the_interval_ends(tmp_path: Path) -> None:
    groups: list[int] = []
    options = StoreOptions(limit=2**26, interval=0.03, observe=lambda seconds, changes: groups.append(changes))
    with opened(tmp_path, options) as store:
        commits = Commits(store)
        ends = [commits.begin(change(step), lazy=True) for step in range(1, 6)]
        assert list(store.copies()) == []
        assert await asyncio.gather(*ends) == [None] * 5
        assert shown(store.read(key())) == shown(kept(change(5)))
        # One transaction, in which the last is written only.
        assert groups == [1]


async def test_lazy_changes_go_with_the_next_that_is_not(tmp_path: Path) -> None:
    with opened(tmp_path, StoreOptions(limit=2**26, interval=3600.0)) as store:
        commits = Commits(store)
        lazy = commits.begin(change(1), lazy=True)
        assert await commits.commit(change(1, 2)) is None
        assert lazy.done()
        assert shown(store.read(key())) == shown(kept(change(1)))
        last = commits.begin(change(9), lazy=True)
    # Closing commits what waits.
    assert await last is None
    with opened(tmp_path) as store:
        assert store.read(key()).copy.step == 9


async def test_steps_that_a_crash_may_have_lost_are_doubted_however_often_the_store_is_opened(tmp_path: Path) -> None:
    lazy, before = StoreOptions(limit=2**26, lazy=True), time.time_ns() // 1_000_000
    with opened(tmp_path, lazy) as store:
        assert store.doubt == 0
        begun = Commits(store).begin(change(1), lazy=True)
        copied = tmp_path / "crashed"
        copied.mkdir()
        shutil.copy(tmp_path / "data.mdb", copied)
    await begun
    with opened(copied) as store:
        doubt = store.doubt
        assert before <= doubt <= time.time_ns() // 1_000_000
    for options in (lazy, StoreOptions(limit=2**26)):
        with opened(copied, options) as store:
            assert store.doubt == doubt
    with opened(tmp_path) as store:
        assert store.doubt == 0, "it was closed in order"


async def test_the_clients_of_lazy_changes_that_failed_are_to_be_told_and_no_others(tmp_path: Path) -> None:
    with opened(tmp_path, StoreOptions(limit=2**26, lazy=True)) as store:
        commits = Commits(store)
        await commits.all([change(1, "lost"), change(1, "well"), change(1, "since")])
        refused = tuple(reply(step) for step in range(1, 7))
        failed = [
            commits.begin(change(2, name)._replace(replies=refused), lazy=True) for name in ("since", "never", "lost")
        ]
        assert isinstance(await failed[0], StoreFailed)
        await commits.commit(change(2, "since"))
        late = commits.begin(change(3, "lost")._replace(replies=refused), lazy=True)
    assert isinstance(await late, StoreFailed), "the last commit was too late to tell anybody"
    for _ in range(2):
        with opened(tmp_path) as store:
            assert (store.clean, store.doubt) == (True, 0)
            found = {found.session: (copy.step, copy.rewound) for found, copy in store.copies()}
            assert found == {"session-lost": (1, True), "session-well": (1, False), "session-since": (2, False)}
            assert store.read(key("lost")).copy.step == 1


async def test_a_lazy_change_of_layout_that_failed_leaves_no_records_behind(tmp_path: Path) -> None:
    refused = tuple(reply(step) for step in range(1, 7))
    with opened(tmp_path, StoreOptions(limit=2**26, lazy=True)) as store:
        commits = Commits(store)
        await commits.commit(change(1, tensors=noise(8 * HERE_BYTES)))
        assert isinstance(await commits.commit(change(2)._replace(replies=refused), lazy=True), StoreFailed)
        # Made while that was on its way to the disk.
        assert await commits.commit(change(3)._replace(in_place=True), lazy=True) is None
        assert shown(store.read(key())) == shown(kept(change(3)))
    with lmdb.open(str(tmp_path), max_dbs=4, map_size=2**26) as environment:
        sessions = environment.open_db(b"sessions")
        with environment.begin(db=sessions) as txn:
            assert [name[-1:] for name, _ in txn.cursor()] == [b"c"], "its state stands in its copy"


# --- what is torn


def _tear(path: Path, end: bytes, at: int) -> None:
    """Change one byte of the first record whose name has this end."""
    with lmdb.open(str(path), max_dbs=4, map_size=2**26) as environment:
        sessions = environment.open_db(b"sessions")
        with environment.begin(write=True, db=sessions) as txn:
            name, value = next((name, value) for name, value in txn.cursor() if name.endswith(end))
            torn = bytearray(value)
            torn[at] ^= 1
            txn.put(name, bytes(torn))


@pytest.mark.parametrize(("end", "why"), [(b"s", "state"), (b"r1", "reply")])
async def test_a_torn_record_is_found_when_it_is_read_and_never_served(tmp_path: Path, end: bytes, why: str) -> None:
    with opened(tmp_path) as store:
        large = change(4, tensors=noise(HERE_BYTES + 1))
        await Commits(store).all([large._replace(replies=large_replies(4)), change(4, 2)])
    _tear(tmp_path, b"session-1\x00" + end, -1)
    with opened(tmp_path) as store:
        assert len(list(store.copies())) == 2
        for _ in range(2):
            with pytest.raises(Corrupt, match=why):
                await asyncio.to_thread(store.read, key())
        assert why in store.quarantined()[key()]
        assert shown(store.read(key(2))) == shown(kept(change(4)))
    with opened(tmp_path) as store:
        assert dict(store.copies()) == {key(2): change(4).copy}
        with pytest.raises(Corrupt, match=why):
            store.read(key())


async def test_a_torn_copy_is_found_when_copies_are_listed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await Commits(store).all([change(4), change(4, 2)])
    _tear(tmp_path, b"session-1\x00c", 20)
    with opened(tmp_path) as store:
        assert [found for found, _ in store.copies()] == [key(2)]
        assert store.quarantined() == {key(): "the checksum of its copy is wrong"}
    with opened(tmp_path) as store:
        assert store.quarantined() == {key(): "the checksum of its copy is wrong"}
        await Commits(store).commit(Change(key(), None))
        assert store.quarantined() == {}
    with opened(tmp_path) as store:
        assert store.quarantined() == {}


async def test_a_change_that_leaves_a_torn_session_as_it_is_fails(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await Commits(store).commit(change(4))
    _tear(tmp_path, b"c", 20)
    with opened(tmp_path) as store:
        commits = Commits(store)
        assert await commits.commit(Change(key(), change(4).copy)) is not None
        assert await commits.commit(change(5)) is None
        assert shown(store.read(key())) == shown(kept(change(5)))


async def test_a_session_that_comes_anew_in_the_place_of_a_torn_one_is_read(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await Commits(store).commit(change(4))
    _tear(tmp_path, b"c", 20)
    with opened(tmp_path) as store:
        assert list(store.copies()) == []
        await Commits(store).commit(change(9))
        assert shown(store.read(key())) == shown(kept(change(9)))
        # For people to look at, until the session is deleted.
        assert list(store.quarantined()) == [key()]


async def test_a_mistake_in_one_commit_fails_it_and_the_next_is_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as store:
        commits = Commits(store)
        bad = change(1)._replace(state=(3,))  # type: ignore[arg-type]
        failed = await commits.commit(bad)
        assert isinstance(failed, StoreFailed)
        assert "TypeError" in str(failed)
        assert await commits.commit(change(1)) is None
    assert "a commit of sessions failed" in caplog.text


async def test_a_mistake_after_a_commit_ends_the_process(tmp_path: Path) -> None:
    def mistake(seconds: float, changes: int) -> None:
        raise RuntimeError("in the numbers")

    fatal = Deadly()
    with opened(tmp_path, StoreOptions(limit=2**26, observe=mistake), fatal, close=False) as store:
        Commits(store).begin(change(1))
        while not fatal:  # noqa: ASYNC110 - what ends a process tells no loop
            await asyncio.sleep(0.01)
    assert isinstance(fatal[0], StoreBroken)


async def test_a_limit_below_what_is_there_stops_what_grows_and_nothing_else(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await Commits(store).all([change(1, number, tensors=noise(2**20)) for number in range(6)])
    with opened(tmp_path, StoreOptions(limit=2**21)) as store:
        commits = Commits(store)
        assert len(list(store.copies())) == 6
        assert store.read(key(5)).copy.step == 1
        assert isinstance(await commits.commit(change(1, 7, tensors=noise(2**20))), StoreFull)
        assert await commits.commit(Change(key(5), None)) is None


# --- opening


async def test_a_network_file_system_is_refused_and_what_to_use_is_said(tmp_path: Path) -> None:
    with pytest.raises(VolumeRefused, match=r"NFS.*ReadWriteOncePod"):
        open_store(tmp_path, asyncio.get_running_loop(), StoreOptions(magic=lambda path: 0x6969), fatal=Deadly())
    assert not (tmp_path / "LOCK").exists()


def _empty(file: Path) -> None:
    file.write_bytes(b"")


async def test_a_volume_whose_database_is_gone_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        own = store.id
    for damage in (_empty, Path.unlink):
        damage(tmp_path / "data.mdb")
        with pytest.raises(StoreInvalid, match=rf"store {own}.*gone or empty.*[Rr]estore"):
            open_store(tmp_path, asyncio.get_running_loop(), fatal=Deadly())
