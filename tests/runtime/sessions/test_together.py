"""Steps that are committed together: one commit, and none suffers from another."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.sessions.entries import Entry, Written
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.table import Table
from mooring_runtime.sessions.together import Following
from tests.support.memory_store import MemoryStore
from tests.support.session_table import Held, filled, kept

KEYS = [Key("m", f"s{number}") for number in range(40)]


async def begun(table: Table, keys: Sequence[Key]) -> list[Entry]:
    """The entries of sessions, each in a turn that goes on."""
    turns = [Held() for _ in keys]
    for key, turn in zip(keys, turns, strict=True):
        table.enqueue(key, turn)
    await asyncio.gather(*(turn.begun.wait() for turn in turns))
    return [turn.entry for turn in turns if turn.entry is not None]


class Told:
    """What became of steps."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.outcomes: dict[Key, RequestError | None] = {}
        self.steps: list[Following] = [(entry, kept(2), self._done(entry.key)) for entry in entries]
        self._all = asyncio.Event()

    def _done(self, key: Key) -> Written:
        def done(error: RequestError | None) -> None:
            self.outcomes[key] = error
            if len(self.outcomes) == len(self.steps):
                self._all.set()

        return done

    async def all(self) -> dict[Key, RequestError | None]:
        """Wait for each."""
        await asyncio.wait_for(self._all.wait(), 1)
        return self.outcomes


async def test_steps_share_a_commit_and_are_in_memory_when_it_is_on_disk() -> None:
    store = MemoryStore(filled(*KEYS[:3]))
    table = Table(store, 2**20)
    told = Told(await begun(table, KEYS[:3]))
    store.hold()
    table.follow(told.steps)
    await asyncio.sleep(0)
    assert told.outcomes == {}
    assert [entry.copy.step for entry, _, _ in told.steps if entry.copy] == [1, 1, 1]
    store.release()
    assert await told.all() == dict.fromkeys(KEYS[:3])
    assert [len(commit.changes) for commit in store.written] == [3]
    assert [entry.copy.step for entry, _, _ in told.steps if entry.copy] == [2, 2, 2]


async def test_no_more_are_told_at_once_than_a_turn_of_the_loop_has_time_for() -> None:
    store = MemoryStore(filled(*KEYS))
    table = Table(store, 2**20)
    told = Told(await begun(table, KEYS))
    table.follow(told.steps)
    await told.all()
    assert [len(commit.changes) for commit in store.written] == [32, 8]


async def test_steps_that_cannot_be_written_together_are_written_alone() -> None:
    store = MemoryStore(filled(*KEYS[:3]))
    table = Table(store, 2**20)
    told = Told(await begun(table, KEYS[:3]))
    store.fail()  # The commit of all ...
    store.fail()  # ... and that of the first one.
    table.follow(told.steps)
    outcomes = await told.all()
    assert isinstance(outcomes[KEYS[0]], SessionUnavailable)
    assert [outcomes[key] for key in KEYS[1:3]] == [None, None]
    assert [store.disk.kept[key].copy.step for key in KEYS[:3]] == [1, 2, 2]
    assert [entry.pending for entry, _, _ in told.steps] == [0, 0, 0]


async def test_one_that_raises_does_not_keep_the_others_from_being_told(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(filled(*KEYS[:2]))
    table = Table(store, 2**20)
    told = Told(await begun(table, KEYS[:2]))

    def broken(_: RequestError | None) -> None:
        told.outcomes[KEYS[0]] = None
        raise ValueError("broken")

    told.steps[0] = (*told.steps[0][:2], broken)
    with caplog.at_level(logging.CRITICAL):
        table.follow(told.steps)
        assert await told.all() == dict.fromkeys(KEYS[:2])
