"""What was set aside is deleted when a person says so; and nobody goes on as if nothing were missing."""

import asyncio
import logging
from pathlib import Path

import pytest

from mooring_runtime.errors.sessions import SessionRefused, SessionUnavailable
from mooring_runtime.sessions.copies import HERE_BYTES, Copy, Phase
from mooring_runtime.sessions.dropping import drop
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.records import prefix_of
from mooring_runtime.sessions.store import StoreFull
from mooring_runtime.sessions.table import Table
from tests.support import clock
from tests.support.neighbours import Neighbour, Site
from tests.support.stores import Commits, change, key, noise, opened

GROWN, SHRUNK = Record(2, 2, (1,)), Record(2, 1, (2,))


def tear(neighbour: Neighbour, session: str) -> Key:
    """Let a session be found torn when it is read."""
    torn = Key("m", session)
    neighbour.store.corrupt(torn)
    entry = neighbour.table.get(torn)
    assert entry is not None
    entry.forget()
    return torn


async def find_torn(neighbour: Neighbour, torn: Key) -> None:
    with pytest.raises(SessionUnavailable, match="set aside"):
        async with neighbour.table.turn(torn):
            raise AssertionError("a torn session has a turn")


def test_a_shrink_settles_when_what_is_torn_was_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        site = Site(2)
        name = site.named(2, 1)
        site[1].keep(name)
        site.start(Record(1, 2))
        torn = tear(site[1], name)
        await find_torn(site[1], torn)
        counts = dict(site[1].table.counts)
        await site.adopt(SHRUNK)
        await asyncio.sleep(1)
        report = await site[1].membership.report()
        assert (report.clean, report.foreign, report.quarantined) == (False, 1, 1)
        with caplog.at_level(logging.WARNING):
            assert await drop(site[1].table, torn, site[1].membership.record()) == "checksum"
        assert f"session '{name}' of model 'm' that was set aside was dropped: checksum" in caplog.text
        report = await site[1].membership.report()
        assert (report.clean, report.foreign, report.quarantined) == (True, 0, 0)
        assert site[1].disk.quarantined == {}
        assert site[1].stats.dropped["m"] == 1
        assert counts == {("m", "active"): 0}
        assert site[1].table.counts["m", "active"] == 0
        copy = site[1].copy(name)
        assert copy is not None
        assert copy.rewound
        await site.adopt(Record(3, 1))
        await asyncio.sleep(1)
        assert site.phases(name) == ["none", "none"]
        site.end()

    clock.run(work())


def test_under_a_settled_record_nothing_stays() -> None:
    async def work() -> None:
        site = Site(1)
        torn = site[0].keep("a")
        site.start(Record(1, 1))
        tear(site[0], "a")
        await find_torn(site[0], torn)
        await drop(site[0].table, torn, Record(1, 1))
        assert (site[0].phase("a"), site[0].table.get(torn), len(site[0].table.idle)) == ("none", None, 0)
        async with site[0].table.turn(torn) as entry:
            assert entry.copy is None
        with pytest.raises(KeyError):
            await drop(site[0].table, torn, Record(1, 1))
        site.end()

    clock.run(work())


def test_what_cannot_be_dropped_stays_set_aside() -> None:
    async def work() -> None:
        site = Site(1)
        torn = site[0].keep("a")
        site.start(Record(1, 1))
        tear(site[0], "a")
        await find_torn(site[0], torn)
        site[0].store.fail(StoreFull("no room"))
        with pytest.raises(SessionRefused):
            await drop(site[0].table, torn, Record(1, 1))
        await find_torn(site[0], torn)
        assert site[0].disk.quarantined == {torn: "checksum"}
        site.end()

    clock.run(work())


@pytest.mark.parametrize("thaws", [False, True])
def test_the_client_of_an_older_copy_is_told(thaws: bool) -> None:
    """It was taken, and gone on from there, before it was found torn; who handed it over has not heard so."""

    async def work() -> None:
        site = Site(2)
        name = site.named(2, 1)
        site[1].keep(name, since=2, step=9)
        site.start(GROWN, 1)
        torn = tear(site[1], name)
        await find_torn(site[1], torn)
        site[0].keep(name, Phase.MOVING, to=1)
        site.start(GROWN, 0)
        await asyncio.sleep(5)
        assert site.phases(name)[0] == "moving"
        assert site[0].stats.handoffs["out", "later"] >= 1
        if thaws:  # Its place is at ordinal 0 again: ordinal 1 refuses what it does not have.
            await site.adopt(Record(3, 1, (1, 2)))
        await drop(site[1].table, torn, site[1].membership.record())
        await asyncio.sleep(5)
        assert site.phases(name) == (["held", "moved"] if thaws else ["moved", "held"])
        found = site[0 if thaws else 1]
        copy, entry = found.copy(name), found.table.get(torn)
        assert copy is not None
        assert entry is not None
        assert (copy.step, copy.rewound, entry.rewound) == (3, True, True)
        site.end()

    clock.run(work())


