import asyncio
import threading
import time

import pytest

from mooring_runtime.errors import Cancelled, InferenceFailed, QueueTimeout
from mooring_runtime.messages import Traits
from mooring_runtime.scheduling import ALONE, Batching
from tests.support.batching import Doubler, TestJob, batcher, model


async def all_of(*jobs: TestJob) -> None:
    await asyncio.gather(*(job.ended.wait() for job in jobs))


async def begun(runner: Doubler) -> None:
    assert await asyncio.to_thread(runner.begun.acquire, True, 1)


async def test_what_one_turn_delivers_is_one_run() -> None:
    runner = Doubler()
    taker, stats = batcher(runner)
    jobs = [TestJob(value) for value in range(5)]
    for job in jobs:
        taker.submit(job)
    assert runner.sizes == []
    await all_of(*jobs)
    assert runner.sizes == [5]
    assert [job.value for job in jobs] == [0, 2, 4, 6, 8]
    assert (stats.executions, stats.inferences, stats.successes) == (1, 5, 5)
    assert (stats.batch.counts[3], stats.runs[5].count) == (1, 1)
    assert sum(stats.queue.counts) == sum(stats.request.counts) == 5


async def test_a_single_client_does_not_wait_for_a_timer() -> None:
    runner = Doubler()
    taker, _ = batcher(runner, batching=Batching(max_delay=10.0))
    job = TestJob(3)
    taker.submit(job)
    await asyncio.sleep(0)
    assert job.value == 6


@pytest.mark.parametrize("inline", [True, False])
async def test_more_than_a_run_takes_becomes_several(inline: bool) -> None:
    runner = Doubler()
    taker, _ = batcher(runner, inline=inline)
    jobs = [TestJob(value, rows=3) for value in range(7)]
    for job in jobs:
        taker.submit(job)
    await all_of(*jobs)
    assert runner.sizes == [6, 6, 6, 3]
    assert [job.value for job in jobs] == [2 * value for value in range(7)]
    taker.close()


async def test_different_shapes_never_share_a_run() -> None:
    runner = Doubler()
    taker, _ = batcher(runner)
    narrow, wide = [TestJob(1, like=2) for _ in range(3)], [TestJob(2, like=4, width=4) for _ in range(2)]
    for job in (narrow[0], wide[0], narrow[1], wide[1], narrow[2]):
        taker.submit(job)
    await all_of(*narrow, *wide)
    assert runner.sizes == [3, 2]
    assert {job.value for job in narrow} == {2}
    assert {job.value for job in wide} == {4}


async def test_a_model_that_does_not_batch_runs_one_by_one() -> None:
    runner = Doubler()
    taker, _ = batcher(runner, metadata=model(1))
    jobs = [TestJob(value, like=ALONE) for value in range(3)]
    for job in jobs:
        taker.submit(job)
    await all_of(*jobs)
    assert runner.sizes == [1, 1, 1]


async def test_runs_are_filled_up_to_a_preferred_size_and_cut_again() -> None:
    runner = Doubler()
    taker, stats = batcher(runner, batching=Batching(preferred_sizes=(4, 8)))
    jobs = [TestJob(value) for value in range(5)]
    for job in jobs:
        taker.submit(job)
    await all_of(*jobs)
    single = TestJob(7)
    taker.submit(single)
    await all_of(single)
    assert runner.sizes == [8, 4]
    assert [job.value for job in jobs] == [0, 2, 4, 6, 8]
    assert single.value == 14
    assert (stats.inferences, sorted(stats.runs)) == (6, [1, 5])


@pytest.mark.parametrize("inline", [True, False])
async def test_one_bad_request_does_not_fail_its_neighbours(inline: bool) -> None:
    runner = Doubler()
    runner.refuses = lambda array: bool((array == 3).any())
    taker, stats = batcher(runner, inline=inline)
    jobs = [TestJob(value) for value in range(5)]
    for job in jobs:
        taker.submit(job)
    await all_of(*jobs)
    assert [job.value for job in jobs if job is not jobs[3]] == [0, 2, 4, 8]
    assert isinstance(jobs[3].outcome, ValueError)
    assert (stats.executions, stats.inferences, stats.successes) == (4, 4, 4)
    taker.close()


