"""Handoffs while clocks, disks and receivers are not as one would wish."""

import asyncio

import pytest

from mooring_runtime.sessions.copies import Copy, Kept, Phase, StoredReply
from mooring_runtime.sessions.encoding import Packed
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.messages import Answer, Ask, Envelope, Message, Take, Verdicts, Word
from mooring_runtime.sessions.receiving import Receiver
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import StoreFull
from mooring_runtime.sessions.ways import MOST_BYTES
from tests.support import clock
from tests.support.memory_store import Disk
from tests.support.neighbours import Site, Wire

SHRINK = Record(2, 1, (2,))
"""From two members to one: every session goes to ordinal 0."""


def leaving() -> tuple[Site, str]:
    """A session at ordinal 1, which is to go to ordinal 0."""
    site = Site(2)
    name = site.named(2, 1)
    site[1].keep(name)
    return site, name


def test_the_end_of_a_session_is_told_by_the_clock_of_who_has_it() -> None:
    async def work() -> None:
        site, name = leaving()
        site[1].end(Key("m", name))
        site.start(Record(1, 2))
        ended = site[1].copy(name)
        assert ended is not None
        assert ended.end is not None
        known_for = site[1].now() - ended.end.time
        await site.adopt(SHRINK)
        await asyncio.sleep(1)
        copy = site[0].copy(name)
        assert copy is not None
        assert copy.end is not None
        assert abs((site[0].now() - copy.end.time) - known_for) <= 1001
        site.end()

    clock.run(work())


def test_a_step_that_is_lost_before_the_freeze_is_not_in_the_copy_that_leaves() -> None:
    """The disk is full for a lazy step, and has room for the small commit of a freeze behind it."""

    async def work() -> None:
        site, name = leaving()
        site[0].unreadable = "not now"
        site.start(SHRINK)
        await asyncio.sleep(0.1)
        table, key = site[1].table, Key("m", name)
        async with table.turn(key) as entry:
            assert entry.copy is not None
            after = Kept(entry.copy._replace(step=4), entry.state, (StoredReply(4, b"e", entry.state),))
            table.write(entry, after, lambda error: None, lazy=True)
        site[1].store.fail(StoreFull("no room"))
        site[0].unreadable = ""
        await asyncio.sleep(5)
        kept, entry0 = site[0].disk.kept[key], site[0].table.get(key)
        assert entry0 is not None
        assert (kept.copy.step, [reply.step for reply in kept.replies], entry0.rewound) == (3, [3], True)
        site.end()

    clock.run(work())


def test_a_receiver_that_puts_off_what_it_gets_is_given_no_more() -> None:
    """What is frozen answers nobody: it must be few, however long the receiver has no room."""

    async def work() -> None:
        site = Site(2)
        for number in range(200):
            site[1].keep(f"s{number}")
        site.start(Record(1, 2))
        site[0].store.full = True
        await site.adopt(SHRINK)
        most = 0
        for _ in range(20):
            await asyncio.sleep(1)
            phases = [copy.copy.phase for copy in site[1].disk.kept.values()]
            most = max(most, phases.count(Phase.MOVING))
        assert 1 <= most <= 64
        site[0].store.full = False
        await asyncio.sleep(10)
        assert site[1].membership.clean
        site.end()

    clock.run(work())


