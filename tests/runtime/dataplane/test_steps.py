"""Steps through the data plane: queue, version, run, commit, reply."""

import asyncio
import math

import numpy as np
import pytest

from mooring_runtime.errors import Cancelled, InferenceFailed, QueueTimeout
from mooring_runtime.errors.sessions import SessionRefused
from mooring_runtime.messages import InferRequest, InferResponse, SessionCall, Tensor
from mooring_runtime.sessions.budget import Limits
from mooring_runtime.sessions.copies import Phase
from mooring_runtime.sessions.keys import MINTED
from tests.support.memory_store import Disk
from tests.support.session_plane import MODEL, Asked, SessionPlane, cause, schema, settle, summed, told
from tests.support.session_runs import doubling, on_thread


async def test_steps_of_a_session_go_on_from_each_other() -> None:
    served = SessionPlane()
    assert await served.sum("s", 1, start=True) == 1
    assert await served.sum("s", 2) == 3
    assert await served.sum("s", 3) == 6
    assert await served.sum("t", 10, start=True) == 10
    assert served.holder.stats.steps == {MODEL: 4}
    assert served.holder.stats.created == {MODEL: 2}
    assert served.plane.pending == 0


async def test_an_answer_says_where_its_session_stands() -> None:
    served = SessionPlane(limits=Limits(ttl=60_000), now=lambda: 1000)
    first = told(await served.step("s", start=True))
    second = told(await served.step("s", end=True))
    assert (first.id, first.step, first.repeat, first.durable, first.ended, first.expires) == (
        "s",
        1,
        False,
        None,
        False,
        61_000,
    )
    assert (second.step, second.incarnation, second.ended, second.expires) == (2, first.incarnation, True, None)


async def test_what_was_acknowledged_is_there_after_a_crash() -> None:
    disk = Disk()
    served = SessionPlane(disk)
    for value in range(1, 5):
        await served.sum("s", value, start=value == 1)
    served.store.crash()
    again = SessionPlane(disk)
    assert await again.sum("s", 5) == 15


async def test_nothing_is_answered_before_it_is_on_disk() -> None:
    served = SessionPlane()
    served.store.hold()
    asked = served.begin(SessionCall("s", start=True))
    await settle()
    assert asked.answers == []
    served.store.release()
    assert summed(await asked.outcome()) == 1


async def test_a_numbered_step_is_applied_once_however_often_it_is_sent() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True, step=1)
    for repeat in (False, True, True):
        answer = await served.step("s", 2, step=2)
        assert (summed(answer), told(answer).repeat, told(answer).step) == (3, repeat, 2)
    assert cause(await served.step("s", 9, step=2)) == ("mismatch", "no")
    assert cause(await served.step("s", 9, step=4)) == ("gap", "no")
    assert await served.sum("s", 3) == 6
    assert served.holder.stats.repeats == {MODEL: 2}
    assert served.holder.stats.refused == {(MODEL, "mismatch"): 1, (MODEL, "gap"): 1}


async def test_a_repeat_that_comes_while_the_first_runs_waits_for_it() -> None:
    served = SessionPlane()
    on_thread(served)
    assert served.adder.gate is not None
    first, second = (served.begin(SessionCall("s", start=True, step=1)) for _ in range(2))
    await settle()
    assert (first.answers, second.answers) == ([], [])
    served.adder.gate.release()
    assert not told(await first.outcome()).repeat
    assert told(await second.outcome()).repeat
    assert served.adder.runs == [1]


async def test_the_last_steps_of_an_ended_session_can_be_repeated_and_nothing_else() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True, step=1)
    await served.step("s", 2, step=2, end=True)
    answer = await served.step("s", 2, step=2, end=True)
    assert (summed(answer), told(answer).repeat, told(answer).ended) == (3, True, True)
    assert cause(await served.step("s", 2, step=3)) == ("ended", "no")
    assert served.disk.kept[served.key("s")].state == ()


async def test_a_session_nobody_knows() -> None:
    served = SessionPlane()
    assert cause(await served.step("s", 2)) == ("unknown", "no")
    assert cause(await served.step("0." + "a" * 26, start=True)) == ("reserved-id", "no")
    assert len(served.table) == 0


async def test_a_new_session_gets_an_id_of_this_replica() -> None:
    served = SessionPlane()
    info = told(await served.begin(SessionCall("", new=True)).outcome())
    assert MINTED.fullmatch(info.id)
    assert info.id.startswith("0.")
    assert await served.sum(info.id, 4) == 5


async def test_a_start_over_a_live_session_begins_a_new_life() -> None:
    served = SessionPlane()
    served.watch_ends()
    first = told(await served.step("s", 5, start=True))
    second = await served.step("s", 7, start=True)
    assert (summed(second), told(second).step) == (7, 1)
    assert cause(await served.step("s", 1, incarnation=first.incarnation)) == ("restarted", "no")
    assert await served.sum("s", 1, incarnation=told(second).incarnation) == 8
    assert served.holder.stats.ended == {(MODEL, "restarted"): 1}
    await asyncio.to_thread(served.sessions.close)
    assert cause(await served.step("s", 6, start=True, step=1)) == ("exists", "no")


