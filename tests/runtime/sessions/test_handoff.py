"""The points of a handoff one after the other, and what is on both disks at each."""

import asyncio

import pytest

from mooring_runtime.sessions.copies import Copy, Phase
from mooring_runtime.sessions.handoff import Point
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.messages import Offer, Take, Word
from mooring_runtime.sessions.receiving import verdict
from mooring_runtime.sessions.record import Record
from tests.support import clock
from tests.support.neighbours import Site

SHRINK = Record(2, 1, (2,))
"""From two members to one: every session goes to ordinal 0."""


def leaving(since: int = 1) -> tuple[Site, str]:
    """A session at ordinal 1, which is to go to ordinal 0."""
    site = Site(2)
    name = site.named(2, 1)
    site[1].keep(name, since=since)
    return site, name


def test_every_point_in_its_order() -> None:
    async def work() -> None:
        site, name = leaving()
        site.start(Record(1, 2))
        disks: list[tuple[Point, str, str]] = []
        for each in (site[0], site[1]):
            each.handoff.reached = each.receiver.reached = lambda point, key: disks.append(
                (point, site[1].phase(name), site[0].phase(name))
            )
        await site.adopt(SHRINK)
        await asyncio.sleep(1)
        assert disks == [
            (Point.OFFER, "held", "none"),
            (Point.QUIET, "held", "none"),
            (Point.FROZEN, "moving", "none"),
            (Point.KEPT, "moving", "held"),
            (Point.ANSWERED, "moving", "held"),
            (Point.FORGOTTEN, "moved", "held"),
        ]
        assert [type(message) for _, _, message in site.said] == [Offer, Take]
        kept = site[0].disk.kept[Key("m", name)]
        assert (kept.copy.since, kept.copy.step, kept.copy.incarnation, kept.copy.to) == (2, 3, 7, None)
        assert kept.state[0].array.tolist() == [[3.0, 3.0]]
        assert [reply.step for reply in kept.replies] == [3]
        gone = site[1].disk.kept[Key("m", name)]
        assert (gone.copy, gone.state, gone.replies) == (Copy(Phase.MOVED, 1), (), ())
        assert site[1].membership.clean
        assert (site[1].stats.handoffs["out", "taken"], site[0].stats.handoffs["in", "taken"]) == (1, 1)
        site.end()

    clock.run(work())


def test_the_clock_of_the_session_is_that_of_its_owner() -> None:
    async def work() -> None:
        site, name = leaving()
        site.start(Record(1, 2))
        rested = site[1].now() - 10
        await site.adopt(SHRINK)
        await asyncio.sleep(1)
        copy = site[0].copy(name)
        assert copy is not None
        assert abs((site[0].now() - copy.last_used) - rested) <= 1001
        site.end()

    clock.run(work())


def test_an_ended_session_moves_with_its_replies() -> None:
    async def work() -> None:
        site, name = leaving()
        site[1].end(Key("m", name))
        site.start(SHRINK)
        await asyncio.sleep(1)
        copy = site[0].copy(name)
        assert copy is not None
        assert copy.end is not None
        assert [reply.step for reply in site[0].disk.kept[Key("m", name)].replies] == [3]
        site.end()

    clock.run(work())


def test_the_freeze_waits_for_the_step_that_runs() -> None:
    async def work() -> None:
        site, name = leaving()
        site.start(Record(1, 2))
        async with site[1].table.turn(Key("m", name)):
            await site.adopt(SHRINK)
            await asyncio.sleep(3)
            assert site.phases(name) == ["none", "held"]
        await asyncio.sleep(1)
        assert site.phases(name) == ["held", "moved"]
        site.end()

    clock.run(work())


def test_one_that_runs_for_long_holds_up_nobody() -> None:
    async def work() -> None:
        site, name = leaving()
        others = [site[1].keep(f"other{number}") for number in range(200)]
        site.start(Record(1, 2))
        async with site[1].table.turn(Key("m", name)):
            await site.adopt(SHRINK)
            await asyncio.sleep(3)
            assert {site.phases(key.session)[1] for key in others} == {"moved"}
        site.end()

    clock.run(work())


def test_a_session_that_is_not_wanted_stays_and_is_served() -> None:
    async def work() -> None:
        site, name = leaving()
        site[0].unreadable = "it has no version that reads this state"
        site.start(SHRINK)
        await asyncio.sleep(5)
        assert site.phases(name) == ["none", "held"]
        assert not site[1].membership.clean
        site[0].unreadable = ""
        await asyncio.sleep(5)
        assert site.phases(name) == ["held", "moved"]
        site.end()

    clock.run(work())


def test_after_a_lost_answer_the_receiver_goes_on_and_the_sender_hears_taken() -> None:
    async def work() -> None:
        site, name = leaving()
        site[1].keep(name, Phase.MOVING, to=0)
        site[0].keep(name, since=2, step=9)  # It was taken, and has gone on.
        before = site[0].disk.kept[Key("m", name)]
        site.start(SHRINK)
        await asyncio.sleep(1)
        assert site.phases(name) == ["held", "moved"]
        assert site[0].disk.kept[Key("m", name)] == before
        assert [type(message) for _, _, message in site.said] == [Take]  # No offer: nobody else may have it.
        site.end()

    clock.run(work())


