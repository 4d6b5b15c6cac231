"""The store with its journal: what was committed is read, listed, set aside and opened again, folded or not."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from mooring_runtime.errors import StoreInvalid
from mooring_runtime.sessions.journal import NAMES, Group, Journaling
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.lmdb_reader import FORMAT
from mooring_runtime.sessions.lmdb_store import LmdbStore, StoreOptions, read_only
from mooring_runtime.sessions.store import Change, Corrupt
from tests.support.stores import Commits, change, kept, key, opened, shown

JOURNALING = StoreOptions(limit=2**26, journaling=Journaling(leaves=1, size=3000))
"""Some eight steps to a journal."""
SESSIONS = 20


async def _steps(store: LmdbStore, first: int, last: int) -> None:
    """Each of the sessions from one step to another, by a commit for each step."""
    commits = Commits(store)
    for step in range(first, last + 1):
        for start in range(0, SESSIONS, 4):
            made = [change(step, number)._replace(in_place=step > 1) for number in range(start, start + 4)]
            assert await commits.commit(*made) is None


def _check(store: LmdbStore, step: int) -> None:
    assert {found: copy.step for found, copy in store.copies()} == {key(number): step for number in range(SESSIONS)}
    for number in range(SESSIONS):
        assert shown(store.read(key(number))) == shown(kept(change(step, number)))


async def test_sessions_stand_where_their_last_step_left_them_after_each_start(tmp_path: Path) -> None:
    for step in range(1, 12):
        with opened(tmp_path, JOURNALING) as store:
            await _steps(store, step, step)
            _check(store, step)
    with opened(tmp_path) as store:  # Few sessions again: nothing goes to the journal, and some are in it.
        assert store.read(key(1)).copy.step == 11
        await _steps(store, 12, 12)
        _check(store, 12)
    reader = read_only(tmp_path)
    assert {copy.step for _, copy in reader.copies()} == {12}
    reader.close()


async def test_a_store_is_read_by_others_with_what_is_in_its_journal(tmp_path: Path) -> None:
    with opened(tmp_path, replace(JOURNALING, journaling=Journaling(leaves=1, size=2**20))) as store:
        await _steps(store, 1, 3)
        used = store.usage().used
    with lmdb.open(str(tmp_path), max_dbs=5) as environment, environment.begin() as txn:
        stat = txn.stat(environment.open_db(b"sessions", txn))
    assert used > (2 + stat["leaf_pages"] + stat["branch_pages"]) * stat["psize"], "what the journal takes counts"
    reader = read_only(tmp_path)
    assert {copy.step for _, copy in reader.copies()} == {3}
    assert shown(reader.read(key(7))) == shown(kept(change(3, 7)))
    reader.close()


async def test_what_is_lazy_goes_by_the_journal_too(tmp_path: Path) -> None:
    options = replace(JOURNALING, lazy=True, interval=0.01)
    with opened(tmp_path, options) as store:
        await _steps(store, 1, 1)
        commits = Commits(store)
        for step in range(2, 8):
            made = [change(step, number)._replace(in_place=True) for number in range(SESSIONS)]
            assert await commits.commit(*made, lazy=True) is None
    with opened(tmp_path, options) as store:
        _check(store, 7)


async def test_a_torn_record_of_the_journal_is_set_aside_and_never_served(tmp_path: Path) -> None:
    with opened(tmp_path, JOURNALING) as store:
        await _steps(store, 1, 2)
    torn = _tear(tmp_path, name=False)
    for number in range(2):
        with opened(tmp_path) as store:
            assert torn not in dict(store.copies())
            assert store.quarantined() == {torn: "the checksum of its copy is wrong"}
            with pytest.raises(Corrupt):
                store.read(torn)
            if number:
                await Commits(store).commit(Change(torn, None))
                assert store.quarantined() == {}
    with opened(tmp_path) as store:
        assert len(list(store.copies())) == SESSIONS - 1


async def test_a_store_whose_journal_has_a_torn_name_is_not_opened(tmp_path: Path) -> None:
    with opened(tmp_path, JOURNALING) as store:
        await _steps(store, 1, 2)
    _tear(tmp_path, name=True)
    with pytest.raises(StoreInvalid, match=r"data\.mdb cannot be read: an entry of its journal.*Restore the volume"):
        opened(tmp_path).__enter__()
    with pytest.raises(StoreInvalid, match="an entry of its journal"):
        read_only(tmp_path)


def _tear(path: Path, *, name: bool) -> Key:
    """Change a byte of the last entry of a journal; the key of its session."""
    with lmdb.open(str(path), max_dbs=5, map_size=2**26) as environment:
        journals = [environment.open_db(each) for each in NAMES]
        with environment.begin(write=True) as txn:
            journal = next(each for each in journals if txn.stat(each)["entries"])
            number, value = list(txn.cursor(db=journal))[-1]
            session = number[8:-4].split(b"\x00")[1].decode().removeprefix("session-")
            if name:
                txn.delete(number, db=journal)
                txn.put(number[:-1] + bytes((number[-1] ^ 1,)), value, db=journal)
            else:
                txn.put(number, value[:20] + bytes((value[20] ^ 1,)) + value[21:], db=journal)
    return key(session)


async def test_a_fold_for_which_there_is_no_room_keeps_no_step_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold, folds = Group.fold, 0

    def full(group: Group, changes: int) -> None:
        nonlocal folds
        folds += 1
        fold(group, changes)
        if folds > 2 and group._folded:
            raise lmdb.MapFullError("no room")

    with opened(tmp_path, JOURNALING) as store:
        await _steps(store, 1, 1)
        monkeypatch.setattr(Group, "fold", full)
        await _steps(store, 2, 6)
        assert store._journal.folding
        assert store._journal.size < 3 * JOURNALING.journaling.size
        monkeypatch.setattr(Group, "fold", fold)
        _check(store, 6)
        await _steps(store, 7, 9)
        _check(store, 9)
    with opened(tmp_path) as store:
        _check(store, 9)


async def test_a_store_of_before_there_was_a_journal_becomes_one_with_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await _steps(store, 1, 1)
        found = store.id
    with lmdb.open(str(tmp_path), max_dbs=5, map_size=2**26) as environment:
        databases = [environment.open_db(name) for name in (b"meta", *NAMES)]
        with environment.begin(write=True) as txn:
            txn.put(b"store", json.dumps({"format": FORMAT - 1, "id": found}).encode(), db=databases[0])
            for journal in databases[1:]:
                txn.drop(journal)
    reader = read_only(tmp_path)
    assert {copy.step for _, copy in reader.copies()} == {1}
    reader.close()
    with opened(tmp_path, JOURNALING) as store:
        assert store.id == found
        await _steps(store, 2, 2)
        _check(store, 2)
    with lmdb.open(str(tmp_path), max_dbs=5) as environment, environment.begin() as txn:
        meta = txn.get(b"store", db=environment.open_db(b"meta", txn))
    assert json.loads(meta or b"") == {"format": FORMAT, "id": found}


async def test_sessions_can_be_read_while_others_are_folded(tmp_path: Path) -> None:
    """On another thread, as the table does it; those that are read are not written meanwhile."""
    with opened(tmp_path, JOURNALING) as store:
        await _steps(store, 1, 1)
        still = change(5, 0)._replace(in_place=True)
        await Commits(store).commit(still)
        ending = time.monotonic() + 0.5

        def read() -> int:
            count = 0
            while time.monotonic() < ending:
                assert shown(store.read(key(0))) == shown(kept(still))
                count += 1
            return count

        async def write() -> None:
            step = 2
            while time.monotonic() < ending:
                made = [change(step, number)._replace(in_place=True) for number in range(1, SESSIONS)]
                assert await Commits(store).commit(*made) is None
                step += 1

        count, _ = await asyncio.gather(asyncio.to_thread(read), write())
        assert count
        assert store.quarantined() == {}