async def test_a_run_that_fails_changes_nothing_and_its_number_stays_free() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    before = served.disk.kept[served.key("s")]
    failed = await served.step("s", math.nan, step=2)
    assert isinstance(failed, InferenceFailed)
    assert failed.applied == "no"
    assert served.disk.kept[served.key("s")] == before
    assert await served.sum("s", 2, step=2) == 3


async def test_a_commit_that_fails_changes_nothing() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    served.store.full = True
    assert cause(await served.step("s", 2, step=2)) == ("volume-full", "no")
    assert cause(await served.step("t", 2, start=True)) == ("volume-full", "no")
    served.store.full = False
    assert await served.sum("s", 2, step=2) == 3
    assert served.table.get(served.key("t")) is None


async def test_one_sample_a_step() -> None:
    served = SessionPlane()
    for rows in (0, 2):
        assert cause(await served.begin(SessionCall("s", start=True), rows=rows).outcome()) == ("bad-session", "no")
    assert len(served.table) == 0


async def test_a_request_without_a_session() -> None:
    served = SessionPlane()
    asked = Asked()
    request = InferRequest((Tensor("x", "FP32", np.zeros((1, 1), np.float32)),))
    served.plane.infer(MODEL, None, lambda _: request, asked.reply)
    error = await asked.outcome()
    assert cause(error)[0] == "bad-session"
    assert "sequence_id" in str(error)


async def test_before_the_volume_is_open() -> None:
    served = SessionPlane()
    served.plane.sessions, served.plane.unopened = None, "the volume is not open"
    error = await served.step("s", start=True)
    assert cause(error)[0] == "not_ready" or "not open" in str(error)
    assert served.plane.not_ready() == "the volume is not open"


async def test_inputs_that_the_model_does_not_take() -> None:
    served = SessionPlane()
    asked = Asked()
    request = InferRequest((Tensor("z", "FP32", np.zeros((1, 1), np.float32)),), session=SessionCall("s", start=True))
    served.plane.infer(MODEL, None, lambda _: request, asked.reply)
    assert cause(await asked.outcome()) == ("invalid", "no")
    assert len(served.table) == 0


# --- clients that hang up


async def test_a_step_that_waits_for_its_turn_is_withdrawn() -> None:
    served = SessionPlane()
    on_thread(served)
    assert served.adder.gate is not None
    first = served.begin(SessionCall("s", start=True), 1)
    second, third = (served.begin(SessionCall("s"), value) for value in (2, 4))
    assert second.ticket is not None
    second.ticket.cancel()
    assert isinstance(await second.outcome(), Cancelled)
    served.adder.gate.release(2)
    assert summed(await first.outcome()) == 1
    assert summed(await third.outcome()) == 5
    assert served.plane.pending == 0


async def test_a_step_that_waits_for_a_run_is_withdrawn() -> None:
    served = SessionPlane()
    on_thread(served)
    assert served.adder.gate is not None
    other = served.begin(SessionCall("other", start=True))
    await settle()
    asked = served.begin(SessionCall("s", start=True))
    assert asked.ticket is not None
    asked.ticket.cancel()
    assert cause(await asked.outcome()) == (Cancelled.cause, "no")
    served.adder.gate.release(1)
    await other.outcome()
    assert served.table.get(served.key("s")) is None
    assert served.adder.runs == [1]


async def test_a_step_that_runs_is_applied_whole_and_the_session_can_be_used() -> None:
    served = SessionPlane()
    on_thread(served)
    assert served.adder.gate is not None
    asked = served.begin(SessionCall("s", start=True))
    await settle()
    assert asked.ticket is not None
    asked.ticket.cancel()
    served.adder.gate.release(2)
    assert await served.sum("s", 2) == 3
    assert len(asked.answers) == 1


async def test_a_timeout_that_passes_before_the_turn() -> None:
    """However long the step before it takes: a run that hangs would else keep all others of its session waiting."""
    served = SessionPlane()
    on_thread(served)
    assert served.adder.gate is not None
    first = served.begin(SessionCall("s", start=True))
    await settle()
    asked = Asked()
    tensors = (Tensor("x", "FP32", np.ones((1, 1), np.float32)),)
    request = InferRequest(tensors, timeout=0.001, session=SessionCall("s"))
    served.plane.infer(MODEL, None, lambda _: request, asked.reply)
    assert cause(await asked.outcome()) == ("timeout", "no")
    assert first.answers == []
    served.adder.gate.release(2)
    assert summed(await first.outcome()) == 1
    assert await served.sum("s", 2) == 3, "it was not applied"
    assert served.plane.pending == 0


