"""What the API of sessions may do with them, and the end."""

import asyncio

import numpy as np
import pytest

from mooring_runtime.errors.sessions import (
    BadSession,
    SessionConflict,
    SessionGone,
    UnknownSession,
)
from mooring_runtime.messages import SessionCall, Tensor
from mooring_runtime.sessions.copies import StoredReply
from mooring_runtime.sessions.elsewhere import At, NotHere
from mooring_runtime.sessions.holder import Birth
from mooring_runtime.sessions.keys import MINTED, Key, mint
from mooring_runtime.sessions.record import Record
from tests.support.other_replicas import GROWN, HERE, THERE, THIRD, member, named
from tests.support.session_plane import MODEL, SessionPlane, cause, settle, summed


async def test_a_session_that_is_made_begins_with_its_first_step() -> None:
    served = SessionPlane()
    key, copy = await served.holder.create(MODEL, None)
    assert MINTED.fullmatch(key.session)
    assert (copy.step, served.disk.kept[key].state) == (0, ())
    served.load("2", served.adder.metadata.state)  # type: ignore[arg-type]
    assert await served.sum(key.session, 5, step=1) == 5
    assert await served.sum("chosen", 1, start=True) == 1
    await served.holder.create(MODEL, "made")
    assert await served.sum("made", 1, start=True) == 1
    assert served.holder.stats.created == {MODEL: 3}


async def test_a_session_that_is_brought_goes_on_where_it_was() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    await served.step("s", 2)
    kept = await served.holder.read(served.key("s"))
    birth = Birth(kept.copy.version, kept.copy.fingerprint, kept.state, kept.copy.step, kept.replies)
    _, copy = await served.holder.create(MODEL, "copy", birth)
    assert copy.incarnation != kept.copy.incarnation
    assert await served.sum("copy", 10, step=3) == 13
    assert await served.sum("copy", 2, step=2) == 3, "its replies came along"
    assert await served.sum("s", 1) == 4


async def test_no_live_session_is_overwritten() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    with pytest.raises(SessionConflict) as caught:
        await served.holder.create(MODEL, "s")
    assert caught.value.cause == "exists"
    await served.holder.end(served.key("s"))
    await served.holder.create(MODEL, "s")
    with pytest.raises(BadSession, match="made by servers"):
        await served.holder.create(MODEL, mint(0))


async def test_a_session_is_made_only_at_its_place_when_nobody_has_it() -> None:
    served, others = member()
    with pytest.raises(NotHere) as caught:
        await served.holder.create(MODEL, named(THERE))
    assert caught.value.at == THERE
    others.found = At(THIRD)
    with pytest.raises(NotHere) as caught:
        await served.holder.create(MODEL, named(HERE))
    assert caught.value.at == THIRD
    others.found = None
    await served.holder.create(MODEL, named(HERE))
    assert others.asked == [named(HERE)] * 2


async def test_making_a_session_begins_anew_when_the_record_changes() -> None:
    served, others = member()
    others.on_ask = lambda: setattr(others, "now", Record(7, 3, (1, 2)))
    _, copy = await served.holder.create(MODEL, named(HERE))
    assert (copy.since, len(others.asked)) == (7, 2)


async def test_a_session_is_ended_in_its_turn() -> None:
    served = SessionPlane()
    served.watch_ends()
    await served.step("s", 1, start=True)
    served.store.hold()
    last = served.begin(SessionCall("s"), 2)
    ending = asyncio.ensure_future(served.holder.end(served.key("s")))
    await settle()
    late = served.begin(SessionCall("s"), 4)
    await settle()
    served.store.release()
    assert summed(await last.outcome()) == 3
    copy = await ending
    assert copy.end is not None
    assert (copy.end.cause, copy.end.step, copy.size) == ("ended", 2, 0)
    assert cause(await late.outcome()) == ("ended", "no")
    assert await served.holder.end(served.key("s")) == copy, "and stays so"
    for _ in range(100):
        if served.adder.ends:
            break
        await asyncio.sleep(0.001)
    assert served.adder.ends == [("s", [3.0, 2.0], "ended")]


async def test_a_session_that_is_reset_begins_again() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True, step=1)
    before = await served.holder.read(served.key("s"))
    copy = await served.holder.reset(served.key("s"))
    assert (copy.step, copy.since) == (0, before.copy.since)
    assert cause(await served.step("s", 1, incarnation=before.copy.incarnation)) == ("restarted", "no")
    assert await served.sum("s", 5, step=1) == 5
    assert served.holder.stats.ended == {(MODEL, "restarted"): 1}


async def test_what_is_not_here_is_neither_read_nor_ended_nor_reset() -> None:
    served, _ = member()
    for asked in (served.holder.read, served.holder.end, served.holder.reset):
        with pytest.raises(NotHere):
            await asked(served.key("s"))
    assert len(served.table) == 0


async def test_who_is_to_be_asked_about_a_session() -> None:
    served, others = member()
    session, away = named(HERE), named(THERE)
    assert await served.holder.locate(served.key(away)) == THERE
    with pytest.raises(NotHere):
        await served.holder.locate(served.key(away), passed_on=True)
    with pytest.raises(UnknownSession):
        await served.holder.locate(served.key(session))
    others.now = Record(6, 3, (2,), lost=("store",))
    with pytest.raises(SessionGone):
        await served.holder.locate(served.key(session))
    others.found = At(THIRD)
    assert await served.holder.locate(served.key(session)) == THIRD
    await served.step(session, start=True)
    others.found = None
    others.now = GROWN
    await served.step(session, start=True)
    assert await served.holder.locate(served.key(session)) == HERE


async def test_steps_that_are_looked_for_are_told_when_the_server_ends() -> None:
    served, others = member()
    never = asyncio.Event()

    async def hang(key: Key) -> At | None:
        await never.wait()
        return None

    others.absent = hang  # type: ignore[method-assign]
    asked = [served.begin(SessionCall(named(HERE), step=number)) for number in (1, 2)]
    await settle()
    await served.holder.close()
    assert [cause(await each.outcome()) for each in asked] == [("outcome-unknown", "unknown"), ("owner-down", "no")]
    assert served.plane.pending == 0


def test_a_reply_counts_its_bytes() -> None:
    assert StoredReply(1, b"", (Tensor("y", "FP32", np.zeros((2, 3), np.float32)),)).size == 24


async def test_a_life_that_was_begun_anew_is_not_told_of_steps_that_the_one_before_lost() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    entry = served.table.get(served.key("s"))
    assert entry is not None
    entry.rewound = True
    await served.holder.reset(served.key("s"))
    assert await served.sum("s", 2) == 2