def test_what_was_handed_on_before_it_was_torn_is_not_brought_back() -> None:
    """All that ordinal 1 knew of the session was that it had gone on to ordinal 2; ordinal 0 had heard of neither."""

    async def work() -> None:
        site = Site(3)
        name = site.named(2, 1, (3, 2))
        record = Record(3, 2, (1, 3))
        torn = Key("m", name)
        site[0].keep(name, Phase.MOVING, since=1, to=1)
        site[1].disk.quarantined[torn] = "its copy is torn"
        site[2].keep(name, since=2, step=9)
        site[1].unreadable = "not now"  # So that ordinal 2 keeps it for now.
        site.start(record)
        await asyncio.sleep(1)
        await drop(site[1].table, torn, record)
        await asyncio.sleep(5)
        assert site.phases(name) == ["moved", "moved", "held"]
        site[1].unreadable = ""
        await asyncio.sleep(5)
        assert site.phases(name) == ["moved", "held", "moved"]
        copy = site[1].copy(name)
        assert copy is not None
        assert copy.step == 9
        site.end()

    clock.run(work())


def test_of_two_copies_on_their_way_to_what_was_dropped_the_later_one_goes_on() -> None:
    """Ordinal 0 has not heard that ordinal 2 had the session and gave it to ordinal 1, which is to give it back. Each
    waited for the other, for ever.
    """

    async def work() -> None:
        site = Site(3)
        name = site.named(2, 1, (3, 2))
        record = Record(4, 3, (1, 2))
        torn = Key("m", name)
        site[0].keep(name, Phase.MOVING, since=1, to=2)
        site[1].keep(name, Phase.MOVING, since=3, to=2, step=9)
        site[2].disk.quarantined[torn] = "its copy is torn"
        site.start(record)
        await asyncio.sleep(1)
        assert site.phases(name)[:2] == ["moving", "moving"]
        await drop(site[2].table, torn, record)
        await asyncio.sleep(10)
        assert site.phases(name) == ["moved", "moved", "held"]
        copy = site[2].copy(name)
        assert copy is not None
        assert (copy.step, copy.rewound) == (9, True)
        site.end()

    clock.run(work())


@pytest.mark.parametrize("settled", [True, False])
async def test_on_disk_nothing_of_it_is_left(tmp_path: Path, settled: bool) -> None:
    with opened(tmp_path) as store:
        await Commits(store).commit(change(3, tensors=noise(2 * HERE_BYTES)))
        with store._environment.begin(write=True, db=store._databases.sessions) as txn:
            txn.put(prefix_of(key()) + b"s", b"torn")
        table = Table(store, 2**20)
        with pytest.raises(SessionUnavailable, match="set aside"):
            async with table.turn(key()):
                raise AssertionError("a torn session has a turn")
        assert list(store.quarantined()) == [key()]
        await drop(table, key(), Record(5, 1, () if settled else (2,)))
        assert store.quarantined() == {}
    with opened(tmp_path) as store:
        assert store.quarantined() == {}
        assert dict(store.copies()) == ({} if settled else {key(): Copy(Phase.MOVED, 5, rewound=True)})


async def test_what_is_found_torn_at_the_start_is_known_to_be_there(tmp_path: Path) -> None:
    """Else its id would be unknown here, and created anew with an empty state."""
    with opened(tmp_path) as store:
        await Commits(store).commit(change(3), change(4, 2))
        with store._environment.begin(write=True, db=store._databases.sessions) as txn:
            txn.put(prefix_of(key()) + b"c", b"torn")
    with opened(tmp_path) as store:
        table = Table(store, 2**20)
        assert list(table.quarantined) == [key()]
        assert [entry.key for entry in table] == [key(2)]
