import asyncio

from mooring_runtime.messages import Traits
from mooring_runtime.scheduling import ALONE
from tests.support.batching import Doubler, TestJob, batcher, model


async def test_a_stream_does_not_run_far_ahead_of_the_loop() -> None:
    runner = Doubler()
    taker, _ = batcher(runner, metadata=model(traits=Traits(decoupled=True)))
    job = TestJob(1, like=ALONE)
    job.streamed, job.parameters = True, {"count": 1000}
    taker.submit(job)
    assert await asyncio.to_thread(runner.begun.acquire, True, 1)
    while runner.begun.acquire(timeout=0.05):  # The loop stands still meanwhile.
        pass
    assert len(runner.sizes) - len(job.parts) < 20
    await job.ended.wait()
    assert len(job.parts) == 1000
    taker.close()
