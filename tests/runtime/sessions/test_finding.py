"""Who holds a session that is not here, and what is told when nobody says."""

import asyncio

import pytest

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.errors.sessions import OutcomeUnknown, SessionUnavailable
from mooring_runtime.messages import InferResponse
from mooring_runtime.sessions.copies import Phase
from mooring_runtime.sessions.elsewhere import At, NotHere, Passed
from mooring_runtime.sessions.finding import may_hold
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.messages import Ask
from mooring_runtime.sessions.passing import Step
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from tests.support import clock
from tests.support.neighbours import Site, request_of

GROWN = Record(2, 2, (1,))


def passed(session: str = "a", deadline: float | None = None) -> Passed:
    return Passed("m", None, request_of(session), deadline)


async def cause_of(site: Site, key: Key) -> tuple[str, str]:
    with pytest.raises(SessionUnavailable) as caught:
        await site[1].finding.absent(key)
    return caught.value.cause, str(caught.value)


def test_under_a_settled_record_nobody_is_asked() -> None:
    async def work() -> None:
        site = Site(2)
        site.start(Record(1, 2))
        assert await site[1].finding.absent(Key("m", "a")) is None
        assert site.said == []
        site.end()

    clock.run(work())


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (None, None),
        (Phase.MOVED, None),
        (Phase.HELD, At(0)),
        (Phase.MOVING, At(0, moving=True)),
    ],
)
def test_the_word_of_who_may_hold_it(phase: Phase | None, expected: At | None) -> None:
    async def work() -> None:
        site = Site(2)
        name = site.named(2, 1)
        if phase is not None:
            site[0].keep(name, phase, to=1)
        site[1].unreadable = "not now"  # So that it stays where it is.
        site.start(GROWN)
        assert await site[1].finding.absent(Key("m", name)) == expected
        site.end()

    clock.run(work())


def test_whoever_holds_it_settles_the_matter_though_another_is_silent() -> None:
    async def work() -> None:
        site, record = Site(3), Record(3, 2, (1, 3))
        names = (f"s{number}" for number in range(999))
        key = next(key for each in names if may_hold(key := Key("m", each), record, 1) == [0, 2])
        site[0].keep(key.session)
        site[1].unreadable = "not now"  # So that it stays where it is.
        site.deaf.add(2)
        site.start(record, 0, 1)
        assert await site[1].finding.absent(key) == At(0)
        site.end()

    clock.run(work())


def test_who_does_not_answer_is_named() -> None:
    async def work() -> None:
        site = Site(3)
        site.start(GROWN, 0, 1)
        site.deaf.add(0)
        cause, text = await cause_of(site, Key("m", site.named(2, 1)))
        assert cause == "search"
        assert "ordinal 0" in text
        # One that is no member any more, and is not there.
        site.deaf = {2}
        await site.adopt(Record(3, 2, (1, 3)), 0, 1)
        cause, text = await cause_of(site, Key("m", site.named(2, 1, (3, 2))))
        assert cause == "stranded"
        assert "ordinal 2" in text
        site.end()

    clock.run(work())


def test_a_replica_that_is_behind_is_given_the_record_first() -> None:
    async def work() -> None:
        site = Site(2)
        site.start(None, 0)
        site.start(GROWN, 1)
        assert await site[1].finding.absent(Key("m", site.named(2, 1))) is None
        assert site[0].disk.record == GROWN
        site.end()

    clock.run(work())


def test_a_replica_that_is_ahead_makes_us_think_again() -> None:
    async def work() -> None:
        site = Site(2)
        newer = Record(3, 2)
        site.start(newer, 0)
        site.start(GROWN, 1)
        assert await site[1].finding.absent(Key("m", site.named(2, 1))) is None
        assert site[1].disk.record == newer
        site.end()

    clock.run(work())


def test_questions_to_one_ordinal_go_together() -> None:
    async def work() -> None:
        site = Site(2)
        site.start(GROWN)
        keys = [key for number in range(600) if place(key := Key("m", f"s{number}"), 2) == 1]
        found = await asyncio.gather(*[site[1].finding.absent(key) for key in keys])
        assert found == [None] * len(keys)
        asked = [len(message.keys) for _, _, message in site.said if isinstance(message, Ask)]
        assert sum(asked) == len(keys)
        assert len(asked) <= 3
        site.end()

    clock.run(work())


def test_an_answer_is_younger_than_its_question() -> None:
    async def work() -> None:
        site = Site(2)
        site.start(GROWN)
        key = Key("m", site.named(2, 1))
        site[0].store.hold()
        first = asyncio.ensure_future(site[1].finding.absent(key))
        await asyncio.sleep(0.1)  # It is on its way; what is asked now must not share its answer.
        second = asyncio.ensure_future(site[1].finding.absent(key))
        await asyncio.sleep(0.1)
        site[0].store.release()
        assert [await first, await second] == [None, None]
        assert len(site.said) == 2
        site.end()

    clock.run(work())


def test_a_request_that_is_passed_on() -> None:
    async def work() -> None:
        site = Site(2)
        site.start(Record(1, 2))
        finding, forwards = site[1].finding, site[1].stats.forwards
        seen: list[Step] = []

        async def answer(step: Step) -> InferResponse:
            seen.append(step)
            return InferResponse("m", "1", ())

        site[0].steps = answer
        assert (await finding.pass_on(0, passed(deadline=asyncio.get_running_loop().time() + 2.0))).model_name == "m"
        assert seen[0].left is not None
        assert 1.9 < seen[0].left <= 2.0

        async def refuse(step: Step) -> InferResponse:
            raise InvalidRequest("no such input")

        site[0].steps = refuse
        with pytest.raises(InvalidRequest, match="no such input"):
            await finding.pass_on(0, passed())
        site.mute.add(0)
        with pytest.raises(OutcomeUnknown) as lost:
            await finding.pass_on(0, passed())
        assert (lost.value.cause, lost.value.session, lost.value.applied) == ("outcome-unknown", "a", "unknown")
        assert len(site.passed) == 3  # Nothing was sent twice.
        site.deaf.add(0)
        with pytest.raises(SessionUnavailable) as down:
            await finding.pass_on(0, passed())
        assert (down.value.cause, down.value.applied) == ("owner-down", "no")
        assert forwards == {"answered": 2, "outcome-unknown": 1, "owner-down": 1}
        site.end()

    clock.run(work())


def test_not_here_under_a_newer_record_brings_that() -> None:
    async def work() -> None:
        site = Site(2)
        site.start(Record(5, 1), 0)
        site.start(Record(4, 2), 1)

        async def elsewhere(step: Step) -> InferResponse:
            raise NotHere("a", 1)

        site[0].steps = elsewhere
        with pytest.raises(NotHere) as found:
            await site[1].finding.pass_on(0, passed())
        assert found.value.at == 1
        assert site[1].membership.epoch == 5
        site.end()

    clock.run(work())
