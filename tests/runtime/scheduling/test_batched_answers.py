"""A request that shares its run with others gets the answer that it gets alone, from real models."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.messages import Array, Traits
from mooring_runtime.metrics import ModelStats
from mooring_runtime.scheduling import Batcher, Batching
from tests.support import models
from tests.support.batching import Fixed, TestJob

Requests = list[tuple[int, int]]
"""(samples, seed) of each request."""
REQUESTS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1000)), min_size=1, max_size=12)
COMMON = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load(file: Path) -> Backend:
    return loader("onnx")(file, LoadOptions("m", "1", 1))


def answers(backend: Backend, requests: Requests, preferred: tuple[int, ...] = ()) -> tuple[list[Array], list[Array]]:
    """(answers of runs that are shared, answers alone), and that the first really were shared."""

    async def run() -> list[TestJob]:
        stats = ModelStats("m", "1")
        metadata = backend.metadata.with_traits(Traits(max_batch=16))
        taker = Batcher(
            backend, metadata, stats, batching=Batching(preferred_sizes=preferred), times=Fixed(inline=True)
        )
        jobs = []
        for rows, seed in requests:
            job = TestJob(rows=rows)
            shape = tuple(rows if size < 0 else size for size in metadata.inputs["x"].shape)
            job.feeds = {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}
            jobs.append(job)
            taker.submit(job)
        await asyncio.gather(*(job.ended.wait() for job in jobs))
        rows = sum(rows for rows, _ in requests)
        assert stats.inferences == rows
        assert stats.executions < len(requests) or len(requests) == 1 or rows > 16
        return jobs

    jobs = asyncio.run(run())
    shared = []
    for job in jobs:
        assert isinstance(job.outcome, list), job.outcome
        shared.append(job.outcome[0])
    return shared, [backend.infer(job.feeds, ("y",))[0] for job in jobs]


@COMMON
@given(REQUESTS, st.sampled_from([(), (4, 8, 16)]))
def test_an_elementwise_model_gives_the_same_bits(
    tmp_path: Path, requests: Requests, preferred: tuple[int, ...]
) -> None:
    shared, alone = answers(load(models.scaled(tmp_path / "scaled.onnx", 1.7)), requests, preferred)
    assert [each.tobytes() for each in shared] == [each.tobytes() for each in alone]
    assert [each.shape for each in shared] == [each.shape for each in alone]


@COMMON
@given(REQUESTS)
def test_a_matrix_product_gives_the_same_up_to_rounding(tmp_path: Path, requests: Requests) -> None:
    shared, alone = answers(load(models.perceptron(tmp_path / "perceptron.onnx")), requests)
    for one, other in zip(shared, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_request_that_the_model_refuses_fails_alone(tmp_path: Path, bad: int) -> None:
    backend = load(models.gather(tmp_path / "gather.onnx"))

    async def run() -> list[TestJob]:
        taker = Batcher(backend, backend.metadata, ModelStats("m", "1"), times=Fixed(inline=True))
        jobs = [TestJob() for _ in range(3)]
        for number, job in enumerate(jobs):
            job.feeds = {"index": np.array([99 if number == bad else number], np.int64)}
            taker.submit(job)
        await asyncio.gather(*(job.ended.wait() for job in jobs))
        return jobs

    jobs = asyncio.run(run())
    assert [job.value for number, job in enumerate(jobs) if number != bad] == [n for n in range(3) if n != bad]
    assert isinstance(jobs[bad].outcome, Exception)
