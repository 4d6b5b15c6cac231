"""Where a step goes that is not for a session held here."""

import asyncio
import time

import numpy as np
import pytest

from mooring_runtime.errors import Cancelled
from mooring_runtime.errors.sessions import (
    OutcomeUnknown,
    SessionUnavailable,
)
from mooring_runtime.messages import InferRequest, InferResponse, SessionCall, Tensor
from mooring_runtime.sessions import looking
from mooring_runtime.sessions.copies import Kept, Phase, Target
from mooring_runtime.sessions.elsewhere import At, NotHere, Passed
from mooring_runtime.sessions.keys import MINTED, Key, mint
from mooring_runtime.sessions.record import Record
from tests.support.memory_store import Disk
from tests.support.other_replicas import GROWN, HERE, THERE, THIRD, Others, freeze, member, named, passed, thaw
from tests.support.session_plane import MODEL, Asked, SessionPlane, cause, settle, summed
from tests.support.session_runs import on_thread

# --- finding


async def test_a_session_that_is_held_here_is_served_here_wherever_its_place_is() -> None:
    served, others = member(Others(Record(1, 1)))
    session = named(THERE)
    await served.step(session, 1, start=True)
    others.now = GROWN
    assert await served.sum(session, 2) == 3
    assert summed(await passed(served, SessionCall(session)).outcome()) == 4
    assert (others.asked, others.passed) == ([], [])


async def test_a_session_whose_place_is_here_is_created_when_nobody_else_has_it() -> None:
    served, others = member()
    session = named(HERE)
    assert await served.sum(session, 1, start=True) == 1
    assert (others.asked, others.passed) == ([session], [])
    assert served.disk.kept[served.key(session)].copy.since == GROWN.epoch
    assert await served.sum(session, 1) == 2
    assert others.asked == [session], "what is held is asked for no more"


async def test_under_a_settled_record_nobody_is_asked() -> None:
    served, others = member(Others(Record(5, 3)))
    assert await served.sum(named(HERE), 1, start=True) == 1
    assert cause(await served.step(named(HERE, more=1), 1)) == ("unknown", "no")
    assert (others.asked, others.passed) == ([], [])


async def test_a_session_whose_place_is_elsewhere_is_passed_on() -> None:
    served, others = member()
    session = named(THERE)
    assert await served.sum(session, 7, start=True, step=1) == 100
    [(ordinal, request)] = others.passed
    assert (ordinal, request.model, request.request.session) == (THERE, MODEL, SessionCall(session, True, step=1))
    assert (others.asked, len(served.table), served.plane.pending) == ([], 0, 0)


async def test_the_place_tells_who_has_it_and_the_request_goes_there() -> None:
    served, others = member()
    session = named(THERE)

    def pointing(ordinal: int, request: Passed) -> InferResponse:
        if ordinal == THERE:
            raise NotHere(session, THIRD)
        return InferResponse("m", "1", (Tensor("sum", "FP32", np.full((1, 1), 3.0, np.float32)),))

    others.on_pass = pointing
    assert await served.sum(session, 7) == 3
    assert [ordinal for ordinal, _ in others.passed] == [THERE, THIRD]


async def test_a_place_that_has_it_not_passes_a_clients_request_to_who_has() -> None:
    served, others = member()
    others.found = At(THIRD)
    assert await served.sum(named(HERE), 7) == 100
    assert [ordinal for ordinal, _ in others.passed] == [THIRD]


async def test_a_request_that_was_passed_on_goes_nowhere_else() -> None:
    served, others = member()
    others.found = At(THIRD)
    home = await passed(served, SessionCall(named(HERE))).outcome()
    away = await passed(served, SessionCall(named(THERE))).outcome()
    assert isinstance(home, NotHere)
    assert isinstance(away, NotHere)
    assert (home.at, away.at, others.passed) == (THIRD, None, [])


async def test_replicas_that_point_at_each_other_are_not_asked_for_ever() -> None:
    served, others = member()

    def pointing(ordinal: int, request: Passed) -> InferResponse:
        raise NotHere("s", THIRD if ordinal == THERE else THERE)

    others.on_pass = pointing
    assert cause(await served.step(named(THERE), 7)) == ("search", "no")
    assert len(others.passed) == 4


async def test_an_answer_that_was_lost_goes_nowhere_else() -> None:
    served, others = member()

    def lost(ordinal: int, request: Passed) -> InferResponse:
        raise OutcomeUnknown("the answer was lost")

    others.on_pass = lost
    assert cause(await served.step(named(THERE), 7)) == ("outcome-unknown", "unknown")
    assert len(others.passed) == 1


