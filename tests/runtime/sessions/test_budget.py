"""Time, numbers and bytes: what expires, what is evicted, what is refused, and what clients are told of it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mooring_runtime.errors.sessions import SessionRefused, SessionUnavailable
from mooring_runtime.messages import SessionCall, Tensor
from mooring_runtime.sessions import sweep
from mooring_runtime.sessions.budget import GRACE, REMEMBERED, Clock, Limits, arrived, expires, forgotten
from mooring_runtime.sessions.copies import Copy, End, Kept, Phase
from mooring_runtime.sessions.elsewhere import Alone
from mooring_runtime.sessions.holder import Birth, Holder
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import Change, Done
from mooring_runtime.sessions.sweep import SLICE
from mooring_runtime.sessions.table import Table
from tests.support.memory_store import Disk, MemoryStore
from tests.support.session_plane import MODEL, SessionPlane, cause, settle, summed

HOUR = 3_600_000
COPY = Copy(Phase.HELD, 1, 7, 3, last_used=10 * HOUR)


class Time:
    """Milliseconds that pass when the test says so."""

    def __init__(self, now: int = 10 * HOUR) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.mark.parametrize(
    ("ttl", "opened", "now", "expected"),
    [
        (0, 0, 0, None),
        (HOUR, 9 * HOUR, 10 * HOUR, 11 * HOUR),
        (HOUR, 20 * HOUR, 20 * HOUR, 20 * HOUR + GRACE),  # It was due while the server was down.
        (1000, 20 * HOUR, 20 * HOUR, 20 * HOUR + 1000),
        (HOUR, 5 * HOUR, 5 * HOUR, 6 * HOUR),  # The clock was set back while the server was down.
    ],
)
def test_when_a_session_expires(ttl: int, opened: int, now: int, expected: int | None) -> None:
    assert expires(COPY, Limits(ttl), opened, now) == expected


def test_how_long_it_is_known_how_a_session_ended() -> None:
    ended = COPY._replace(end=End("evicted", 10 * HOUR, 3))
    assert forgotten(ended, Limits(HOUR), 0, 10 * HOUR) == 11 * HOUR
    assert forgotten(ended, Limits(0), 0, 10 * HOUR) == 10 * HOUR + REMEMBERED
    assert forgotten(ended, Limits(HOUR), 20 * HOUR, 20 * HOUR) == 20 * HOUR + GRACE
    assert forgotten(ended, Limits(HOUR), 2 * HOUR, 2 * HOUR) == 3 * HOUR, "it ended before the clock was set back"


@pytest.mark.parametrize(
    ("idle", "ttl", "left"),
    [(0, HOUR, HOUR), (HOUR // 2, HOUR, HOUR // 2), (5 * HOUR, HOUR, GRACE), (5 * HOUR, 1000, 1000), (-5, HOUR, HOUR)],
)
def test_what_a_session_has_left_after_a_move(idle: int, ttl: int, left: int) -> None:
    assert arrived(idle, Limits(ttl), 50 * HOUR) + ttl == 50 * HOUR + left


def test_the_clock_never_steps() -> None:
    wall, monotonic = [5_000_000_000_000], [1_000_000]
    clock = Clock(lambda: wall[0], lambda: monotonic[0])
    assert clock() == clock.opened == 5_000_000
    wall[0] -= 3_600_000_000_000
    monotonic[0] += 2_000_000
    assert clock() == 5_000_002


# --- expiry


async def swept(served: SessionPlane) -> int:
    """Look until nothing is due; how many sessions were ended or forgotten."""
    count = 0
    while begun := served.holder.sweep.look():
        count += begun
        await settle()
    return count


async def test_a_session_that_rests_for_too_long_expires_and_its_client_is_told() -> None:
    now = Time()
    served = SessionPlane(limits=Limits(HOUR), now=now)
    served.watch_ends()
    await served.step("s", 1, start=True)
    now.now += HOUR // 2
    await served.step("t", 1, start=True)
    now.now += HOUR // 2 - 1
    assert await swept(served) == 0
    now.now += 1
    assert await swept(served) == 1
    assert cause(await served.step("s", 1)) == ("expired", "no")
    assert await served.sum("t", 1) == 2
    assert served.holder.stats.ended == {(MODEL, "expired"): 1}
    assert served.disk.kept[served.key("s")].state == ()
    await asyncio.to_thread(served.holder.hook.__self__.close)  # type: ignore[union-attr]
    assert served.adder.ends == [("s", [1.0, 1.0], "expired")]


async def test_a_step_that_comes_first_keeps_a_session_alive() -> None:
    now = Time()
    served = SessionPlane(limits=Limits(HOUR), now=now)
    await served.step("s", 1, start=True)
    now.now += 2 * HOUR
    served.store.hold()
    asked = served.begin(SessionCall("s"))
    await settle()
    assert await swept(served) == 0, "it is in use"
    served.store.release()
    await asked.outcome()
    assert await swept(served) == 0


async def test_down_time_expires_no_one() -> None:
    now, disk = Time(), Disk()
    await SessionPlane(disk, Limits(HOUR), now=now).step("s", 1, start=True)
    now.now += 100 * HOUR
    served = SessionPlane(disk, Limits(HOUR), now=now)
    assert await swept(served) == 0
    now.now += GRACE - 1
    assert await swept(served) == 0
    now.now += 1
    assert await swept(served) == 1


class Replaced(Alone):
    """Another volume is wanted here, for as long as `refused`."""

    refused = False

    def record(self) -> Record:
        if self.refused:
            raise SessionUnavailable("this store was given up", "volume-replaced")
        return super().record()


async def test_a_store_that_serves_nobody_keeps_what_it_has() -> None:
    now, elsewhere = Time(), Replaced()
    served = SessionPlane(limits=Limits(HOUR), now=now, elsewhere=elsewhere)
    await served.step("s", 1, start=True)
    elsewhere.refused = True
    now.now += 100 * HOUR
    assert await swept(served) == 0
    assert served.disk.kept[served.key("s")].copy.live
    elsewhere.refused = False
    assert await swept(served) == 0, "nobody could have used it"
    now.now += GRACE
    assert await swept(served) == 1


async def test_how_a_session_ended_is_forgotten_after_its_ttl() -> None:
    now = Time()
    served = SessionPlane(limits=Limits(HOUR), now=now)
    await served.step("s", 1, start=True, end=True)
    now.now += HOUR - 1
    assert await swept(served) == 0
    now.now += 1
    assert await swept(served) == 1
    assert (served.disk.kept, len(served.table)) == ({}, 0)
    assert cause(await served.step("s", 1)) == ("unknown", "no")


class Unsettled(Alone):
    """Sessions may still be elsewhere."""

    def record(self) -> Record:
        return Record(2, 1, (2,))


async def test_no_end_is_forgotten_while_members_change() -> None:
    now = Time()
    served = SessionPlane(limits=Limits(HOUR), now=now, elsewhere=Unsettled())
    await served.step("s", 1, start=True, end=True)
    now.now += 5 * HOUR
    assert await swept(served) == 0


async def test_the_loop_is_not_held_however_many_sessions_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 2_000
    disk = Disk()
    copy = Copy(Phase.HELD, 1, 7, 3, version="1", fingerprint="f", last_used=10 * HOUR)
    disk.kept = {Key(MODEL, str(number)): Kept(copy) for number in range(count)}
    now = Time()
    table = Table(MemoryStore(disk), 0)
    holder = Holder(table, Alone(), Limits(HOUR), now=now)
    looked: list[Copy] = []

    def counted(copy: Copy, *given: Any) -> int | None:
        looked.append(copy)
        return expires(copy, *given)

    monkeypatch.setattr(sweep, "expires", counted)
    assert holder.sweep.look() == 0
    assert len(looked) == 1, "what is not due costs nothing, however many there are"
    now.now += 2 * HOUR
    looked.clear()
    assert holder.sweep.look() == SLICE
    assert len(looked) == 2 * SLICE, "once to find each, and once in its turn"


async def test_the_sweep_goes_on_until_nothing_is_due() -> None:
    disk = Disk()
    copy = Copy(Phase.HELD, 1, 7, 3, version="1", fingerprint="f", last_used=10 * HOUR)
    disk.kept = {Key(MODEL, str(number)): Kept(copy) for number in range(3 * SLICE)}
    now = Time()
    holder = Holder(Table(MemoryStore(disk), 0), Alone(), Limits(1000), now=now)
    now.now += HOUR
    holder.sweep.start()
    for _ in range(1000):
        await asyncio.sleep(0.001)
        if not holder.table.idle:
            break
    assert (len(holder.table.idle), len(holder.table.ended)) == (0, 3 * SLICE)
    await holder.close()


# --- numbers


async def test_one_session_too_many_is_refused() -> None:
    served = SessionPlane(limits=Limits(sessions=2))
    asked = [served.begin(SessionCall(name, start=True)) for name in "abc"]
    assert [isinstance(await each.outcome(), Exception) for each in asked] == [False, False, True]
    assert cause(asked[2].answers[0]) == ("too-many-sessions", "no")
    assert await served.sum("a", 1) == 2, "those that are there go on"
    await served.step("b", 1, end=True)
    assert await served.sum("c", 1, start=True) == 1


async def test_the_one_that_has_rested_for_longest_makes_room() -> None:
    served = SessionPlane(limits=Limits(sessions=2, evict=True))
    for name in "ab":
        await served.step(name, 1, start=True)
    await served.step("a", 1)
    assert await served.sum("c", 5, start=True) == 5
    await settle()
    assert cause(await served.step("b", 1)) == ("evicted", "no")
    assert await served.sum("a", 1) == 3
    assert served.holder.stats.evicted == {(MODEL, "sessions"): 1}
    assert served.holder.stats.ended == {(MODEL, "evicted"): 1}


@pytest.mark.parametrize("evict", [False, True])
async def test_a_new_life_over_an_ended_one_is_a_session_more(evict: bool) -> None:
    served = SessionPlane(limits=Limits(sessions=2, evict=evict))
    for name in "abc":
        await served.step(name, 1, start=True)
        if name != "b":
            await served.step(name, 1, end=True)
    await served.step("d", 1, start=True)
    again = await served.step("a", 1, start=True)
    if evict:
        await settle()
        assert summed(again) == 1
        assert cause(await served.step("b", 1)) == ("evicted", "no")
    else:
        assert cause(again) == ("too-many-sessions", "no")
        assert cause(await served.step("a", 1)) == ("ended", "no"), "it is as it was"
        with pytest.raises(SessionRefused, match="MOORING_MAX_SESSIONS"):
            await served.holder.reset(served.key("a"))
    assert len(served.table.idle) == 2


async def test_a_new_life_over_one_that_lives_is_none_more() -> None:
    served = SessionPlane(limits=Limits(sessions=1))
    await served.step("a", 1, start=True)
    assert await served.sum("a", 5, start=True) == 5


async def test_a_session_in_use_makes_no_room() -> None:
    served = SessionPlane(limits=Limits(sessions=1, evict=True))
    await served.step("a", 1, start=True)
    served.store.hold()
    using = served.begin(SessionCall("a"))
    await settle()
    assert cause(await served.step("b", 1, start=True)) == ("too-many-sessions", "no")
    served.store.release()
    await using.outcome()


async def test_what_a_new_session_needs_of_the_volume_others_give() -> None:
    served = SessionPlane(limits=Limits(evict=True))
    for name in "abc":
        await served.step(name, 1, start=True)
    commit = served.store.commit

    def until_somebody_has_ended(changes: Sequence[Change], done: Done, *, lazy: bool = False) -> None:
        served.store.full = served.table.counts[MODEL, "active"] == 3 and bool(changes[0].state)
        commit(changes, done, lazy=lazy)

    served.store.commit = until_somebody_has_ended  # type: ignore[method-assign]
    assert await served.sum("d", 5, start=True) == 5
    assert served.holder.stats.evicted == {(MODEL, "bytes"): 2}, "a state and a reply have 12 bytes, a state has 8"
    assert cause(await served.step("a", 1)) == ("evicted", "no")
    assert await served.sum("c", 1) == 2


async def test_nothing_is_created_under_an_old_record_when_room_was_made() -> None:
    """Another replica may have been told meanwhile, under the new one, that the session is not here."""
    elsewhere = Alone()
    served = SessionPlane(limits=Limits(evict=True), elsewhere=elsewhere)
    await served.step("a", 1, start=True)
    commit = served.store.commit

    def as_the_record_changes(changes: Sequence[Change], done: Done, *, lazy: bool = False) -> None:
        served.store.full = elsewhere.record().epoch == 1
        elsewhere.record = lambda: Record(2, 1)  # type: ignore[method-assign]
        commit(changes, done, lazy=lazy)

    served.store.commit = as_the_record_changes  # type: ignore[method-assign]
    assert cause(await served.step("b", 1, start=True)) == ("volume-full", "no")
    assert served.holder.stats.evicted == {(MODEL, "bytes"): 1}
    assert served.key("b") not in served.disk.kept


async def test_a_state_that_is_made_by_hand_is_bounded_too() -> None:
    served = SessionPlane(limits=Limits(session_bytes=8))
    state = (Tensor("h_in", "FP32", np.zeros((1, 3), np.float32)),)
    with pytest.raises(SessionRefused, match="12 bytes"):
        await served.holder.create(MODEL, "s", Birth("1", "f", state))
    assert len(served.table) == 0