async def test_a_model_whose_outputs_are_no_samples_is_not_batched_again() -> None:
    class Summing(Doubler):
        def infer(self, inputs, outputs):  # type: ignore[no-untyped-def]
            [array] = super().infer(inputs, outputs)
            return [array[:1]]

    runner = Summing()
    taker, _ = batcher(runner)
    for expected in ([3, 1, 1, 1], [1, 1, 1]):
        runner.sizes.clear()
        jobs = [TestJob(value) for value in range(3)]
        for job in jobs:
            taker.submit(job)
        await all_of(*jobs)
        assert runner.sizes == expected
        assert [job.value for job in jobs] == [0, 2, 4]


async def test_the_next_batch_forms_while_one_runs() -> None:
    runner = Doubler()
    runner.gate = threading.Semaphore(0)
    taker, _ = batcher(runner, inline=False)
    first = TestJob(0)
    taker.submit(first)
    await begun(runner)
    rest = [TestJob(value) for value in range(1, 5)]
    for job in rest:
        taker.submit(job)
    assert taker.load() == (4, 1)
    assert taker.age() > 0
    assert taker.busy() > 0
    runner.gate.release(2)
    await all_of(first, *rest)
    assert runner.sizes == [1, 4]
    assert set(runner.threads) == {"model"}
    assert taker.load() == (0, 0)
    assert taker.age() == taker.busy() == 0
    taker.close()


async def test_the_next_run_begins_before_the_answers_of_the_last_are_given() -> None:
    runner = Doubler()
    runner.gate = threading.Semaphore(0)
    taker, _ = batcher(runner, inline=False)
    running: list[bool] = []

    class Watching(TestJob):
        def land(self, results, run):  # type: ignore[no-untyped-def]
            running.append(taker.busy() > 0)
            super().land(results, run)

    first, second = Watching(0), Watching(1)
    taker.submit(first)
    await begun(runner)
    taker.submit(second)
    runner.gate.release(2)
    await all_of(first, second)
    assert running == [True, False]
    taker.close()


async def test_waiting_jobs_are_taken_back_and_running_ones_are_not() -> None:
    runner = Doubler()
    runner.gate = threading.Semaphore(0)
    taker, _ = batcher(runner, inline=False)
    first, second, third = TestJob(0), TestJob(1), TestJob(2)
    taker.submit(first)
    await begun(runner)
    taker.submit(second)
    taker.submit(third)
    second.cancel()
    first.cancel()
    assert second.ended.is_set()
    assert second.outcome is None
    runner.gate.release(2)
    await all_of(first, third)
    second.cancel()
    assert (first.value, third.value, runner.sizes) == (0, 4, [1, 1])
    taker.close()


async def test_a_job_whose_time_passes_is_told_and_never_runs() -> None:
    runner = Doubler()
    runner.gate = threading.Semaphore(0)
    taker, _ = batcher(runner, inline=False)
    first, late = TestJob(0), TestJob(1)
    taker.submit(first)
    await begun(runner)
    late.arrived = taker.clock()
    late.deadline = late.arrived + 0.01
    taker.submit(late)
    await late.ended.wait()
    assert isinstance(late.outcome, QueueTimeout)
    assert taker.load() == (0, 1)
    runner.gate.release(1)
    await all_of(first)
    assert runner.sizes == [1]
    taker.close()


async def test_a_job_that_is_in_time_hears_nothing_of_its_deadline() -> None:
    runner = Doubler()
    taker, _ = batcher(runner)
    job = TestJob(1)
    job.deadline = taker.clock() + 60
    taker.submit(job)
    assert job.timer is not None
    await all_of(job)
    assert job.value == 2
    assert job.timer is None


async def test_the_most_urgent_run_first() -> None:
    runner = Doubler()
    taker, _ = batcher(runner, metadata=model(2))
    order: list[float] = []

    class Ordered(TestJob):
        def land(self, results, run):  # type: ignore[no-untyped-def]
            super().land(results, run)
            order.append(self.value / 2)

    levels = [10, 10, 1, 50, 1, 10]
    jobs = [Ordered(value) for value in range(len(levels))]
    for job, level in zip(jobs, levels, strict=True):
        job.level = level
        taker.submit(job)
    await all_of(*jobs)
    assert order == [2, 4, 0, 1, 5, 3]


async def test_long_inline_work_lets_others_have_their_turn() -> None:
    runner = Doubler()

    def slow(array: object) -> bool:
        until = time.perf_counter() + 0.0004
        while time.perf_counter() < until:
            pass
        return False

    runner.refuses = slow
    taker, _ = batcher(runner, metadata=model(1))
    jobs = [TestJob(value, like=ALONE) for value in range(20)]
    for job in jobs:
        taker.submit(job)
    turns = 0
    while not jobs[-1].ended.is_set():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 4


