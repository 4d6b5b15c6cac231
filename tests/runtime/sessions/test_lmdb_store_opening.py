"""Which files are opened as a store, and what is said of the others."""

import asyncio
import json
from pathlib import Path

import lmdb
import pytest

from mooring_runtime.errors import StoreInvalid, StoreLocked
from mooring_runtime.sessions.lmdb_reader import FORMAT
from mooring_runtime.sessions.lmdb_store import open_store, read_only
from tests.support.stores import Commits, Deadly, change, kept, key, noise, opened, shown


@pytest.mark.parametrize("size", [100, 5000, 3 * 4096])
async def test_a_database_that_was_cut_is_refused(tmp_path: Path, size: int) -> None:
    with opened(tmp_path) as store:
        await Commits(store).commit(change(1, tensors=noise(2**18)))
    with (tmp_path / "data.mdb").open("r+b") as file:
        file.truncate(size)
    with pytest.raises(StoreInvalid, match=r"data\.mdb.*[Rr]estore"):
        open_store(tmp_path, asyncio.get_running_loop(), fatal=Deadly())


async def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no database" * 5000)
    with pytest.raises(StoreInvalid, match=r"data\.mdb cannot be opened"):
        open_store(tmp_path, asyncio.get_running_loop(), fatal=Deadly())


@pytest.mark.parametrize("written", [FORMAT - 2, FORMAT + 1])
async def test_a_store_of_another_format_is_refused(tmp_path: Path, written: int) -> None:
    with opened(tmp_path):
        pass
    with lmdb.open(str(tmp_path), max_dbs=4) as environment:
        meta = environment.open_db(b"meta")
        with environment.begin(write=True, db=meta) as txn:
            txn.put(b"store", json.dumps({"format": written, "id": "ab"}).encode())
    with pytest.raises(StoreInvalid, match=rf"format {written}.*another version"):
        open_store(tmp_path, asyncio.get_running_loop(), fatal=Deadly())


async def test_a_store_that_nobody_has_can_be_read_and_is_left_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await Commits(store).commit(change(4))
        with pytest.raises(StoreLocked, match=store.id):
            read_only(tmp_path)
    before = (tmp_path / "data.mdb").read_bytes()
    reader = read_only(tmp_path)
    assert (dict(reader.copies()), reader.boot, reader.record()) == ({key(): change(4).copy}, 1, None)
    assert shown(reader.read(key())) == shown(kept(change(4)))
    reader.close()
    assert (tmp_path / "data.mdb").read_bytes() == before
    with pytest.raises(StoreInvalid, match="no store of sessions"):
        read_only(tmp_path / "nothing")