def test_one_that_freezes_late_waits_for_no_message_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is frozen, so it answers nobody: it leaves with a message of its own while that of the others is under way."""

    async def work() -> None:
        site, late = leaving()
        site[1].keep("another")
        answer, under_way = Receiver.answer, [0]

        async def slow(self: Receiver, envelope: Envelope, message: Message) -> Answer:
            if isinstance(message, Take):
                under_way.append(under_way[-1] + 1)
                await asyncio.sleep(2)
                under_way.append(under_way[-1] - 1)
            return await answer(self, envelope, message)

        monkeypatch.setattr(Receiver, "answer", slow)
        site.start(Record(1, 2))
        async with site[1].table.turn(Key("m", late)):
            await site.adopt(SHRINK)
            await asyncio.sleep(1)
        await asyncio.sleep(5)
        assert site.phases(late) == ["held", "moved"]
        assert max(under_way) == 2
        assert under_way[-1] == 0
        site.end()

    clock.run(work())


def test_a_message_carries_no_more_than_a_receiver_takes() -> None:
    async def work() -> None:
        site = Site(2)
        for number in range(12):
            key = site[1].keep(f"s{number}", Phase.MOVING, to=0)
            copy, state, _ = site[1].disk.kept[key]
            large = state[0]._replace(array=state[0].array.repeat(500_000, 1))  # 4 MB.
            site[1].disk.kept[key] = Kept(copy, state, (StoredReply(3, b"d", (large,)),))
        site.start(SHRINK)
        await asyncio.sleep(10)
        assert site[1].membership.clean
        sizes = [
            sum(reply.size for each in message.sessions for reply in each.kept.replies)
            for _, _, message in site.said
            if isinstance(message, Take)
        ]
        assert max(sizes) <= MOST_BYTES
        site.end()

    clock.run(work())


def test_one_receiver_that_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        site = Site(3)
        hangs, goes = site.named(2, 0), site.named(2, 1)
        site[2].keep(hangs, Phase.MOVING, to=0)
        site[2].keep(goes, Phase.MOVING, to=1)
        site.deaf.add(1)
        answer = Receiver.answer

        async def hang(self: Receiver, *message: object) -> object:
            if self is site[0].receiver:
                await asyncio.sleep(1000)
            return await answer(self, *message)  # type: ignore[arg-type]

        monkeypatch.setattr(Receiver, "answer", hang)
        site.start(Record(2, 2, (3,)))
        await asyncio.sleep(0.5)
        assert site.phases(goes) == ["none", "none", "moving"]
        site.deaf.clear()
        await asyncio.sleep(2.5)
        assert site.phases(goes) == ["none", "held", "moved"]
        assert site.phases(hangs) == ["none", "none", "moving"]
        site.end()

    clock.run(work())


def test_a_repeat_does_not_wait_for_a_step_of_the_new_owner() -> None:
    async def work() -> None:
        site, name = leaving()
        site[1].keep(name, Phase.MOVING, to=0)
        site[0].keep(name, since=2, step=9)
        site[0].disk.record = SHRINK
        site[0].start()
        async with site[0].table.turn(Key("m", name)):
            site.start(SHRINK, 1)
            await asyncio.sleep(2)
            assert site.phases(name) == ["held", "moved"]
        site.end()

    clock.run(work())


def test_a_refusal_counts_for_the_epoch_in_which_it_was_decided() -> None:
    """A record comes while another session of the same message is still being written."""

    async def work() -> None:
        site = Site(2)
        site.start(Record(2, 2, (1,)))
        here, elsewhere = site.named(2, 0), site.named(2, 1)
        copies = [Copy(Phase.MOVING, 1, 7, 3, None, None, "1", "f", 5, 10) for _ in range(2)]
        handed = tuple(
            Packed(Key("m", name), Kept(copy), 0) for name, copy in zip((here, elsewhere), copies, strict=True)
        )
        site[0].store.hold()
        asked = asyncio.ensure_future(site[0].receiver.answer(Envelope(2, 1, 0), Take(handed)))
        await asyncio.sleep(0.1)
        site[0].store.release(1)  # The barrier; not what is taken.
        await asyncio.sleep(0.1)
        adopting = asyncio.ensure_future(site.adopt(Record(3, 1, (1, 2)), 0))
        await asyncio.sleep(0.1)
        site[0].store.release()
        answer = await asked
        await adopting
        assert isinstance(answer.body, Verdicts)
        assert [each.word for each in answer.body.verdicts] == [Word.TAKEN, Word.REFUSED]
        assert (answer.epoch, answer.record) == (2, Record(3, 1, (1, 2)))
        site.end()

    clock.run(work())


def test_a_record_that_wants_another_volume_holds_nothing_up() -> None:
    async def work() -> None:
        site, name = leaving()
        site.start(Record(1, 2))
        await site.adopt(Record(2, 1, (2,), stores={1: "another"}))
        await asyncio.sleep(5)
        assert site.phases(name) == ["none", "held"]
        await site.adopt(Record(3, 1, (2,)))
        await asyncio.sleep(5)
        assert site.phases(name) == ["held", "moved"]
        site.end()

    clock.run(work())


def test_a_session_that_moves_while_its_older_copy_asks_for_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was on its way to a lost store asks where it went; who has it hands it over between the two answers."""

    async def work() -> None:
        site = Site(3)
        name = site.named(2, 0, (3, 2))
        site[1].keep(name, Phase.MOVING, to=0)
        site[2].keep(name, since=3, step=9)
        lost, site[0].disk.id = site[0].disk.id, "new"
        site[0].unreadable = "not now"
        send = Wire.send

        async def late(self: Wire, ordinal: int, envelope: Envelope, message: Message, within: float) -> Answer:
            if isinstance(message, Ask) and ordinal == 2:
                await asyncio.sleep(0.5)  # The other one has answered.
                site[0].unreadable = ""
                await asyncio.sleep(1.0)
                assert site.phases(name)[2] == "moved"
            return await send(self, ordinal, envelope, message, within)

        monkeypatch.setattr(Wire, "send", late)
        site.start(Record(5, 2, (3,), stores={0: "new"}, lost=(lost,)))
        await asyncio.sleep(5)
        assert site.phases(name) == ["held", "moved", "moved"]
        copy = site[0].copy(name)
        assert copy is not None
        assert (copy.step, copy.rewound) == (9, False)
        written = [change.copy for commit in site[1].store.written for change in commit.changes]
        assert [each.phase for each in written if each is not None] == [Phase.MOVED], "it was never held there again"
        site.end()

    clock.run(work())


