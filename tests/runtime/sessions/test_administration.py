"""What the API of sessions does at one replica, below HTTP."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from mooring_runtime.errors.sessions import BadSession, SessionConflict, SessionUnavailable, UnknownSession
from mooring_runtime.sessions.administration import Nobody, unpacked
from mooring_runtime.sessions.copies import Copy, Kept
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.listing import Query
from tests.support.session_replicas import MODEL, Replica, birth, replicas

A, B = Key(MODEL, "a"), Key(MODEL, "b")


@pytest.fixture
def replica() -> Iterator[Replica]:
    with replicas() as service:
        yield service[0]


def kept(replica: Replica, key: Key) -> Kept:
    return replica.store.disk.kept[key]


async def test_a_file_is_what_is_on_disk_and_how_long_it_has_rested(replica: Replica) -> None:
    await replica.hold("a")
    replica.now += 700
    packed = await unpacked(await replica.administration.export(A))
    assert (packed.key, packed.idle) == (A, 700)
    assert packed.kept.copy._replace(digest=b"") == kept(replica, A).copy
    for mine, theirs in zip(packed.kept.replies, kept(replica, A).replies, strict=True):
        assert (mine.step, mine.digest, mine.size) == (theirs.step, theirs.digest, theirs.size)


async def test_an_export_waits_for_the_step_that_runs(replica: Replica) -> None:
    await replica.hold("a")
    async with replica.table.turn(A) as entry:
        exporting = asyncio.ensure_future(replica.administration.export(A))
        await asyncio.sleep(0)
        assert not exporting.done()
        assert entry.copy is not None
        later = Kept(entry.copy._replace(step=4), birth(value=9.0).state, entry.replies)
        await replica.table.write_all([(entry, later)])
    packed = await unpacked(await exporting)
    assert packed.kept.copy.step == 4
    assert packed.kept.state[0].array[0, 0] == 9.0


async def test_what_is_brought_can_be_asked_again_for_its_last_replies(replica: Replica) -> None:
    await replica.hold("a")
    packed = await unpacked(await replica.administration.export(A))
    replica.now += 5000
    assert (await replica.administration.bring(MODEL, "b", packed.kept))["id"] == "b"
    made, source = kept(replica, B), kept(replica, A)
    assert (made.copy.step, made.copy.version, made.copy.fingerprint) == (3, "1", source.copy.fingerprint)
    assert [(reply.step, reply.digest) for reply in made.replies] == [
        (reply.step, reply.digest) for reply in source.replies
    ]
    assert made.copy.incarnation != source.copy.incarnation
    assert (made.copy.created, made.copy.last_used) == (replica.now, replica.now)
    assert replica.table.stats.created[MODEL] == 2


async def test_of_two_that_make_the_same_id_one_is_refused(replica: Replica) -> None:
    await replica.hold("a")
    packed = await unpacked(await replica.administration.export(A))
    made = await asyncio.gather(
        replica.administration.bring(MODEL, "b", packed.kept),
        replica.administration.create(MODEL, "b"),
        return_exceptions=True,
    )
    assert isinstance(made[0], dict)
    assert isinstance(made[1], SessionConflict)
    assert made[1].cause == "exists"
    assert kept(replica, B).copy.step == 3


async def test_what_cannot_be_written_is_not_there(replica: Replica) -> None:
    await replica.hold("a")
    replica.store.fail()
    with pytest.raises(SessionUnavailable):
        await replica.administration.create(MODEL, "b")
    with pytest.raises(UnknownSession):
        await replica.administration.locate(B, local=False)
    before = kept(replica, A)
    for change in (replica.administration.reset, replica.administration.end):
        replica.store.fail()
        with pytest.raises(SessionUnavailable):
            await change(A)
        assert kept(replica, A) == before
    assert (await replica.administration.inspect(A))["state"] == "active"


async def test_an_end_is_counted_and_told(replica: Replica) -> None:
    await replica.hold("a")
    await replica.administration.end(A)
    await replica.administration.end(A)
    assert replica.table.stats.ended[MODEL, "ended"] == 1
    await replica.hold("b")
    await replica.administration.reset(B)
    assert replica.table.stats.ended[MODEL, "restarted"] == 1


@pytest.mark.parametrize("word", ["reset", "end", "create", "bring"])
async def test_a_change_is_told_though_the_session_leaves_at_once(replica: Replica, word: str) -> None:
    # Else it would be looked for elsewhere, and changed there a second time.
    await replica.hold("a")
    found = await replica.holder.read(A)

    def leave(key: Key, _: Copy | None, after: Copy | None) -> None:
        if after is not None and (after.incarnation != found.copy.incarnation or after.end is not None):
            asyncio.get_running_loop().call_soon(replica.table._entries.pop, key, None)

    replica.table.watch = leave
    changes: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
        "reset": lambda: replica.administration.reset(A),
        "end": lambda: replica.administration.end(A),
        "create": lambda: replica.administration.create(MODEL, "b"),
        "bring": lambda: replica.administration.bring(MODEL, "b", found),
    }
    told = await changes[word]()
    assert told["state"] == ("ended" if word == "end" else "active")
    assert replica.table.get(B if word in ("create", "bring") else A) is None


async def test_a_file_of_an_ended_session_brings_nothing(replica: Replica) -> None:
    await replica.hold("a")
    await replica.administration.end(A)
    with pytest.raises(BadSession, match="the file of a session that has ended"):
        await replica.administration.bring(MODEL, "b", kept(replica, A))


async def test_sessions_that_come_and_go_meanwhile_do_not_disturb_a_page(replica: Replica) -> None:
    for number in range(20):
        await replica.hold(f"{number:02}")
    first = await replica.administration.page(Query(limit=10))
    await replica.administration.end(Key(MODEL, "03"))
    await replica.hold("05x")
    await replica.hold("15x")
    second = await replica.administration.page(Query(limit=20, after=first.rows[-1].key))
    told = [row.id for row in (*first.rows, *second.rows)]
    assert told == sorted([*(f"{number:02}" for number in range(20)), "15x"])


async def test_alone_there_is_nobody_to_ask(replica: Replica) -> None:
    assert isinstance(replica.administration.others, Nobody)
    assert list(replica.administration.others.ordinals()) == []