async def test_a_decoupled_model_gives_its_answers_one_by_one() -> None:
    runner = Doubler()
    metadata = model(traits=Traits(decoupled=True))
    taker, _ = batcher(runner, metadata=metadata)
    job = TestJob(1, like=ALONE)
    job.streamed, job.parameters = True, {"count": 3}
    taker.submit(job)
    await all_of(job)
    assert [float(part[0][0, 0]) for part in job.parts] == [2, 2, 2]
    assert job.outcome == []
    assert set(runner.threads) == {"model"}
    taker.close()


async def test_a_stream_that_goes_on_does_not_seem_to_hang() -> None:
    runner = Doubler()
    runner.gate = threading.Semaphore(0)
    taker, _ = batcher(runner, metadata=model(traits=Traits(decoupled=True)))
    now = 0.0
    taker.clock = lambda: now
    job = TestJob(1, like=ALONE)
    job.streamed, job.parameters = True, {"count": 2}
    taker.submit(job)
    await begun(runner)
    now = 500.0
    assert taker.busy() == 500
    runner.gate.release()
    await begun(runner)
    assert taker.busy() == 0
    now = 700.0
    assert taker.busy() == 200
    runner.gate.release()
    await all_of(job)
    taker.close()


async def test_the_answers_of_a_decoupled_model_end_when_its_client_hangs_up() -> None:
    runner = Doubler()
    runner.gate = threading.Semaphore(0)
    taker, _ = batcher(runner, metadata=model(traits=Traits(decoupled=True)))
    job = TestJob(1, like=ALONE)
    job.streamed, job.parameters = True, {"count": 1000}
    taker.submit(job)
    await begun(runner)
    job.cancel()
    runner.gate.release(5)
    await all_of(job)
    assert isinstance(job.outcome, Cancelled)
    assert len(runner.sizes) < 5
    taker.close()


@pytest.mark.parametrize("count", [1, 0, 2])
async def test_a_model_that_takes_parameters_gives_one_answer(count: int) -> None:
    runner = Doubler()
    taker, _ = batcher(runner, metadata=model(traits=Traits(parameters=True)))
    job = TestJob(1, like=ALONE)
    job.streamed, job.parameters = True, {"count": count}
    taker.submit(job)
    await all_of(job)
    if count == 1:
        assert job.value == 2
    else:
        assert isinstance(job.outcome, InferenceFailed)
    taker.close()


async def test_closing_waits_for_what_waits_and_ends_the_thread() -> None:
    runner = Doubler()
    runner.gate = threading.Semaphore(0)
    taker, _ = batcher(runner, inline=False)
    jobs = [TestJob(value) for value in range(2)]
    others = set(threading.enumerate())
    taker.submit(jobs[0])
    await begun(runner)
    [thread] = [each for each in threading.enumerate() if each not in others and each.name == "model"]
    taker.submit(jobs[1])
    closed = asyncio.Event()
    taker.close(closed.set)
    assert not closed.is_set()
    runner.gate.release(2)
    await all_of(*jobs)
    await closed.wait()
    await asyncio.to_thread(thread.join, 1)
    assert not thread.is_alive()


async def test_a_front_end_that_fails_does_not_keep_the_answers_of_others() -> None:
    class Broken(TestJob):
        def land(self, results, run):  # type: ignore[no-untyped-def]
            raise RuntimeError("broken")

    taker, _ = batcher(Doubler())
    broken, job = Broken(1), TestJob(2)
    taker.submit(broken)
    taker.submit(job)
    await all_of(job)
    assert job.value == 4


async def test_clients_that_come_back_at_once_are_waited_for_and_share_their_runs() -> None:
    """Closed-loop clients against a model of 3 ms: after a while nearly all share each run."""
    runner = Doubler()

    def slow(array: object) -> bool:
        time.sleep(0.003)
        return False

    runner.refuses = slow
    taker, _ = batcher(runner, inline=False)
    end = time.perf_counter() + 0.5

    async def client() -> None:
        while time.perf_counter() < end:
            job = TestJob(1)
            job.arrived = taker.clock()
            taker.submit(job)
            await job.ended.wait()

    await asyncio.gather(*(client() for _ in range(4)))
    late = runner.sizes[len(runner.sizes) // 2 :]
    assert sum(late) / len(late) > 2.5
    taker.close()
