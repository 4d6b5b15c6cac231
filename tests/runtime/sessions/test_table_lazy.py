"""Writes that memory goes ahead of, and what happens when they fail."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionConflict
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.table import Table
from tests.support.memory_store import MemoryStore
from tests.support.session_plane import settle
from tests.support.session_table import KEY, Held, filled, kept


async def test_a_lazy_write_is_in_memory_before_the_disk() -> None:
    store = MemoryStore(filled(KEY))
    table = Table(store, 2**20)
    outcomes: list[RequestError | None] = []
    async with table.turn(KEY) as entry:
        table.write(entry, kept(2), outcomes.append, lazy=True)
        assert outcomes == [None]
        assert entry.copy is not None
        assert (entry.copy.step, entry.durable, store.disk.kept[KEY].copy.step) == (2, 1, 1)
        assert table.unsynced() > 0
    store.flush()
    await settle()
    assert (entry.durable, store.disk.kept[KEY].copy.step, table.unsynced()) == (2, 2, 0)


async def test_when_a_lazy_write_fails_memory_is_read_again_and_the_client_is_to_be_told() -> None:
    store = MemoryStore(filled(KEY))
    table = Table(store, 2**20)
    async with table.turn(KEY) as entry:
        table.write(entry, kept(2), lambda _: None, lazy=True)
    running, waiting = Held(), Held()
    table.enqueue(KEY, running)
    table.enqueue(KEY, waiting)
    store.fail()
    store.flush()
    await settle()
    # What a turn has computed meanwhile stands on the step that is undone, so it must not be kept.
    outcomes: list[RequestError | None] = []
    table.write(entry, kept(3), outcomes.append)
    assert isinstance(outcomes[0], SessionConflict)
    assert (outcomes[0].cause, outcomes[0].applied) == ("rewound", "no")
    table.done(entry)
    await asyncio.wait_for(waiting.begun.wait(), 1)
    assert entry.copy is not None
    assert (entry.copy.step, entry.durable, entry.state[0].array[0, 0]) == (1, 1, 1)
    assert store.disk.kept[KEY].copy.step == 1
    assert table.warm_bytes == 0


async def test_a_rewind_that_nobody_was_told_of_is_remembered() -> None:
    store = MemoryStore(filled(KEY))
    table = Table(store, 2**20)
    async with table.turn(KEY) as entry:
        table.write(entry, kept(2), lambda _: None, lazy=True)
    assert table.warm_bytes == 0
    store.fail()
    store.flush()
    await settle()
    assert (table.warm_bytes, entry.lost) == (0, True)
    async with table.turn(KEY) as entry:
        assert (entry.rewound, entry.copy is not None and entry.copy.step) == (True, 1)


async def test_what_is_ahead_of_the_disk_is_kept_in_memory_until_it_is_there() -> None:
    keys = [Key("m", name) for name in "abc"]
    store = MemoryStore(filled(*keys))
    table = Table(store, 0)
    for step in (2, 3):
        for key in keys:
            async with table.turn(key) as entry:
                assert entry.copy is not None
                assert (entry.copy.step, entry.state[0].array[0, 0]) == (step - 1, step - 1)
                table.write(entry, kept(step), lambda _: None, lazy=True)
    assert [entry.read for entry in table] == [True] * 3
    store.flush()
    await settle()
    assert ([entry.read for entry in table], table.warm_bytes) == ([False, False, True], 16)


class AtOnce(ThreadPoolExecutor):
    """Does what it is given inside the call."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


async def test_a_later_write_that_is_on_disk_makes_up_for_a_lazy_one_that_is_not() -> None:
    store = MemoryStore(filled(KEY))
    table = Table(store, 2**20)
    table._reader._thread = AtOnce()
    async with table.turn(KEY) as entry:
        table.write(entry, kept(2), lambda _: None, lazy=True)
        store.hold()
        store.fail()
        store.flush()
        table.write(entry, kept(3), lambda _: None, lazy=True)
        store.flush()
    store.release(1)
    await settle()
    assert entry.lost
    assert entry.pending == 1
    turn = Held()
    table.enqueue(KEY, turn)
    await settle()
    assert turn.entry is None, "the disk is not read while a commit of the session is under way"
    store.release()
    await asyncio.wait_for(turn.begun.wait(), 1)
    assert entry.copy is not None
    assert (entry.copy.step, entry.rewound) == (3, False)
