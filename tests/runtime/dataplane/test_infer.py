import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest

from mooring_runtime.errors import (
    InferenceFailed,
    InvalidRequest,
    ModelNotReady,
    QueueFull,
    QueueTimeout,
    RequestError,
    UnknownModel,
)
from mooring_runtime.messages import Array, InferRequest, InferResponse, ModelMetadata, Parameter, Tensor, Traits
from mooring_runtime.metrics import Aims
from tests.support.serving import Apart, EchoBackend, Served, echo_metadata

X = Tensor("in_FP32", "FP32", np.zeros((3, 2), np.float32))
REQUEST = InferRequest((X,), id="7")
Answer = InferResponse | RequestError


def ask(served: Served, request: InferRequest = REQUEST, name: str = "echo", version: str | None = None) -> Answer:
    answers: list[Answer] = []
    served.plane.infer(name, version, lambda _: request, answers.append)
    [answer] = answers
    return answer


def test_the_answer_has_names_version_and_id() -> None:
    answer = ask(Served())
    assert isinstance(answer, InferResponse)
    assert (answer.model_name, answer.model_version, answer.id) == ("echo", "1", "7")
    assert [tensor.name for tensor in answer.outputs] == ["out_FP32"]


def test_a_success_is_counted() -> None:
    served = Served()
    ask(served)
    stats = served.stats
    assert (stats.received, stats.successes, stats.executions, stats.inferences) == (1, 1, 1, 3)
    assert (sum(stats.request.counts), sum(stats.queue.counts), sum(stats.compute.counts)) == (1, 1, 1)
    assert served.plane.pending == 0


def test_a_refusal_is_counted_and_runs_nothing() -> None:
    served = Served()
    answer = ask(served, InferRequest(()))
    assert isinstance(answer, InvalidRequest)
    assert (served.stats.received, served.stats.rejected["invalid"], served.stats.failures["REJECTED"]) == (1, 1, 1)
    assert (served.backend.runs, served.plane.pending, sum(served.stats.request.counts)) == (0, 0, 0)


def test_an_unknown_model_or_version() -> None:
    assert isinstance(ask(Served(), name="other"), UnknownModel)
    assert isinstance(ask(Served(), version="2"), UnknownModel)


def test_a_model_that_loads_refuses_and_counts() -> None:
    served = Served()
    served.model._batcher = None
    answer = ask(served)
    assert isinstance(answer, ModelNotReady)
    assert (served.stats.received, served.stats.rejected["not_ready"]) == (1, 1)


@pytest.mark.parametrize("error", [InferenceFailed("the model failed: x"), ZeroDivisionError("x")])
def test_a_failing_model_is_the_servers_fault_and_says_how(error: Exception) -> None:
    served = Served()

    def fail() -> None:
        raise error

    served.backend.hook = fail
    answer = ask(served)
    assert isinstance(answer, InferenceFailed)
    assert "x" in str(answer)
    assert served.stats.failures["BACKEND"] == 1
    assert served.plane.pending == 0


async def test_the_bound_refuses_before_the_body_is_read() -> None:
    served = Served(times=Apart(), aims=Aims(queue=2))
    gate = threading.Event()
    served.backend.hook = lambda: assert_true(gate.wait(1))
    answers: asyncio.Queue[Answer] = asyncio.Queue()
    for _ in range(2):
        assert served.plane.infer("echo", None, lambda _: REQUEST, answers.put_nowait) is not None

    def decode(_: ModelMetadata) -> InferRequest:
        raise AssertionError("decoded although there is no room")

    served.plane.infer("echo", None, decode, answers.put_nowait)
    refused = await answers.get()
    assert isinstance(refused, QueueFull)
    assert str(refused) == "model 'echo' has 2 requests waiting, as many as MOORING_QUEUE allows"
    assert refused.retry_after == 1
    assert (served.stats.received, served.stats.rejected["queue_full"]) == (3, 1)
    gate.set()
    for _ in range(2):
        assert isinstance(await answers.get(), InferResponse)
    assert served.plane.pending == 0
    served.model.close()


def assert_true(value: object) -> None:
    assert value


async def test_a_request_taken_back_frees_its_place() -> None:
    served = Served(times=Apart(), aims=Aims(queue=2))
    gate = threading.Event()
    served.backend.hook = lambda: assert_true(gate.wait(1))
    answers: asyncio.Queue[Answer] = asyncio.Queue()
    served.plane.infer("echo", None, lambda _: REQUEST, answers.put_nowait)
    ticket = served.plane.infer("echo", None, lambda _: REQUEST, answers.put_nowait)
    assert ticket is not None
    ticket.cancel()
    assert getattr(await answers.get(), "cause", "") == "cancelled"
    assert served.plane.pending == 1
    assert served.stats.failures["CANCELED"] == 1
    gate.set()
    assert isinstance(await answers.get(), InferResponse)
    served.model.close()


