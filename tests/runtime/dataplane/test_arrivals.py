"""What a rule of autoscaling lives on: each request of a client is counted as it comes, whatever becomes of it."""

import asyncio
import threading

import numpy as np
import pytest

from mooring_runtime.errors import QueueFull, RequestError
from mooring_runtime.errors.sessions import SessionConflict
from mooring_runtime.messages import InferRequest, InferResponse, SessionCall, Tensor
from mooring_runtime.metrics import Aims
from mooring_runtime.sessions.elsewhere import Passed
from mooring_runtime.sessions.record import Record
from tests.support.grpc_served import GrpcServed, request_of
from tests.support.other_replicas import HERE, THERE, Others, member, named, passed
from tests.support.serving import Apart, Served
from tests.support.session_plane import MODEL, SessionPlane, cause

V2 = b'{"inputs": [{"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}'
V1 = b'{"instances": [[1, 2]]}'
HTTP = {
    "/v2/models/echo/infer": V2,
    "/v2/models/echo/versions/1/infer": V2,
    "/v2/models/echo/generate": b'{"in_FP32": [1, 2]}',
    "/v1/models/echo:predict": V1,
    "/v1/models/echo/versions/1:predict": V1,
    "/predictions/echo": V1,
    "/invocations": V1,
}
ARRAY = np.array([[1, 2]], np.float32)
REQUEST = InferRequest((Tensor("in_FP32", "FP32", ARRAY),))


@pytest.mark.parametrize("target", HTTP)
def test_http_counts_whom_it_answers_and_whom_it_refuses(target: str) -> None:
    served = Served(aims=Aims(queue=1))
    served.ask("POST", target, HTTP[target], {b"Content-Type": b"application/json"})
    assert (served.stats.received, served.stats.rejected["queue_full"]) == (1, 0)
    served.plane.pending = 1
    reply = served.ask("POST", target, HTTP[target], {b"Content-Type": b"application/json"})
    assert (reply.status, reply.headers) == (503, ((b"Retry-After", b"1"),))
    assert (served.stats.received, served.stats.rejected["queue_full"]) == (2, 1)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_grpc_counts_whom_it_answers_and_whom_it_refuses(method: str) -> None:
    grpc = GrpcServed(aims=Aims(queue=1))
    stats = grpc.served.stats
    grpc.ask(method, request_of(in_FP32=("FP32", ARRAY)))
    assert (stats.received, stats.successes) == (1, 1)
    grpc.served.plane.pending = 1
    grpc.ask(method, request_of(in_FP32=("FP32", ARRAY)))
    assert (stats.received, stats.rejected["queue_full"]) == (2, 1)


def test_a_request_that_another_replica_passes_on_is_counted_there() -> None:
    served = Served()
    answers: list[InferResponse | RequestError] = []
    served.plane.infer("echo", None, lambda _: REQUEST, answers.append, passed_on=True)
    assert isinstance(answers[0], InferResponse)
    assert (served.stats.received, served.stats.successes) == (0, 1)


class Crowd:
    """So many requests behind one that runs until `end`."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.answers: asyncio.Queue[InferResponse | RequestError] = asyncio.Queue()
        self.gate = threading.Event()

    def hold(self) -> None:
        assert self.gate.wait(1)

    def ask(self) -> None:
        self.served.plane.infer("echo", None, lambda _: REQUEST, self.answers.put_nowait)

    async def gather(self, count: int) -> None:
        self.served.backend.hook = self.hold
        self.ask()
        await asyncio.sleep(0)
        for _ in range(count):
            self.ask()
        assert self.served.model.batcher.load() == (count, 1)
        assert self.answers.empty()

    async def end(self) -> None:
        self.gate.set()
        for _ in range(self.served.plane.pending):
            assert isinstance(await self.answers.get(), InferResponse)
        self.served.model.close()


async def test_no_more_wait_than_the_target_has_time_for() -> None:
    served = Served(times=Apart(), aims=Aims(target=0.0801))
    for size in (1, 32):
        served.model.times.curve.observe(size, 0.001 * size)
    served.model.times.curve.warmed()  # So 40 ms are 40 samples.
    crowd = Crowd(served)
    await crowd.gather(40)
    crowd.ask()
    refused = crowd.answers.get_nowait()
    assert isinstance(refused, QueueFull)
    assert "40 requests waiting, which take half of MOORING_LATENCY_TARGET" in str(refused)
    assert refused.retry_after == 1
    assert (served.stats.received, served.stats.rejected["queue_full"]) == (42, 1)
    await crowd.end()


async def test_the_bound_that_a_user_has_set_is_the_only_one() -> None:
    served = Served(times=Apart(), aims=Aims(target=0.08, queue=60))
    for size in (1, 32):
        served.model.times.curve.observe(size, 0.001 * size)
    crowd = Crowd(served)
    await crowd.gather(59)
    crowd.ask()
    assert "60 requests waiting, as many as MOORING_QUEUE allows" in str(crowd.answers.get_nowait())
    await crowd.end()


async def test_a_model_that_has_not_run_yet_lets_wait_what_any_may() -> None:
    served = Served(times=Apart(), aims=Aims(target=0.0801))
    crowd = Crowd(served)
    await crowd.gather(100)
    await crowd.end()


async def test_steps_are_arrivals_and_their_runs_are_measured() -> None:
    served = SessionPlane()
    [stats] = served.page.models()
    await served.sum("s", 1, start=True)
    await served.sum("s", 2, step=2)
    await served.sum("s", 2, step=2)
    assert served.holder.stats.repeats[MODEL] == 1
    refused = await served.step("s", 1, step=9)
    assert isinstance(refused, RequestError)
    assert stats.received == 4
    told = stats.capacity()
    assert told is not None
    assert told.curve is not None
    assert told.mean > 0


async def test_a_step_that_another_replica_passes_on_is_counted_there() -> None:
    served = SessionPlane()
    [stats] = served.page.models()
    await served.begin(SessionCall("s", start=True), passed_on=True).outcome()
    assert (stats.received, stats.successes) == (0, 1)


async def test_a_step_that_is_refused_is_counted_where_its_client_is_told() -> None:
    served, others = member(Others(Record(5, 3)))
    here, there = named(HERE), named(THERE)
    await served.sum(here, 1, start=True, step=1)
    for call, told in (SessionCall(here, step=9), "gap"), (SessionCall(there, step=2), "search"):
        assert cause(await passed(served, call).outcome()) == (told, "no")
    assert served.holder.stats.refused == {}

    def refuse(ordinal: int, passed: Passed) -> InferResponse:
        raise SessionConflict("the next one is 2", "gap")

    others.on_pass = refuse
    assert cause(await served.step(there, 1, step=9)) == ("gap", "no")
    assert served.holder.stats.refused == {(MODEL, "gap"): 1}
