"""Adopting records, and what is foreign under them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.sessions.copies import Phase
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.membership import misfit
from mooring_runtime.sessions.messages import Ask, Envelope, Introduce, Presence, Presences, Stale
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from tests.support import clock
from tests.support.neighbours import Site


def cause_of(call: Callable[[], object]) -> str:
    with pytest.raises(SessionUnavailable) as caught:
        call()
    return caught.value.cause


def test_only_a_newer_record_is_adopted() -> None:
    async def work() -> None:
        site = Site(1)
        site.start(None)
        one = site[0]
        assert cause_of(one.membership.record) == "no-membership"
        await site.adopt(Record(2, 1))
        assert one.disk.record == one.membership.record() == Record(2, 1)
        await site.adopt(Record(1, 5))
        await site.adopt(Record(2, 7))  # A second body of the same epoch.
        assert one.disk.record == one.membership.record() == Record(2, 1)
        await site.adopt(Record(9, 3, (1,)))
        assert one.disk.record == Record(9, 3, (1,))
        site.end()

    clock.run(work())


def test_nobody_hears_of_an_adoption_before_it_is_on_disk() -> None:
    async def work() -> None:
        site = Site(1)
        site.start(Record(1, 1))
        one = site[0]
        one.store.hold()
        telling = asyncio.ensure_future(one.receiver.answer(Envelope(2, None, 0), Introduce(Record(2, 1))))
        asking = asyncio.ensure_future(one.receiver.answer(Envelope(2, 1, 0), Ask((Key("m", "a"),))))
        await asyncio.sleep(1)
        assert not telling.done()
        assert not asking.done()
        one.store.release()
        report = (await telling).body
        assert one.disk.record == Record(2, 1)
        assert report == await one.membership.report()
        site.end()

    clock.run(work())


def test_an_adoption_that_cannot_be_written_lets_nothing_be_done_until_it_can() -> None:
    async def work() -> None:
        site = Site(1)
        site.start(Record(1, 1))
        one = site[0]
        one.store.fail()
        with pytest.raises(SessionUnavailable, match="cannot be written"):
            await site.adopt(Record(2, 1))
        assert cause_of(one.membership.record) == "no-membership"
        assert not one.membership.clean
        await asyncio.sleep(2)
        assert one.membership.record() == one.disk.record == Record(2, 1)
        site.end()

    clock.run(work())


def test_an_adoption_that_is_asked_for_again_is_not_said_to_be_done_before_it_is() -> None:
    async def work() -> None:
        site = Site(1)
        site.start(Record(1, 1))
        one = site[0]
        one.store.fail()
        for record in (Record(2, 1), Record(2, 1), Record(1, 1)):
            with pytest.raises(SessionUnavailable, match="cannot be written"):
                await one.receiver.answer(Envelope(2, None, 0), Introduce(record))
        await asyncio.sleep(2)
        assert (await one.receiver.answer(Envelope(2, None, 0), Introduce(Record(2, 1)))).record == Record(2, 1)
        site.end()

    clock.run(work())


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (Record(1, 2), None),
        (Record(1, 2, stores={0: "other", 1: "mine"}), None),
        (Record(1, 2, stores={1: "other"}), "wants other"),
        (Record(1, 2, lost=("mine",)), "was given up"),
    ],
)
def test_whose_volume_it_must_be(record: Record, told: str | None) -> None:
    found = misfit(record, 1, "mine")
    assert (found is None) == (told is None)
    assert told is None or (found is not None and told in found)


def test_a_replaced_volume_does_nothing_and_is_never_clean() -> None:
    async def work() -> None:
        site = Site(1)
        site.start(Record(1, 1, stores={0: "another"}))
        await asyncio.sleep(1)
        one = site[0]
        assert cause_of(one.membership.record) == "volume-replaced"
        assert not (await one.membership.report()).clean
        with pytest.raises(SessionUnavailable, match="wants another"):
            await one.receiver.answer(Envelope(1, 1, 0), Ask((Key("m", "a"),)))
        site.end()

    clock.run(work())


def test_foreign_sessions_are_found_and_followed() -> None:
    async def work() -> None:
        site = Site(2)
        one = site[0]
        keys = [one.keep(f"s{number}") for number in range(1000)]
        site.deaf.add(1)  # So that none of them leaves.
        site.start(Record(1, 1))
        await asyncio.sleep(1)
        assert (await one.membership.report()).clean
        await site.adopt(Record(2, 2, (1,)), 0)
        assert not one.membership.clean
        await asyncio.sleep(1)
        foreign = [key for key in keys if place(key, 2) == 1]
        assert set(one.membership.foreign) == set(foreign)
        assert (await one.membership.report()).foreign == len(foreign)
        async with one.table.turn(foreign[0]) as entry:
            await one.table.write_all([(entry, None)])
        assert set(one.membership.foreign) == set(foreign[1:])
        await site.adopt(Record(3, 1, (1, 2)), 0)
        await asyncio.sleep(1)
        assert (await one.membership.report()).clean
        site.end()

    clock.run(work())


def test_what_moves_is_foreign_wherever_it_goes() -> None:
    async def work() -> None:
        site = Site(2)
        site[0].keep(site.named(2, 0), Phase.MOVING, to=1)
        site.deaf.add(1)
        site.start(Record(1, 2))
        await asyncio.sleep(1)
        assert not (await site[0].membership.report()).clean
        site.end()

    clock.run(work())


def test_tombstones_go_with_a_settled_record_and_no_other() -> None:
    async def work() -> None:
        site = Site(1)
        site[0].keep("a", Phase.MOVED)
        site.start(Record(1, 1, (2,)))
        await asyncio.sleep(1)
        await site.adopt(Record(2, 1, (2, 3)))
        await asyncio.sleep(1)
        assert site[0].phase("a") == "moved"
        await site.adopt(Record(3, 1))
        await asyncio.sleep(1)
        assert site[0].phase("a") == "none"
        site.end()

    clock.run(work())


def test_what_cannot_be_read_is_held_all_the_same() -> None:
    async def work() -> None:
        site = Site(2)
        mine, other = site.named(2, 0), site.named(2, 1)
        site[0].disk.quarantined.update({Key("m", mine): "torn", Key("m", other): "torn"})
        site.start(Record(2, 2, (1,)))
        await asyncio.sleep(1)
        answer = await site[0].receiver.answer(Envelope(2, 1, 0), Ask((Key("m", other), Key("m", "else"))))
        assert answer.body == Presences((Presence.TORN, Presence.ABSENT))
        assert list(site[0].membership.foreign) == [Key("m", other)]
        site.end()

    clock.run(work())


async def ask(site: Site, epoch: int, *sessions: str) -> object:
    answer = await site[0].receiver.answer(Envelope(epoch, 1, 0), Ask(tuple(Key("m", each) for each in sessions)))
    return answer.body, answer.record


def test_absent_is_said_under_the_same_epoch_only_and_after_a_commit() -> None:
    async def work() -> None:
        site = Site(2)
        site[0].keep("h", since=1)
        site[0].keep("t", Phase.MOVED)
        site[0].keep("f", Phase.MOVING, to=1)
        site.deaf.add(1)
        site.start(Record(2, 2, (1,)), 0)
        one = site[0]
        words = (Presence.HERE, Presence.ABSENT, Presence.MOVING, Presence.ABSENT)
        assert await ask(site, 2, "h", "t", "f", "n") == (Presences(words), None)
        assert await ask(site, 1, "n") == (Stale(), Record(2, 2, (1,)))
        one.store.hold()  # As after another process has opened the volume: commits no longer come to an end.
        asking: Awaitable[object] = ask(site, 2, "n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking, 5)
        site.end()

    clock.run(work())


def test_nothing_is_said_under_a_record_that_had_no_room_on_the_disk() -> None:
    """The question came while the record was on its way there; a crash would bring the record before it back."""

    async def work() -> None:
        site = Site(2)
        site.start(Record(1, 2), 0)
        one = site[0]
        one.store.hold()
        adopting = asyncio.ensure_future(one.membership.adopt(Record(2, 2, (1,))))
        await asyncio.sleep(0.1)
        asking = asyncio.ensure_future(one.receiver.answer(Envelope(2, 1, 0), Ask((Key("m", "a"),))))
        await asyncio.sleep(0.1)
        one.store.fail()
        one.store.release()
        for asked in (asking, adopting):
            with pytest.raises(SessionUnavailable, match="cannot be written"):
                await asked
        site.end()

    clock.run(work())