def test_what_is_sent_and_not_answered_is_counted_as_lost() -> None:
    async def work() -> None:
        site, name = leaving()
        site[1].keep(name, Phase.MOVING, to=0)
        site.mute.add(0)
        site.start(SHRINK)
        await asyncio.sleep(1)
        site.mute.clear()
        await asyncio.sleep(20)
        assert site.phases(name) == ["held", "moved"]
        sent = sum(isinstance(message, Take) for _, _, message in site.said)
        assert sent > 1
        assert site[1].stats.handoffs == {("out", "lost"): sent - 1, ("out", "taken"): 1}
        site.end()

    clock.run(work())


def test_a_new_epoch_that_gives_the_session_back_does_not_thaw_it() -> None:
    async def work() -> None:
        site, name = leaving()
        site[1].keep(name, Phase.MOVING, to=0)
        site.deaf.add(0)
        site.start(SHRINK)
        await site.adopt(Record(3, 2, (1, 2)), 1)
        await asyncio.sleep(5)
        assert site.phases(name) == ["none", "moving"]
        site.deaf.clear()
        await site.adopt(Record(3, 2, (1, 2)), 0)
        await asyncio.sleep(5)
        assert site.phases(name) == ["none", "held"]  # Refused at its own epoch.
        copy = site[1].copy(name)
        assert copy is not None
        assert (copy.since, copy.rewound, copy.step) == (1, False, 3)
        assert site[1].membership.clean
        site.end()

    clock.run(work())


def test_a_receiver_with_a_full_disk_gets_it_later() -> None:
    async def work() -> None:
        site, name = leaving()
        site.start(Record(1, 2))
        site[0].store.full = True
        await site.adopt(SHRINK)
        await asyncio.sleep(3)
        assert site.phases(name) == ["none", "moving"]
        assert site[1].stats.handoffs["out", "later"] >= 1
        site[0].store.full = False
        await asyncio.sleep(3)
        assert site.phases(name) == ["held", "moved"]
        site.end()

    clock.run(work())


def test_another_volume_than_the_one_it_was_frozen_for_gets_nothing() -> None:
    async def work() -> None:
        site, name = leaving()
        site[1].keep(name, Phase.MOVING, to=0)
        site[0].disk.id = "another"
        site.start(SHRINK)
        await asyncio.sleep(5)
        assert site.phases(name) == ["none", "moving"]
        site.end()

    clock.run(work())


@pytest.mark.parametrize("held_elsewhere", [False, True])
def test_what_was_on_its_way_to_a_lost_store(held_elsewhere: bool) -> None:
    async def work() -> None:
        site = Site(3)
        name = site.named(2, 0, (3, 2))
        site[1].keep(name, Phase.MOVING, to=0)
        if held_elsewhere:  # N had handed it on before it was lost.
            site[2].keep(name, since=3)
        lost = site[0].disk.id
        site[0].disk.id = "new"
        site.start(Record(5, 3, (2,), stores={0: "new"}, lost=(lost,)))
        await asyncio.sleep(3)
        assert site.phases(name) == ["none", "moved", "held"]
        copy, entry = site[2].copy(name), site[2].table.get(Key("m", name))
        assert copy is not None
        assert entry is not None
        # What was given back says so to its client, also after it has gone on to its place.
        assert (copy.rewound, entry.rewound) == (not held_elsewhere, not held_elsewhere)
        site.end()

    clock.run(work())


HELD, MOVING, MOVED = (Copy(phase, 5) for phase in Phase)


@pytest.mark.parametrize(
    ("here", "since", "theirs", "mine", "home", "expected"),
    [
        (None, 5, 6, 6, True, None),
        (None, 5, 6, 6, False, Word.REFUSED),
        (None, 5, 6, 7, True, Word.STALE),
        (None, 5, 6, 7, False, Word.STALE),
        (MOVED, 5, 6, 6, True, None),
        (MOVED, 4, 6, 6, True, Word.TAKEN),
        (MOVED, 4, 6, 7, False, Word.TAKEN),
        (MOVING, 4, 6, 7, True, Word.TAKEN),
        (MOVING, 5, 6, 6, True, None),
        (MOVING, 6, 6, 6, True, None),
        (MOVING, 6, 6, 6, False, Word.REFUSED),
        (HELD, 4, 6, 7, False, Word.TAKEN),
        (HELD, 5, 6, 6, True, Word.BROKEN),
        (HELD, 6, 6, 7, True, Word.STALE),
    ],
)
def test_the_receiver_decides_by_its_own_disk(
    here: Copy | None, since: int, theirs: int, mine: int, home: bool, expected: Word | None
) -> None:
    assert verdict(here, Copy(Phase.MOVING, since), theirs, mine, home=home) is expected