@pytest.mark.parametrize("held", [False, True])
async def test_where_nothing_may_be_done_nothing_is(held: bool) -> None:
    served, others = member(Others(Record(1, 1)))
    if held:
        await served.step("s", 1, start=True)
    others.refusal = SessionUnavailable("another volume", "volume-replaced")
    assert cause(await served.step("s", 1, start=True)) == ("volume-replaced", "no")
    assert cause(await served.begin(SessionCall("", new=True)).outcome()) == ("volume-replaced", "no")
    assert len(served.disk.kept) == held


async def test_unknown_is_said_by_the_place_when_all_have_been_heard() -> None:
    served, others = member()
    assert cause(await served.step(named(HERE), 1)) == ("unknown", "no")
    assert others.asked == [named(HERE)]
    others.now = Record(6, 3, lost=("store",))
    assert cause(await served.step(named(HERE), 1)) == ("maybe-lost", "no")


# --- creating


async def test_what_was_heard_under_another_epoch_proves_nothing() -> None:
    served, others = member()

    def adopt() -> None:
        others.now = Record(7, 3, (1, 2)) if others.now is GROWN else others.now

    others.on_ask = adopt
    assert await served.sum(named(HERE), 1, start=True) == 1
    assert len(others.asked) == 2
    assert served.disk.kept[served.key(named(HERE))].copy.since == 7


async def test_a_record_that_comes_during_the_run_begins_the_search_anew() -> None:
    served, others = member()
    session = named(HERE)
    decide = served.holder.decide

    def decided(entry, step):  # type: ignore[no-untyped-def]
        found = decide(entry, step)
        others.now = Record(7, 3, (1, 2))
        others.found = At(THIRD)
        return found

    served.holder.decide = decided  # type: ignore[method-assign]
    assert await served.sum(session, 1, start=True) == 100
    assert (served.adder.runs, served.disk.kept) == ([1], {})
    assert [ordinal for ordinal, _ in others.passed] == [THIRD]
    assert len(served.table) == 0


@pytest.mark.parametrize("settled", [False, True])
async def test_steps_that_begin_the_search_anew_keep_their_order(settled: bool) -> None:
    served, others = member()
    on_thread(served)
    session = named(HERE)
    first = served.begin(SessionCall(session, start=True, step=1), 1)
    await settle()
    behind = served.begin(SessionCall(session, step=2), 10)
    await settle()
    others.now = Record(7, 3, () if settled else (1, 2))
    gate = served.adder.gate
    assert gate is not None
    gate.release(9)
    assert summed(await first.outcome()) == 1
    assert summed(await behind.outcome()) == 11


async def test_a_copy_that_comes_while_others_are_asked_is_gone_on_with() -> None:
    served, others = member()
    session = named(HERE)
    donor = SessionPlane()
    await donor.step(session, 40, start=True)
    kept = donor.disk.kept[donor.key(session)]

    async def take() -> None:
        async with served.table.turn(served.key(session)) as entry:
            await served.table.write_all([(entry, kept)])

    tasks: list[asyncio.Task[None]] = []
    others.on_ask = lambda: tasks.append(asyncio.ensure_future(take()))
    others.found = At(THERE, moving=True)
    assert await served.sum(session, 2) == 42
    await asyncio.gather(*tasks)


async def test_an_id_of_minted_form_that_does_not_exist_is_reserved() -> None:
    served, others = member()
    minted = mint(HERE)
    assert cause(await served.step(minted, 1, start=True)) == ("reserved-id", "no")
    assert others.asked == [minted], "it might be elsewhere"


async def test_a_member_mints_without_asking_and_one_that_leaves_has_a_member_do_it() -> None:
    served, others = member()
    answer = await served.begin(SessionCall("", new=True)).outcome()
    assert isinstance(answer, InferResponse)
    assert answer.session is not None
    assert MINTED.fullmatch(answer.session.id)
    assert others.asked == []
    others.ordinal = 3
    assert summed(await served.begin(SessionCall("", new=True)).outcome()) == 100
    [(ordinal, request)] = others.passed
    assert ordinal < GROWN.size
    assert request.request.session == SessionCall("", new=True)
    assert isinstance(await passed(served, SessionCall("", new=True)).outcome(), NotHere)


async def test_steps_that_are_looked_for_do_not_overtake_each_other() -> None:
    served, others = member()
    session = named(HERE)
    asked = [served.begin(SessionCall(session, start=number == 1, step=number)) for number in range(1, 5)]
    assert [summed(await each.outcome()) for each in asked] == [1, 2, 3, 4]
    assert others.asked == [session]
    away = named(THERE)
    asked = [served.begin(SessionCall(away, step=number)) for number in range(1, 5)]
    for each in asked:
        await each.outcome()
    steps = [request.request.session.step for _, request in others.passed if request.request.session is not None]
    assert steps == [1, 2, 3, 4]


