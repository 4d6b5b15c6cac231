"""What a job does when it is told of its end: raise, or take others back. The others are answered all the same."""

import asyncio
import threading
from collections.abc import Hashable

import pytest

from mooring_runtime.errors import InferenceFailed, QueueTimeout
from mooring_runtime.messages import Array, Traits
from mooring_runtime.scheduling import ALONE, Run
from tests.support.batching import Doubler, TestJob, batcher, model


async def ended(*jobs: TestJob) -> None:
    await asyncio.wait_for(asyncio.gather(*(job.ended.wait() for job in jobs)), 1)


class Mute(TestJob):
    """Cannot be told that it fails."""

    def fail(self, error: Exception | None) -> None:
        super().fail(error)
        raise RuntimeError("cannot be told")


class Unwritable(TestJob):
    """Cannot take an answer, nor the second of several."""

    def __init__(self, value: float, like: Hashable = ()) -> None:
        super().__init__(value, like=like)
        self.refused = asyncio.Event()

    def land(self, results: list[Array], run: Run) -> None:
        raise ValueError("cannot be written")

    def part(self, results: list[Array]) -> None:
        super().part(results)
        if len(self.parts) == 2:
            self.refused.set()
            raise ValueError("cannot be written")


class Leader(TestJob):
    """Takes others back when it fails, as a stream of requests that ends with the first failure does."""

    followers: tuple[TestJob, ...] = ()

    def fail(self, error: Exception | None) -> None:
        super().fail(error)
        for job in self.followers:
            job.cancel()


@pytest.mark.parametrize("inline", [True, False])
async def test_a_late_job_may_take_back_others_of_the_same_turn(inline: bool) -> None:
    taker, _ = batcher(Doubler(), inline=inline)
    first, late, follower = Leader(0), Leader(1), TestJob(2)
    for job in (first, late, follower):
        job.arrived = taker.clock()
        job.deadline = job.arrived + (0.0 if job is not follower else 60.0)
    first.followers, late.followers = (late, follower), (first, follower)
    for job in (first, late, follower):
        taker.submit(job)
    await ended(first, late, follower)
    assert isinstance(first.outcome, QueueTimeout)
    assert isinstance(late.outcome, QueueTimeout)
    assert follower.value == 4, "it had its place in the run"
    assert follower.timer is None
    after = TestJob(3)
    taker.submit(after)
    await ended(after)
    assert (after.value, taker.load()) == (6, (0, 0))
    taker.close()


@pytest.mark.parametrize("inline", [True, False])
async def test_a_job_that_cannot_be_told_keeps_nobody_from_hearing(inline: bool) -> None:
    runner = Doubler()
    taker, _ = batcher(runner, inline=inline)
    late, job = Mute(1), TestJob(2)
    late.deadline = taker.clock()
    taker.submit(late)
    taker.submit(job)
    await ended(late, job)
    assert job.value == 4
    runner.refuses = lambda array: True
    refused = [Mute(1), TestJob(2), Mute(3), TestJob(4)]
    for each in refused:
        taker.submit(each)
    await ended(*refused)
    assert {type(each.outcome) for each in refused} == {ValueError}
    waiting = Mute(1)
    taker.submit(waiting)
    waiting.cancel()
    assert (waiting.ended.is_set(), taker.load()) == (True, (0, 0))
    taker.close()


@pytest.mark.parametrize("inline", [True, False])
async def test_an_answer_that_cannot_be_written_fails_its_own_request_only(inline: bool) -> None:
    taker, stats = batcher(Doubler(), inline=inline)
    jobs = [TestJob(0), Unwritable(1), TestJob(2)]
    for job in jobs:
        taker.submit(job)
    await ended(*jobs)
    assert (jobs[0].value, jobs[2].value) == (0, 4)
    assert isinstance(jobs[1].outcome, InferenceFailed)
    assert str(jobs[1].outcome) == "an answer of model 'm' cannot be written: ValueError: cannot be written"
    assert (stats.executions, stats.inferences, stats.successes) == (1, 3, 2)
    alone = Unwritable(1)
    taker.submit(alone)
    await ended(alone)
    assert (stats.executions, stats.successes) == (2, 2)
    taker.close()


async def test_a_stream_of_which_one_answer_cannot_be_written_ends_with_that() -> None:
    runner = Doubler()
    runner.gate = threading.Semaphore(0)
    taker, stats = batcher(runner, metadata=model(traits=Traits(decoupled=True)))
    job = Unwritable(1, like=ALONE)
    job.streamed, job.parameters = True, {"count": 1000}
    taker.submit(job)
    runner.gate.release(2)
    await asyncio.wait_for(job.refused.wait(), 1)
    runner.gate.release(20)
    await ended(job)
    assert isinstance(job.outcome, InferenceFailed)
    assert str(job.outcome).endswith("cannot be written: ValueError: cannot be written")
    assert (len(job.parts), stats.successes) == (2, 0)
    assert len(runner.sizes) < 20
    taker.close()