def test_draining_is_not_ready_and_still_serves() -> None:
    served = Served()
    assert served.plane.not_ready() is None
    served.plane.draining = True
    assert served.plane.not_ready() == "the server is stopping"
    assert isinstance(ask(served), InferResponse)


class Counting(EchoBackend):
    """Gives as many answers as the parameter `count` says."""

    def stream(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, Parameter]
    ) -> Iterator[list[Array]]:
        for _ in range(int(parameters.get("count", 0))):
            yield self.infer(inputs, outputs)


async def answers_of(served: Served, request: InferRequest) -> list[Answer]:
    """Every answer, up to the final one."""
    answers: asyncio.Queue[Answer] = asyncio.Queue()
    served.plane.infer("echo", None, lambda _: request, answers.put_nowait)
    found = [await answers.get()]
    while isinstance(found[-1], InferResponse) and not found[-1].final:
        found.append(await answers.get())
    return found


async def test_a_decoupled_model_answers_again_and_again_and_then_says_that_it_is_done() -> None:
    metadata = echo_metadata().with_traits(Traits(decoupled=True))
    served = Served(times=Apart(), backend=Counting(metadata))
    found = await answers_of(served, REQUEST._replace(parameters={"count": 3}))
    assert [(len(each.outputs), each.final, each.id) for each in found if isinstance(each, InferResponse)] == [
        (1, False, "7"),
        (1, False, "7"),
        (1, False, "7"),
        (0, True, "7"),
    ]
    assert (served.stats.successes, served.stats.replies, served.stats.executions) == (1, 3, 1)
    assert served.plane.pending == 0
    served.model.close()


async def test_a_decoupled_model_that_fails_says_so_after_its_answers() -> None:
    served = Served(times=Apart(), backend=Counting(echo_metadata().with_traits(Traits(decoupled=True))))
    backend = served.model.batcher._runner
    assert isinstance(backend, Counting)

    def fail() -> None:
        if backend.runs == 2:
            raise InferenceFailed("the model failed: x")

    backend.hook = fail
    found = await answers_of(served, REQUEST._replace(parameters={"count": 3}))
    assert len(found) == 2
    assert isinstance(found[-1], InferenceFailed)
    assert (served.stats.successes, served.stats.failures["BACKEND"], served.plane.pending) == (0, 1, 0)
    served.model.close()


async def test_parameters_go_to_a_model_that_takes_them_and_only_there() -> None:
    served = Served(times=Apart(), backend=Counting(echo_metadata().with_traits(Traits(parameters=True))))
    [answer] = await answers_of(served, REQUEST._replace(parameters={"count": 1}))
    assert isinstance(answer, InferResponse)
    [answer] = await answers_of(served, REQUEST)
    assert isinstance(answer, InferResponse)
    served.model.close()
    [answer] = await answers_of(Served(times=Apart()), REQUEST._replace(parameters={"count": 0}))
    assert isinstance(answer, InferResponse)


async def test_a_timeout_that_passes_while_a_request_waits_is_told_with_its_cause() -> None:
    served = Served(times=Apart())
    gate = threading.Event()
    served.backend.hook = lambda: assert_true(gate.wait(1))
    answers: asyncio.Queue[Answer] = asyncio.Queue()
    served.plane.infer("echo", None, lambda _: REQUEST, answers.put_nowait)
    await asyncio.sleep(0)
    served.plane.infer("echo", None, lambda _: REQUEST._replace(timeout=0.001), answers.put_nowait)
    late = await answers.get()
    assert isinstance(late, QueueTimeout)
    assert (late.http_status, late.cause, late.retry_after) == (503, "timeout", 1)
    assert (served.stats.rejected["timeout"], served.stats.failures["REJECTED"]) == (1, 1)
    gate.set()
    assert isinstance(await answers.get(), InferResponse)
    assert (served.backend.runs, served.plane.pending) == (1, 0)
    served.model.close()


async def test_requests_of_one_turn_share_a_run_and_each_gets_its_own_answer() -> None:
    served = Served()
    served.model.batcher.loop = None
    answers: asyncio.Queue[Answer] = asyncio.Queue()
    for value in range(4):
        request = InferRequest((Tensor("in_FP32", "FP32", np.full((1, 2), value, np.float32)),), id=str(value))
        served.plane.infer("echo", None, lambda _, request=request: request, answers.put_nowait)  # type: ignore[misc]
    found = [await answers.get() for _ in range(4)]
    assert [(each.id, each.outputs[0].array.tolist()) for each in found if isinstance(each, InferResponse)] == [
        (str(value), [[value, value]]) for value in range(4)
    ]
    assert (served.stats.executions, served.stats.inferences, served.stats.successes) == (1, 4, 4)


def test_an_ended_request_lets_go_of_its_tensors_and_of_its_front_end() -> None:
    served = Served()
    tickets = [served.plane.infer("echo", None, lambda _: REQUEST, lambda _: None)]
    assert tickets[0] is not None
    assert (tickets[0].feeds, tickets[0].reply) == ({}, None)  # type: ignore[attr-defined]
