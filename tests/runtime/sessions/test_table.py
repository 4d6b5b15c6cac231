"""Turns, what memory knows of the disk, and what happens when a commit fails."""

import asyncio
import gc
from functools import partial

import pytest

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionRefused, SessionUnavailable
from mooring_runtime.sessions.copies import Copy, End, Kept, Phase, Target
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.table import Table
from tests.support.memory_store import Disk, MemoryStore
from tests.support.session_plane import settle
from tests.support.session_table import KEY, Held, filled, kept


async def test_turns_of_one_session_begin_one_after_the_other() -> None:
    table = Table(MemoryStore(), 0)
    turns = [Held() for _ in range(3)]
    other = Held()
    for turn in turns:
        table.enqueue(KEY, turn)
    table.enqueue(Key("m", "t"), other)
    assert [turn.entry is not None for turn in turns] == [True, False, False]
    assert other.entry is not None, "another session waits for nobody"
    assert turns[0].entry is not None
    table.done(turns[0].entry)
    assert [turn.entry is not None for turn in turns] == [True, True, False]


async def test_many_turns_that_end_at_once_do_not_nest() -> None:
    table = Table(MemoryStore(), 0)
    ended: list[int] = []
    first = Held()
    table.enqueue(KEY, first)

    def then(entry: Entry) -> None:
        ended.append(len(ended))
        table.done(entry)

    for _ in range(5000):
        table.enqueue(KEY, Held(then))
    assert first.entry is not None
    table.done(first.entry)
    assert ended == list(range(5000))
    assert len(table) == 0, "nothing is kept of a session that is not there"


async def test_a_turn_that_waits_can_be_withdrawn() -> None:
    table = Table(MemoryStore(), 0)
    first, second, third = Held(), Held(), Held()
    for turn in (first, second, third):
        table.enqueue(KEY, turn)
    assert table.withdraw(KEY, second)
    assert not table.withdraw(KEY, first), "it has begun"
    assert first.entry is not None
    table.done(first.entry)
    assert (second.entry, third.entry is not None) == (None, True)


async def test_who_waits_for_a_turn_can_be_cancelled() -> None:
    table = Table(MemoryStore(), 0)
    first = Held()
    table.enqueue(KEY, first)

    async def wait() -> None:
        async with table.turn(KEY):
            raise AssertionError("never")

    waiting = asyncio.ensure_future(wait())
    await settle()
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert first.entry is not None
    table.done(first.entry)
    assert len(table) == 0


async def test_what_is_written_is_in_memory_when_it_is_on_disk() -> None:
    store = MemoryStore()
    table = Table(store, 2**20)
    store.hold()
    outcomes: list[RequestError | None] = []
    turn = Held()
    table.enqueue(KEY, turn)
    entry = turn.entry
    assert entry is not None
    table.write(entry, kept(1), outcomes.append)
    await settle()
    assert (outcomes, entry.copy) == ([], None)
    store.release()
    await settle()
    assert outcomes == [None]
    assert entry.copy == kept(1).copy == store.disk.kept[KEY].copy
    assert (table.counts["m", "active"], entry.durable) == (1, 1)


async def test_a_write_that_fails_changes_nothing() -> None:
    store = MemoryStore(filled(KEY))
    table = Table(store, 2**20)
    async with table.turn(KEY) as entry:
        before = (entry.copy, entry.state, entry.replies)
        store.full = True
        outcomes: list[RequestError | None] = []
        table.write(entry, kept(2), outcomes.append)
        await settle()
        [error] = outcomes
        assert isinstance(error, SessionRefused)
        assert (error.cause, error.applied) == ("volume-full", "no")
        assert (entry.copy, entry.state, entry.replies) == before
        store.full = False
        table.write(entry, kept(2), outcomes.append)
        await settle()
        assert outcomes[1] is None
    assert store.disk.kept[KEY].copy.step == 2


async def test_a_session_is_read_from_disk_when_it_is_wanted() -> None:
    table = Table(MemoryStore(filled(KEY, step=3)), 2**20)
    entry = table.get(KEY)
    assert entry is not None
    assert not entry.read
    async with table.turn(KEY, needs_state=False):
        assert not entry.read
    async with table.turn(KEY):
        assert entry.state[0].array[0, 0] == 3
    assert table.warm_bytes == 16
    assert sum(table.stats.restore.counts) == 1


