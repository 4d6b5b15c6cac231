"""ModelStreamInfer: many requests and answers on one call, and models that give any number of answers."""

import asyncio
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from mooring_runtime.errors import QueueFull
from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.frontends.grpc import frames
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.service import SERVICE
from tests.support.grpc_line import Answer
from tests.support.grpc_served import GrpcServed, request_of
from tests.support.serving import Inline, Served
from tests.support.speaker import Speaker

STREAM = f"/{SERVICE}/ModelStreamInfer"


def stream_of(grpc: GrpcServed, *requests: Any, end: bool = True, **headers: str) -> Any:
    grpc.line.open(1, STREAM, **headers)
    for index, request in enumerate(requests):
        grpc.line.data(1, framed(request.SerializeToString()), end=end and index == len(requests) - 1)
    answer = grpc.line.answer(1)
    return [pb.ModelStreamInferResponse.FromString(message) for message in answer.messages], answer


def asking(identity: str, name: str = "echo") -> Any:
    request = request_of(name, in_FP32=("FP32", np.array([[1, len(identity)]], np.float32)))
    request.id = identity
    return request


def test_a_stream_answers_each_request_with_its_id() -> None:
    replies, answer = stream_of(GrpcServed(), asking("a"), asking("bb"), asking(""))
    assert [reply.infer_response.id for reply in replies] == ["a", "bb", ""]
    assert replies[1].infer_response.raw_output_contents == [np.array([1, 2], np.float32).tobytes()]
    assert not replies[0].infer_response.parameters
    assert answer.status == 0


def test_a_failure_does_not_end_the_stream() -> None:
    replies, answer = stream_of(GrpcServed(), asking("a"), asking("b", "other"), asking("c"))
    assert [bool(reply.error_message) for reply in replies] == [False, True, False]
    assert "unknown model 'other'" in replies[1].error_message
    assert [reply.infer_response.id for reply in replies] == ["a", "b", "c"]
    assert answer.status == 0


def test_a_failure_ends_the_stream_of_who_asked_for_that() -> None:
    replies, answer = stream_of(GrpcServed(), asking("a"), asking("b", "other"), asking("c"), triton_grpc_error="true")
    assert [reply.infer_response.id for reply in replies] == ["a"]
    assert answer.status == GrpcCode.NOT_FOUND


def test_bytes_that_are_no_message_are_a_failure_of_one_request() -> None:
    grpc = GrpcServed()
    grpc.line.open(1, STREAM)
    grpc.line.data(1, framed(b"\xff\xff") + framed(asking("a").SerializeToString()))
    first, second = [pb.ModelStreamInferResponse.FromString(message) for message in grpc.line.answer(1).messages]
    assert "no ModelInferRequest" in first.error_message
    assert second.infer_response.id == "a"


def test_a_client_that_sends_ahead_is_stopped_by_its_window() -> None:
    """Nothing is answered here, so that requests pile up: 64 are taken, the others wait in the stream."""
    served_ = Served()
    waiting: list[Any] = []

    def keep(name: str, version: str | None, decode: Any, reply: Any, **_: Any) -> None:
        waiting.append(reply)

    served_.plane.infer = keep  # type: ignore[method-assign]
    grpc = GrpcServed(served_)
    _, _ = stream_of(grpc, *[asking(str(number)) for number in range(200)], end=False)
    assert len(waiting) == 64
    [call] = grpc.line.connection.streams.values()
    assert call.held
    for reply in waiting[:40]:
        reply(QueueFull("full"))
    assert len(waiting) > 64


@pytest.mark.parametrize("name", ["echo", "other"])
async def test_a_client_that_sends_and_does_not_read_is_stopped_by_its_window(name: str) -> None:
    """Answers and failures wait for its window, and no more of its requests are taken, until it reads."""
    grpc = GrpcServed()
    grpc.line.settings({frames.INITIAL_WINDOW_SIZE: 0})
    grpc.line.open(1, STREAM)
    [call] = grpc.line.connection.streams.values()
    message = framed(asking("x" * 12_000, name).SerializeToString())  # An answer says the id again.
    sent = call.credit // len(message)
    for _ in range(sent):
        grpc.line.data(1, message, end=False)
    assert call.held
    assert 2**20 < call.waiting < 2**20 + 20_000
    answers = Answer()
    while call.held or call.waiting:
        await asyncio.sleep(0)
        grpc.line.window(1, 2**18)
        for each in grpc.line.frames():
            if each.stream == 1:
                answers.add(each, grpc.line.decoder)
    assert len(answers.messages) == sent
    assert call.credit > 2**21, "and it may send again"


async def decoupled(count: int, *, asks: bool, fails: bool = False) -> list[Any]:
    """The replies of a model that gives `count` answers; `asks` for the empty last one."""
    grpc = GrpcServed(Served(backend=Speaker(fails=fails), times=Inline()))
    request = request_of(
        "speaker", text_input=("BYTES", np.array([b"hi"], object)), count=("INT32", np.array([count], np.int32))
    )
    request.id = "7"
    if asks:
        request.parameters["triton_enable_empty_final_response"].bool_param = True
    replies, _ = stream_of(grpc, request)
    while grpc.line.connection.streams:  # noqa: ASYNC110 - the connection has no event for tests
        await asyncio.sleep(0)
    later = grpc.line.answer(1).messages
    return [*replies, *[pb.ModelStreamInferResponse.FromString(message) for message in later]]


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_decoupled_model_gives_any_number_of_answers(count: int, asks: bool) -> None:
    replies = await decoupled(count, asks=asks)
    told = [reply.infer_response for reply in replies]
    assert [each.raw_output_contents[0][4:] for each in told[:count]] == [b"hi %d" % n for n in range(count)]
    assert [each.parameters["triton_final_response"].bool_param for each in told] == [False] * count + [True] * asks
    assert all(each.id == "7" for each in told)
    if asks:
        assert not told[-1].outputs


async def test_a_decoupled_model_may_fail_after_some_answers() -> None:
    replies = await decoupled(2, asks=True, fails=True)
    assert [reply.error_message for reply in replies] == ["", "", "lost its voice"]
    assert replies[-1].infer_response.id == "7"


def test_one_answer_is_not_for_models_that_give_many() -> None:
    request = request_of(
        "speaker", text_input=("BYTES", np.array([b"hi"], object)), count=("INT32", np.array([1], np.int32))
    )
    answer = GrpcServed(Served(backend=Speaker())).ask("ModelInfer", request)
    assert answer.status == GrpcCode.UNIMPLEMENTED
    assert "ask it by ModelStreamInfer" in answer.trailers["grpc-message"]