def adrift(*phases: tuple[int, Phase, int, int | None]) -> tuple[Site, str, Record]:
    """Copies of a session whose place is ordinal 2, whose volume was lost: (ordinal, phase, since, to)."""
    site = Site(3)
    name = site.named(3, 2, (2, 1))
    for ordinal, phase, since, to in phases:
        site[ordinal].keep(name, phase, since=since, to=to, step=since)
    lost, site[2].disk.id = site[2].disk.id, "new"
    return site, name, Record(7, 3, (1, 2, 3), stores={2: "new"}, lost=(lost,))


def test_of_two_copies_on_their_way_to_lost_stores_the_one_that_came_last_goes_on() -> None:
    """Each waited for the other, for ever."""

    async def work() -> None:
        site, name, record = adrift((0, Phase.MOVING, 2, 2), (1, Phase.MOVING, 4, 2))
        site.start(record)
        await asyncio.sleep(5)
        assert site.phases(name) == ["moved", "moved", "held"]
        copy = site[2].copy(name)
        assert copy is not None
        assert (copy.step, copy.rewound) == (4, True)
        written = [change.copy for commit in site[0].store.written for change in commit.changes]
        assert [each.phase for each in written if each is not None] == [Phase.MOVED], "the older one was never held"
        assert all(site[ordinal].membership.clean for ordinal in range(3))
        site.end()

    clock.run(work())


def test_a_copy_whose_receiver_is_lost_waits_for_one_that_is_on_its_way_to_a_store_that_lives() -> None:

    async def work() -> None:
        site, name, record = adrift((0, Phase.MOVING, 2, 2))
        site[1].keep(name, Phase.MOVING, since=4, to=2, step=4)  # Frozen for the new store of ordinal 2.
        site.deaf.add(2)
        site.start(record)
        await asyncio.sleep(5)
        assert site.phases(name) == ["moving", "moving", "none"]
        site.deaf.clear()
        await asyncio.sleep(5)
        assert site.phases(name) == ["moved", "moved", "held"]
        copy = site[2].copy(name)
        assert copy is not None
        assert (copy.step, copy.rewound) == (4, False)
        site.end()

    clock.run(work())


def test_what_was_set_aside_elsewhere_is_no_reason_to_forget_a_good_copy() -> None:
    async def work() -> None:
        site, name, record = adrift((0, Phase.MOVING, 2, 2))
        site[1].disk.quarantined[Key("m", name)] = "torn"
        site.start(record)
        await asyncio.sleep(5)
        assert site.phases(name) == ["moving", "none", "none"]
        del site[1].table.quarantined[Key("m", name)]
        await asyncio.sleep(5)
        assert site.phases(name) == ["moved", "none", "held"]
        site.end()

    clock.run(work())


def test_that_a_lost_store_had_taken_a_session_is_no_reason_to_forget_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its word comes after the record that gives it up: then the copy here may be all that is left."""

    async def work() -> None:
        site, name = leaving()
        site.start(SHRINK)
        send = Wire.send

        async def late(self: Wire, ordinal: int, envelope: Envelope, message: Message, within: float) -> Answer:
            answer = await send(self, ordinal, envelope, message, within)
            if isinstance(message, Take):
                monkeypatch.setattr(Wire, "send", send)
                site[0].crash()
                lost, site[0].disk = site[0].disk.id, Disk()
                record = Record(3, 1, (2,), stores={0: site[0].disk.id}, lost=(lost,))
                site.start(record, 0)
                await site[1].membership.adopt(record)
            return answer

        monkeypatch.setattr(Wire, "send", late)
        await asyncio.sleep(5)
        assert site.phases(name) == ["held", "moved"]
        copy = site[0].copy(name)
        assert copy is not None
        assert (copy.step, copy.rewound) == (3, True)
        site.end()

    clock.run(work())