async def test_states_in_memory_are_bounded() -> None:
    keys = [Key("m", str(number)) for number in range(5)]
    table = Table(MemoryStore(filled(*keys, size=256)), 2048)
    for key in keys:
        async with table.turn(key):
            assert table.warm_bytes <= 2048
    assert [entry.read for entry in table] == [False, False, False, True, True]
    assert table.warm_bytes == 2048
    async with table.turn(keys[0]) as entry:
        assert entry.state[0].array.size == 256


async def test_a_torn_session_is_refused_and_never_taken_for_none() -> None:
    store = MemoryStore(filled(KEY))
    store.corrupt(KEY, "checksum of the state")
    table = Table(store, 2**20)
    for _ in range(2):
        with pytest.raises(SessionUnavailable, match="checksum of the state") as caught:
            async with table.turn(KEY):
                raise AssertionError("never")
        assert caught.value.cause == "quarantined"
    again = Table(MemoryStore(store.disk), 2**20)
    with pytest.raises(SessionUnavailable, match="set aside"):
        async with again.turn(KEY):
            raise AssertionError("never")


async def test_a_torn_session_does_not_stand_before_those_that_are_to_expire_or_to_make_room() -> None:
    store = MemoryStore(filled(KEY))
    table = Table(store, 2**20)
    store.corrupt(KEY)
    with pytest.raises(SessionUnavailable):
        async with table.turn(KEY):
            pass
    assert (list(table.idle), +table.counts, table.schemas) == ([], {}, {})


async def test_a_mark_changes_the_copy_alone() -> None:
    disk = filled(KEY)
    table = Table(MemoryStore(disk), 2**20)
    over = kept(1).copy._replace(end=End("expired", 50, 1), size=0)
    outcomes: list[RequestError | None] = []
    async with table.turn(KEY, needs_state=False) as entry:
        table.mark(entry, over, outcomes.append, drop_state=True)
        await settle()
        assert (outcomes, entry.copy, entry.read) == ([None], over, False)
    assert (disk.kept[KEY].copy, disk.kept[KEY].state) == (over, ())
    assert disk.kept[KEY].replies, "the last replies are still given"
    assert (list(table.idle), list(table.ended)) == ([], [KEY])
    assert (table.counts["m", "active"], table.counts["m", "ended"]) == (0, 1)
    async with table.turn(KEY) as entry:
        assert [reply.step for reply in entry.replies] == [1]


async def test_sessions_stand_in_the_order_of_their_last_use() -> None:
    keys = [Key("m", name) for name in "abc"]
    disk = filled(*keys)
    disk.kept[keys[0]] = kept(1, last_used=99)
    table = Table(MemoryStore(disk), 2**20)
    assert [key.session for key in table.idle] == ["b", "c", "a"]
    async with table.turn(keys[1]) as entry:
        table.write(entry, kept(2), lambda _: None)
        await settle()
    assert [key.session for key in table.idle] == ["c", "a", "b"]


async def test_the_watcher_is_told_of_phases_and_not_of_steps() -> None:
    table = Table(MemoryStore(), 2**20)
    seen: list[tuple[Phase | None, Phase | None]] = []
    table.watch = lambda _, before, after: seen.append((before and before.phase, after and after.phase))
    moving = kept(2).copy._replace(phase=Phase.MOVING, to=Target(1, "store"))
    async with table.turn(KEY) as entry:
        for change in (kept(1), kept(2), Kept(moving), Kept(Copy(Phase.MOVED, 1)), None):
            await table.write_all([(entry, change)])
    assert seen == [
        (None, Phase.HELD),
        (Phase.HELD, Phase.MOVING),
        (Phase.MOVING, Phase.MOVED),
        (Phase.MOVED, None),
    ]
    assert not +table.counts
    assert not table.schemas


async def test_a_change_of_phase_wakes_who_waits_for_it() -> None:
    table = Table(MemoryStore(filled(KEY)), 2**20)
    waiting = asyncio.ensure_future(table.change(KEY, 60))
    await settle()
    async with table.turn(KEY) as entry:
        await table.write_all([(entry, kept(2))])
        await settle()
        assert not waiting.done()
        await table.write_all([(entry, Kept(Copy(Phase.MOVED, 1)))])
    await asyncio.wait_for(waiting, 1)