async def test_a_step_that_waits_behind_one_that_is_looked_for_can_be_withdrawn() -> None:
    served, others = member()
    first, second, third = (served.begin(SessionCall(named(THERE), step=number)) for number in (1, 2, 3))
    for asked in (first, second):
        assert asked.ticket is not None
        asked.ticket.cancel()
    assert [cause(each) for each in second.answers] == [(Cancelled.cause, "no")]
    assert first.answers == [], "it is on its way, and tells when it can"
    assert cause(await first.outcome()) == (Cancelled.cause, "no")
    await third.outcome()
    assert [request.request.session for _, request in others.passed] == [SessionCall(named(THERE), step=3)]
    assert served.plane.pending == 0


async def test_a_request_whose_timeout_passes_while_its_session_is_looked_for_goes_nowhere() -> None:
    served, others = member()

    def point_back(ordinal: int, passed: Passed) -> InferResponse:
        time.sleep(0.03)
        raise NotHere(named(THERE), THIRD)

    others.on_pass = point_back
    request = InferRequest(
        (Tensor("x", "FP32", np.ones((1, 1), np.float32)),), session=SessionCall(named(THERE), step=1), timeout=0.02
    )
    asked = Asked()
    served.plane.infer(MODEL, None, lambda _: request, asked.reply)
    assert cause(await asked.outcome()) == ("timeout", "no")
    assert [ordinal for ordinal, _ in others.passed] == [THERE]


async def test_a_session_that_was_set_aside_is_told_of_wherever_its_place_is() -> None:
    disk = Disk()
    disk.quarantined[Key(MODEL, named(THERE))] = "torn"
    served, others = member(disk=disk)
    assert cause(await passed(served, SessionCall(named(THERE), step=2)).outcome()) == ("quarantined", "no")
    assert others.asked == []


# --- moving


async def test_a_step_waits_for_the_end_of_a_short_move() -> None:
    served, _ = member(Others(Record(1, 1)))
    await served.step("s", 1, start=True)
    await freeze(served, "s")
    asked = served.begin(SessionCall("s"), 2)
    await settle()
    assert asked.answers == []
    await thaw(served, "s")
    assert summed(await asked.outcome()) == 3


async def test_a_step_follows_a_session_that_has_moved() -> None:
    served, others = member(Others(Record(1, 1)))
    session = named(THERE)
    await served.step(session, 1, start=True)
    others.now = Record(5, 3)
    await freeze(served, session)
    asked = served.begin(SessionCall(session), 2)
    await settle()
    await thaw(served, session, Phase.MOVED)
    assert summed(await asked.outcome()) == 100
    assert [ordinal for ordinal, _ in others.passed] == [THERE]


async def test_a_step_that_waited_in_the_queue_when_its_session_froze_is_not_applied() -> None:
    served, others = member(Others(Record(1, 1)))
    session = named(THERE)
    await served.step(session, 1, start=True)
    others.now = Record(5, 3)
    async with served.table.turn(served.key(session)) as entry:
        asked = served.begin(SessionCall(session), 2)
        assert entry.copy is not None
        moving = entry.copy._replace(phase=Phase.MOVING, to=Target(THERE, "store"))
        await served.table.write_all([(entry, Kept(moving, entry.state, entry.replies))], new_state=False)
    await settle()
    await thaw(served, session, Phase.MOVED)
    assert summed(await asked.outcome()) == 100
    assert served.adder.runs == [1]


async def test_a_move_that_takes_too_long_is_told_of() -> None:
    served, others = member(Others(Record(1, 1)))
    session = named(THERE)
    await served.step(session, 1, start=True)
    others.now = Record(5, 3)
    await freeze(served, session)

    def moving(ordinal: int, request: Passed) -> InferResponse:
        raise NotHere(session, moving=True)

    others.on_pass = moving
    assert cause(await served.step(session, 2)) == ("moving", "no")
    told = await passed(served, SessionCall(session)).outcome()
    assert isinstance(told, NotHere)
    assert (told.moving, told.at) == (True, THERE)


@pytest.mark.parametrize("arrived", [True, False])
async def test_after_the_wait_a_step_is_tried_once_where_the_session_goes(
    arrived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its old owner may be slow to write down that it has gone: the client would be told to come back in a second."""
    monkeypatch.setattr(looking, "MOVE_WAIT", -1.0)
    served, others = member()
    session, answers = named(THERE), others.on_pass

    def moves(ordinal: int, request: Passed) -> InferResponse:
        if ordinal == THIRD:
            raise NotHere(session, THERE, moving=True)
        if arrived and len(others.passed) > 1:
            return answers(ordinal, request)
        raise NotHere(session, THIRD)

    others.on_pass = moves
    answer = await served.step(session, 2)
    assert (summed(answer) == 100) if arrived else (cause(answer) == ("moving", "no"))
    asked = [ordinal for ordinal, _ in others.passed]
    assert asked == [THERE, THIRD, THERE] if arrived else [THERE, THIRD, THERE, THIRD]
