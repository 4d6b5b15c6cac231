import asyncio
import threading

import numpy as np
import pytest

from mooring_runtime.dataplane import check
from mooring_runtime.errors import InferenceFailed, InvalidRequest, ModelNotReady, QueueFull, RequestError, UnknownModel
from mooring_runtime.messages import InferRequest, InferResponse, ModelMetadata, Tensor, TensorSpec
from mooring_runtime.scheduling import ALONE
from tests.support.serving import Apart, Served, echo_metadata

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
    served = Served(times=Apart(), limit=2)
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
    served = Served(times=Apart(), limit=2)
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


def tensor(name: str, datatype: str = "FP32", shape: tuple[int, ...] = (1, 2)) -> Tensor:
    return Tensor(name, datatype, np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (InferRequest(()), "model 'echo': input 'in_FP32', 'in_INT8' is missing"),
        (InferRequest((tensor("in_FP32"),)), "model 'echo': input 'in_INT8' is missing"),
        (InferRequest((tensor("x"),)), "model 'echo' has no input 'x'; its inputs are 'in_FP32', 'in_INT8'"),
        (InferRequest((tensor("in_FP32"), tensor("in_FP32"))), "model 'echo': input 'in_FP32' is given twice"),
        (
            InferRequest((tensor("in_INT8"),)),
            "model 'echo': input 'in_INT8' has datatype FP32, it must be INT8",
        ),
        (
            InferRequest((tensor("in_FP32", shape=(1, 3)),)),
            "model 'echo': input 'in_FP32' has shape [1, 3], it must be [-1, 2] where -1 is any size",
        ),
        (
            InferRequest((tensor("in_FP32", shape=(2,)),)),
            "model 'echo': input 'in_FP32' has shape [2], it must be [-1, 2] where -1 is any size",
        ),
        (
            InferRequest((tensor("in_FP32"), tensor("in_INT8", "INT8")), ("z",)),
            "model 'echo' has no output 'z'; its outputs are 'out_FP32', 'out_INT8'",
        ),
        (
            InferRequest((tensor("in_FP32"), tensor("in_INT8", "INT8")), ("out_FP32", "out_FP32")),
            "model 'echo': an output is asked for twice in 'out_FP32', 'out_FP32'",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_told(request_: InferRequest, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(echo_metadata(("FP32", "INT8")), request_)
    assert str(caught.value) == words


def test_outputs_come_as_asked_or_all() -> None:
    metadata = echo_metadata(("FP32", "INT8"))
    inputs = (tensor("in_FP32"), tensor("in_INT8", "INT8"))
    assert check(metadata, InferRequest(inputs))[1] == ("out_FP32", "out_INT8")
    assert check(metadata, InferRequest(inputs, ("out_INT8",)))[1] == ("out_INT8",)


def test_a_model_without_inputs() -> None:
    metadata = ModelMetadata("m", "1", "p", (), (TensorSpec("y", "FP32", (1,)),))
    assert check(metadata, InferRequest(())) == ({}, ("y",), 0, 1, ALONE)
    assert not metadata.batched


def test_draining_is_not_ready_and_still_serves() -> None:
    served = Served()
    assert served.plane.not_ready() is None
    served.plane.draining = True
    assert served.plane.not_ready() == "the server is stopping"
    assert isinstance(ask(served), InferResponse)
