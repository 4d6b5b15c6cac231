"""Steps whose surroundings change or fail while they are under way."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mooring_runtime.errors import ModelNotReady, RequestError
from mooring_runtime.messages import Array, InferRequest, InferResponse, SessionCall, Tensor
from mooring_runtime.repository.converter import StateConverter
from mooring_runtime.sessions.budget import Limits
from mooring_runtime.sessions.copies import Copy, Kept, Phase
from tests.support.session_plane import MODEL, Outcome, SessionPlane, cause, schema, settle, summed, told
from tests.support.session_runs import doubling


class SlowConversion:
    """Makes states of `schema(3)` when it is let."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.converter = StateConverter(schema(3), self._convert)

    def _convert(self, old: Mapping[str, Array], _: str) -> Mapping[str, Array]:
        self.begun.set()
        assert self.gate.wait(1)
        return {"h_in": np.pad(old["h_in"], ((0, 0), (0, 1)))}


async def test_a_model_that_is_loaded_again_during_a_conversion_runs_the_step() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    slow = SlowConversion()
    served.load("2", schema(3), slow.converter)
    first = served.repository.find(MODEL, "2")
    asked = served.begin(SessionCall("s"), 5)
    assert await asyncio.to_thread(slow.begun.wait, 1)
    again = served.load("2", schema(3), slow.converter)
    await first.retire()
    slow.gate.set()
    assert summed(await asked.outcome()) == 6
    assert again.runs == [1]


async def test_a_model_that_is_unloaded_during_a_conversion_refuses_the_step() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    slow = SlowConversion()
    served.load("2", schema(3), slow.converter)
    model = served.repository.find(MODEL, "2")
    asked = served.begin(SessionCall("s"), 5)
    assert await asyncio.to_thread(slow.begun.wait, 1)
    await model.retire()
    slow.gate.set()
    refused = await asked.outcome()
    assert isinstance(refused, ModelNotReady)
    assert refused.applied == "no"
    served.repository.remove(model)
    assert await served.sum("s", 2) == 3, "its session is free"


async def test_a_conversion_that_does_not_end_is_seen() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    assert list(served.sessions.busy()) == []
    slow, begun = SlowConversion(), served.plane.clock()
    served.load("2", schema(3), slow.converter)
    asked = served.begin(SessionCall("s"), 5)
    assert await asyncio.to_thread(slow.begun.wait, 1)
    [(name, seconds)] = served.sessions.busy()
    assert (name, 0 <= seconds <= served.plane.clock() - begun) == (MODEL, True)
    slow.gate.set()
    assert summed(await asked.outcome()) == 6
    assert list(served.sessions.busy()) == []


async def test_a_slow_conversion_holds_up_no_other_model() -> None:
    served = SessionPlane()
    slow = SlowConversion()
    state = (Tensor("h_in", "FP32", np.ones((1, 2), np.float32)),)
    kept = Kept(Copy(Phase.HELD, 1), state)
    one = served.sessions.convert("one", slow.converter, kept)
    assert await asyncio.to_thread(slow.begun.wait, 1)
    same = served.sessions.convert("one", doubling(schema(3)), kept)
    other = served.sessions.convert("other", doubling(schema(3)), kept)
    assert (await asyncio.wrap_future(other))[0].array.tolist() == [[2, 2, 0]]
    assert not same.done(), "those of one model wait for each other"
    slow.gate.set()
    await asyncio.gather(*map(asyncio.wrap_future, (one, same)))
    served.sessions.close()


async def test_a_client_that_hangs_up_during_a_conversion_takes_its_step_back() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    slow = SlowConversion()
    adder = served.load("2", schema(3), slow.converter)
    asked = served.begin(SessionCall("s"), 5)
    assert await asyncio.to_thread(slow.begun.wait, 1)
    assert asked.ticket is not None
    asked.ticket.cancel()
    slow.gate.set()
    assert cause(await asked.outcome())[1] == "no"
    assert adder.runs == []
    assert await served.sum("s", 2) == 3


async def test_what_a_model_writes_into_its_inputs_is_not_taken_for_what_the_client_sent() -> None:
    served = SessionPlane()
    real = served.adder.infer

    def careless(inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        results = real(inputs, outputs)
        inputs["x"][:] = 0
        return results

    served.adder.infer = careless  # type: ignore[method-assign]
    for step in (1, 2):
        await served.step("s", 7, start=step == 1, step=step)
    for step in (1, 2):
        assert told(await served.step("s", 7, start=step == 1, step=step)).repeat


async def test_an_answer_that_cannot_be_written_is_told_as_applied() -> None:
    served = SessionPlane()
    outcomes: list[Outcome] = []
    told_all = asyncio.Event()

    def reply(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if isinstance(outcome, RequestError):
            told_all.set()
        if isinstance(outcome, InferResponse):
            raise ValueError("not to be written")  # noqa: TRY004 - a fault

    request = InferRequest((Tensor("x", "FP32", np.ones((1, 1), np.float32)),), session=SessionCall("s", start=True))
    served.plane.infer(MODEL, None, lambda _: request, reply)
    await asyncio.wait_for(told_all.wait(), 1)
    [_, error] = outcomes
    assert isinstance(error, RequestError)
    assert (error.cause, error.applied) == ("backend", "yes")
    assert served.plane.pending == 0
    assert await served.sum("s", 1) == 2


async def test_the_time_of_a_step_ends_with_its_commit() -> None:
    served = SessionPlane()
    now = 100.0
    served.plane.clock = lambda: now
    served.repository.find(MODEL, None).batcher.clock = lambda: now
    stats = served.repository.find(MODEL, None).stats
    served.store.hold()
    asked = served.begin(SessionCall("s", start=True))
    while not served.store.waiting:  # noqa: ASYNC110 - the run may be on a thread
        await asyncio.sleep(0)
    assert (stats.successes, sum(stats.request.counts)) == (0, 0), "it has no answer yet"
    now = 103.0
    served.store.release()
    await asked.outcome()
    assert (stats.successes, sum(stats.request.counts), stats.request.total) == (1, 1, 3.0)
    assert (sum(stats.queue.counts), stats.queue.total) == (1, 0.0)


async def test_a_step_whose_commit_fails_is_no_success() -> None:
    served = SessionPlane()
    stats = served.repository.find(MODEL, None).stats
    served.store.fail()
    await served.step("s", 1, start=True)
    assert (stats.successes, sum(stats.request.counts), stats.failures["OTHER"]) == (0, 0, 1)


async def test_a_step_that_has_ended_lets_go_of_its_state() -> None:
    served = SessionPlane()
    asked = served.begin(SessionCall("s", start=True))
    await asked.outcome()
    await served.holder.end(served.key("s"))
    gone: Any = asked.ticket
    assert gone is not None
    assert not gone.kept.state
    assert not gone.kept.replies


async def test_steps_ahead_of_the_disk_are_not_forgotten_for_want_of_memory() -> None:
    served = SessionPlane(limits=Limits(lazy=True), budget=0)
    for session in "abc":
        await served.step(session, 1, start=True)
    for _ in range(3):
        for session in "abc":
            await served.step(session, 10)
    served.store.flush()
    await settle()
    for session in "abc":
        answer = await served.step(session, 100)
        assert (told(answer).step, summed(answer)) == (5, 131)