async def test_a_timeout_that_passes_before_the_run() -> None:
    served = SessionPlane()
    on_thread(served)
    assert served.adder.gate is not None
    first = served.begin(SessionCall("other", start=True))
    await settle()
    asked = Asked()
    tensors = (Tensor("x", "FP32", np.zeros((1, 1), np.float32)),)
    request = InferRequest(tensors, timeout=0.001, session=SessionCall("s", start=True))
    served.plane.infer(MODEL, None, lambda _: request, asked.reply)
    error = await asked.outcome()
    assert isinstance(error, QueueTimeout)
    assert error.applied == "no"
    served.adder.gate.release(1)
    await first.outcome()


# --- sharing runs


async def test_steps_of_different_sessions_share_a_run_and_those_of_one_never_do() -> None:
    served = SessionPlane()
    asked = [served.begin(SessionCall(name, start=True), value) for name, value in (("a", 1), ("b", 2), ("c", 3))]
    again = [served.begin(SessionCall("a"), 10), served.begin(SessionCall("b"), 10)]
    assert [summed(await each.outcome()) for each in asked] == [1, 2, 3]
    assert [summed(await each.outcome()) for each in again] == [11, 12]
    assert served.adder.runs == [3, 2]


async def test_one_step_that_the_model_refuses_fails_no_other() -> None:
    served = SessionPlane()
    good, bad = (served.begin(SessionCall(name, start=True), value) for name, value in (("a", 1), ("b", math.nan)))
    assert summed(await good.outcome()) == 1
    assert cause(await bad.outcome()) == ("backend", "no")


@pytest.mark.timeout(60)
async def test_interleaved_sessions_give_what_each_gives_alone() -> None:
    """To the bit, whatever shares a run with them."""
    count = 10_000
    random = np.random.default_rng(5)
    values = random.standard_normal((count, 3)).astype(np.float32)
    together = SessionPlane()
    outcomes: list[list[float]] = [[] for _ in range(count)]
    for number in range(3):
        asked = [
            together.begin(SessionCall(str(session), start=number == 0), float(values[session, number]))
            for session in random.permutation(count).tolist()
        ]
        for each in asked:
            outcome = await each.outcome()
            outcomes[int(told(outcome).id)].append(summed(outcome))
    assert max(together.adder.runs) > 1
    state = np.zeros((count, 1), np.float32)
    for number in range(3):
        state += values[:, number : number + 1]
        assert [each[number] for each in outcomes] == state[:, 0].tolist()


# --- states that are on disk only


async def test_a_session_that_is_not_in_memory_goes_on() -> None:
    served = SessionPlane(budget=1)
    for name in "abc":
        await served.step(name, 1, start=True)
    assert sum(entry.read for entry in served.table) == 1
    assert [await served.sum(name, 2) for name in "abc"] == [3, 3, 3]


async def test_a_torn_session_is_told_of() -> None:
    disk = Disk()
    await SessionPlane(disk).step("s", 1, start=True)
    served = SessionPlane(disk)
    served.store.corrupt(served.key("s"), "checksum")
    for call in ({}, {"start": True}):
        assert cause(await served.step("s", 1, **call)) == ("quarantined", "no")
    assert await served.sum("t", 1, start=True) == 1


# --- limits


async def test_a_state_that_is_too_big_is_not_kept() -> None:
    served = SessionPlane(limits=Limits(session_bytes=8))
    await served.step("s", 1, start=True)
    served.load("2", schema(3), doubling(schema(3)))
    error = await served.step("s", 2)
    assert isinstance(error, SessionRefused)
    assert cause(error) == ("session-too-big", "no")
    assert served.disk.kept[served.key("s")].copy.step == 1


async def test_a_state_does_not_keep_the_run_that_made_it_in_memory() -> None:
    served = SessionPlane()
    for each in [served.begin(SessionCall(str(number), start=True)) for number in range(8)]:
        await each.outcome()
    assert served.adder.runs == [8]
    for entry in served.table:
        assert all(tensor.array.base is None for tensor in entry.state)
        assert all(tensor.array.base is None for reply in entry.replies for tensor in reply.outputs)


async def test_a_model_is_told_of_the_end() -> None:
    served = SessionPlane()
    served.watch_ends()
    await served.step("s", 1, start=True)
    await served.step("s", 2, end=True)
    for _ in range(100):
        if served.adder.ends:
            break
        await asyncio.sleep(0.001)
    assert served.adder.ends == [("s", [3.0, 2.0], "ended")]


async def test_the_answers_of_a_fault_in_the_numbers_is_that_the_step_was_applied() -> None:
    served = SessionPlane()

    def broken() -> None:
        raise ValueError("broken")

    served.holder.hooks = broken
    answer = await served.step("s", 1, start=True, end=True)
    assert isinstance(answer, InferResponse)
    assert served.disk.kept[served.key("s")].copy.phase is Phase.HELD
    assert cause(await served.step("s", 1)) == ("ended", "no")
