"""The model's thread: one that cannot be had, and what is seen of one that runs."""

import asyncio
import threading

import pytest

from mooring_runtime.errors import Unavailable
from mooring_runtime.messages import Array
from mooring_runtime.scheduling import Run
from tests.support.batching import Doubler, TestJob, batcher


async def test_a_thread_that_cannot_start_fails_what_waits_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    taker, _ = batcher(Doubler(), inline=False)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        jobs = [TestJob(value, like=like) for value, like in ((1, 2), (2, 4))]  # Two batches.
        for job in jobs:
            taker.submit(job)
        await asyncio.wait_for(asyncio.gather(*(job.ended.wait() for job in jobs)), 1)
    for job in jobs:
        assert isinstance(job.outcome, Unavailable)
        assert "model 'm' cannot run: can't start new thread; raise the container's limit of processes" in str(
            job.outcome
        )
    assert (taker.load(), taker.busy()) == ((0, 0), 0)
    later = TestJob(3)
    taker.submit(later)
    await asyncio.wait_for(later.ended.wait(), 1)
    assert later.value == 6
    taker.close()


class KeepingJob(TestJob):
    keeps_results = True

    def land(self, results: list[Array], run: Run) -> None:
        assert all(array.base is None for array in results), "a view keeps the results of all the others in memory"
        super().land(results, run)


@pytest.mark.parametrize("inline", [False, True])
async def test_jobs_that_keep_their_results_get_arrays_of_their_own(inline: bool) -> None:
    taker, _ = batcher(Doubler(), inline=inline)
    jobs = [KeepingJob(value) for value in range(4)]
    for job in jobs:
        taker.submit(job)
    await asyncio.wait_for(asyncio.gather(*(job.ended.wait() for job in jobs)), 1)
    assert [job.value for job in jobs] == [0, 2, 4, 6]
    taker.close()


async def test_each_run_of_a_failed_batch_counts_by_itself_for_who_looks_for_one_that_hangs() -> None:
    runner = Doubler()
    runner.gate = threading.Semaphore(0)
    runner.refuses = lambda array: True
    taker, _ = batcher(runner, inline=False)
    now = 0.0
    taker.clock = lambda: now
    jobs = [TestJob(value) for value in range(3)]
    for job in jobs:
        taker.submit(job)
    seen = []
    for _run in range(4):  # All of them, then each alone.
        assert await asyncio.to_thread(runner.begun.acquire, True, 1)
        seen.append(taker.busy())
        now += 100.0
        seen.append(taker.busy())
        runner.gate.release()
    await asyncio.wait_for(asyncio.gather(*(job.ended.wait() for job in jobs)), 1)
    assert seen == [0, 100] * 4
    assert runner.sizes == [3, 1, 1, 1]
    taker.close()