async def test_all_or_nothing_of_many() -> None:
    store = MemoryStore()
    table = Table(store, 2**20)
    other = Key("m", "t")
    async with table.turn(KEY) as one, table.turn(other) as two:
        store.fail()
        with pytest.raises(SessionUnavailable) as caught:
            await table.write_all([(one, kept(1)), (two, kept(2))])
        assert caught.value.cause == "owner-down", "what is on disk is whole"
        assert (one.copy, two.copy) == (None, None)
        await table.write_all([(one, kept(1)), (two, kept(2))])
    assert {key: each.copy.step for key, each in store.disk.kept.items()} == {KEY: 1, other: 2}


async def test_a_turn_lasts_as_long_as_its_write_whoever_gives_up() -> None:
    store = MemoryStore()
    table = Table(store, 2**20)
    store.hold()

    async def write() -> None:
        async with table.turn(KEY) as entry:
            await table.write_all([(entry, kept(1))])

    writing = asyncio.ensure_future(write())
    await settle()
    next_turn = Held()
    table.enqueue(KEY, next_turn)
    writing.cancel()
    await settle()
    assert next_turn.entry is None
    store.release()
    await settle()
    assert writing.cancelled()
    assert next_turn.entry is not None
    assert next_turn.entry.copy == kept(1).copy


async def test_after_an_unclean_start_live_sessions_are_unsure() -> None:
    disk = filled(KEY, Key("m", "t"))
    disk.kept[Key("m", "t")] = kept(1, end=End("ended", 1, 1))
    table = Table(MemoryStore(disk), 2**20, doubt=2**62)
    assert {entry.key.session: entry.rewound for entry in table} == {"s": True, "t": False}


@pytest.mark.timeout(10)  # Each count walks through every object of the process, and other tests leave many.
async def test_many_sessions_are_no_work_for_the_collector_of_garbage() -> None:
    frozen = gc.get_freeze_count()
    Table(MemoryStore(filled(KEY)), 0)
    assert gc.get_freeze_count() == frozen
    disk = Disk()
    disk.kept = {Key("m", str(number)): kept(1) for number in range(5_001)}
    try:
        table = Table(MemoryStore(disk), 0)
        assert gc.get_freeze_count() - frozen > 2 * len(table)
        frozen = gc.get_freeze_count()
        made = Table(MemoryStore(), 2**40)
        for number in range(2_600):
            made.enqueue(Key("m", str(number)), Held(partial(_make, made)))
        await settle()
        assert len(made) == made.counts["m", "active"] == 2_600
        assert gc.get_freeze_count() > frozen, "and those that come later"
        frozen = gc.get_freeze_count()
        for number in range(2_600):
            made.enqueue(Key("m", str(number)), Held(partial(_make, made)))
        await settle()
        assert gc.get_freeze_count() <= frozen, "but not again and again"
    finally:
        gc.unfreeze()


def _make(table: Table, entry: Entry) -> None:
    table.write(entry, kept(1), lambda _: table.done(entry))


async def test_no_turn_begins_when_the_table_is_closed() -> None:
    store = MemoryStore(filled(KEY))
    table = Table(store, 2**20)
    async with table.turn(KEY) as entry:
        table.write(entry, kept(2), lambda _: None, lazy=True)
    table.close()
    assert (store.disk.kept[KEY].copy.step, store.disk.clean) == (2, True)
    with pytest.raises(SessionUnavailable, match="stopping"):
        async with table.turn(KEY):
            raise AssertionError("never")


@pytest.mark.parametrize("when", ["before it is read", "before it is told"])
async def test_a_session_that_is_read_while_the_table_closes_is_not_called_torn(when: str) -> None:
    table = Table(MemoryStore(filled(KEY)), 2**20)
    turn = Held()
    table.enqueue(KEY, turn)
    if when == "before it is told":
        table._reader._go()
    table.close()
    await settle()
    assert isinstance(turn.error, SessionUnavailable)
    assert (turn.error.cause, turn.error.applied, turn.entry) == ("owner-down", "no", None)
    assert "stopping" in str(turn.error)
    assert table.quarantined == {}


async def test_a_session_that_cannot_be_read_now_is_not_called_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(filled(KEY))

    def no_memory(_: Key) -> Kept:
        raise MemoryError("no more")

    with monkeypatch.context() as patched:
        patched.setattr(store, "read", no_memory)
        table = Table(store, 2**20)
        with pytest.raises(SessionUnavailable, match="no more") as caught:
            async with table.turn(KEY):
                raise AssertionError("never")
    assert (caught.value.cause, table.quarantined) == ("owner-down", {})
    table = Table(store, 2**20)
    async with table.turn(KEY) as entry:
        assert entry.read
