"""How clients of gRPC name sessions, and what they are told: in unary calls and in streams."""

import asyncio
import json
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from mooring_runtime.dataplane import Decode, Reply
from mooring_runtime.errors import InferenceFailed, QueueFull, QueueTimeout
from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.errors.sessions import ReplyGone, SessionConflict
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.service import SERVICE
from mooring_runtime.messages import InferRequest, SessionCall, SessionInfo, Tensor
from tests.support.grpc_line import Answer
from tests.support.grpc_served import GrpcServed, request_of
from tests.support.serving import Served
from tests.support.stateful_plane import INCARNATION, MINTED, StatefulPlane, echoed, services


class Stands:
    """A plane, as `GrpcServed` takes it."""

    def __init__(self, plane: StatefulPlane) -> None:
        self.services = services(plane)


class Stateful(GrpcServed):
    """The gRPC front end on a plane."""

    def __init__(self) -> None:
        self.plane = StatefulPlane()
        stands: Any = Stands(self.plane)
        super().__init__(stands)

    def converse(self, *requests: Any, **metadata: str) -> tuple[list[Any], Answer]:
        """The replies of a stream of these requests."""
        self.line.open(1, f"/{SERVICE}/ModelStreamInfer", **metadata)
        for request in requests:
            self.line.data(1, framed(request.SerializeToString()), end=request is requests[-1])
        answer = self.line.answer(1)
        return [pb.ModelStreamInferResponse.FromString(message) for message in answer.messages], answer


def step(value: float = 1.0, **parameters: Any) -> Any:
    request = request_of("echo", in_FP32=("FP32", np.array([[value, 2]], np.float32)))
    for name, each in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(each)]
        setattr(request.parameters[name], kind, each)
    return request


def parameters(response: Any) -> dict[str, Any]:
    return {name: getattr(each, each.WhichOneof("parameter_choice")) for name, each in response.parameters.items()}


TOLD = {"sequence_id": "a", "sequence_step": 3, "sequence_incarnation": str(INCARNATION)}


# --- unary calls


def test_parameters_name_a_session_and_answers_tell_of_it_twice() -> None:
    grpc = Stateful()
    answer = grpc.ask("ModelInfer", step(sequence_id="a", sequence_start=True, sequence_end=False, sequence_step=3))
    assert answer.status == 0
    [message] = answer.messages
    response = pb.ModelInferResponse.FromString(message)
    assert parameters(response) == TOLD
    assert response.raw_output_contents == [np.array([1, 2], np.float32).tobytes()]
    assert {name: value for name, value in answer.headers.items() if name.startswith("x-")} == {
        "x-mooring-session": "a",
        "x-mooring-step": "3",
        "x-mooring-incarnation": str(INCARNATION),
    }
    request = step()
    request.parameters["sequence_id"].uint64_param = 2**64 - 1
    assert parameters(grpc.infer(request))["sequence_id"] == str(2**64 - 1)
    assert grpc.plane.calls == [SessionCall("a", start=True, step=3), SessionCall(str(2**64 - 1))]


def test_metadata_name_a_session() -> None:
    grpc = Stateful()
    new = grpc.ask("ModelInfer", step(), x_mooring_session="new")
    assert new.headers["x-mooring-session"] == MINTED
    metadata = {"x_mooring_session": "%C3%A4", "x_mooring_session_start": "true", "x_mooring_session_end": "true"}
    told = grpc.ask("ModelInfer", step(), x_mooring_step="3", x_mooring_incarnation="5", **metadata)
    assert told.headers["x-mooring-session"] == "%C3%A4"
    assert told.headers["x-mooring-session-end"] == "true"
    assert grpc.plane.calls == [SessionCall("", new=True), SessionCall("ä", True, True, False, 3, 5)]


def test_requests_that_are_understood_by_their_beginning_keep_their_own_session() -> None:
    grpc = Stateful()
    for number in range(3):
        for session in ("a", "b"):
            grpc.infer(step(number, sequence_id=session))
            grpc.infer(step(number), x_mooring_session=session)
        grpc.infer(step(number))
    named = [SessionCall("a")] * 2 + [SessionCall("b")] * 2 + [None]
    assert grpc.plane.calls == named * 3
    values = [request.inputs[0].array[0, 0] for request in grpc.plane.asked]
    assert values == [number for number in range(3) for _ in range(5)]


@pytest.mark.parametrize(
    ("request_", "metadata", "cause"),
    [
        (step(sequence_id=7), {"x_mooring_session": "8"}, "bad-session"),
        (step(sequence_id=7, sequence_step=1), {"x_mooring_step": "2"}, "bad-step"),
        (step(sequence_start=True), {}, "bad-session"),
        (step(sequence_id=-7), {}, "bad-session"),
        (step(sequence_id="a", sequence_step=0), {}, "bad-step"),
        (step(), {"x_mooring_session": "%ff"}, "bad-session"),
    ],
)
def test_what_cannot_be_meant(request_: Any, metadata: dict[str, str], cause: str) -> None:
    grpc = Stateful()
    answer = grpc.ask("ModelInfer", request_, **metadata)
    assert answer.status == GrpcCode.INVALID_ARGUMENT
    assert (answer.trailers["mooring-cause"], answer.trailers["mooring-applied"]) == (cause, "no")
    assert grpc.plane.asked == []


def told(answer: Answer) -> dict[str, str]:
    return {name.removeprefix("mooring-"): value for name, value in answer.trailers.items() if "mooring" in name}


def test_trailers_tell_programs_of_errors() -> None:
    grpc = Stateful()
    grpc.plane.answer = lambda request: SessionConflict("5 is next", session="a b", step=7, expected=5)
    answer = grpc.ask("ModelInfer", step(sequence_id="a b", sequence_step=7))
    assert answer.status == GrpcCode.FAILED_PRECONDITION
    assert answer.trailers["grpc-message"] == "5 is next"
    assert told(answer) == {"cause": "gap", "applied": "no", "session": "a%20b", "step": "7", "expected": "5"}
    assert unquote(told(answer)["session"]) == "a b"
    grpc.plane.answer = lambda request: ReplyGone("gone", session="a", step=2)
    answer = grpc.ask("ModelInfer", step(sequence_id="a", sequence_step=2))
    assert (answer.status, told(answer)["applied"]) == (GrpcCode.ALREADY_EXISTS, "yes")
    grpc.plane.answer = lambda request: InferenceFailed("f")
    assert told(grpc.ask("ModelInfer", step(sequence_id="a"))) == {
        "cause": "backend",
        "applied": "unknown",
        "session": "a",
    }
    grpc.plane.refusal = QueueFull("full")
    for request, metadata in ((step(sequence_id="a"), {}), (step(), {"x_mooring_session": "a"})):
        refused = grpc.ask("ModelInfer", request, **metadata)
        assert told(refused) == {"cause": "queue_full", "applied": "no", "session": "a"}


async def test_a_deadline_that_passed_in_the_queue_has_applied_nothing() -> None:
    grpc = Stateful()
    grpc.plane.answer = lambda request: QueueTimeout("too late")
    late = grpc.ask("ModelInfer", step(sequence_id="a"), grpc_timeout="9S")
    assert (late.status, told(late)["applied"]) == (GrpcCode.DEADLINE_EXCEEDED, "no")


async def test_a_deadline_that_passes_during_a_step_leaves_it_unknown() -> None:
    grpc = Stateful()

    def never(name: str, version: str | None, decode: Decode, reply: Reply) -> None:
        decode(grpc.plane.told)

    grpc.plane.infer = never  # type: ignore[method-assign]
    grpc.ask("ModelInfer", step(sequence_id="a", sequence_step=4), grpc_timeout="1m")
    [stream] = grpc.line.connection.streams
    answer = Answer()
    async with asyncio.timeout(1):
        while not answer.ended:
            await asyncio.sleep(0)
            answer = grpc.line.answer(stream)
    assert answer.status == GrpcCode.DEADLINE_EXCEEDED
    assert told(answer) == {"cause": "timeout", "applied": "unknown", "session": "a", "step": "4"}


def test_a_request_that_is_wrong_is_no_step() -> None:
    grpc = Stateful()
    for change in ("raws", "shape"):
        request = step(sequence_id="a")
        if change == "raws":
            request.raw_input_contents.append(b"")
        else:
            request.inputs[0].shape[0] = -1
        assert told(grpc.ask("ModelInfer", request))["applied"] == "no"
    assert grpc.plane.asked == []


def test_an_answer_that_cannot_be_written_was_applied() -> None:
    grpc = Stateful()
    broken = (Tensor("out_FP32", "FP32", np.array([[object()]])),)
    grpc.plane.answer = lambda request: echoed(grpc.plane.told, request)._replace(outputs=broken)
    request = step(sequence_id="a")
    request.outputs.add(name="out_FP32").parameters["classification"].int64_param = 1
    answer = grpc.ask("ModelInfer", request)
    assert answer.status == GrpcCode.INTERNAL
    assert told(answer)["applied"] == "yes"


def test_a_model_without_state_refuses_it() -> None:
    grpc = GrpcServed(Served())
    for _ in range(2):
        for request, metadata in ((step(sequence_id="a"), {}), (step(), {"x_mooring_session": "a"})):
            answer = grpc.ask("ModelInfer", request, **metadata)
            assert answer.status == GrpcCode.INVALID_ARGUMENT
            assert "keeps no state" in answer.trailers["grpc-message"]
            assert told(answer)["cause"] == "bad-session"
        assert not grpc.infer(step(sequence_id=0, sequence_start=False)).parameters
    assert not [name for name in grpc.ask("ModelInfer", step()).headers if name.startswith("x-")]


# --- streams


def test_a_stream_carries_the_steps_of_many_sessions() -> None:
    grpc = Stateful()
    requests = [step(n, sequence_id="ab"[n % 2], sequence_step=n // 2 + 1, sequence_end=n > 3) for n in range(6)]
    replies, answer = grpc.converse(*requests)
    assert answer.status == 0
    told = [parameters(reply.infer_response) for reply in replies]
    assert [(each["sequence_id"], each["sequence_step"]) for each in told] == [
        ("ab"[n % 2], n // 2 + 1) for n in range(6)
    ]
    assert [each.get("sequence_end", False) for each in told] == [False] * 4 + [True] * 2


def test_the_metadata_of_a_stream_say_which_session_is_meant() -> None:
    grpc = Stateful()
    replies, _ = grpc.converse(step(sequence_step=1), step(sequence_step=2), x_mooring_session="a")
    assert not any(reply.error_message for reply in replies)
    assert grpc.plane.calls == [SessionCall("a", step=1), SessionCall("a", step=2)]


@pytest.mark.parametrize(
    "metadata",
    [
        {"x_mooring_session": "new"},
        {"x_mooring_session": "a", "x_mooring_step": "1"},
        {"x_mooring_session": "a", "x_mooring_session_start": "true"},
        {"x_mooring_session": "a", "x_mooring_session_end": "true"},
    ],
)
def test_the_metadata_of_a_stream_are_of_no_single_step(metadata: dict[str, str]) -> None:
    grpc = Stateful()
    _, answer = grpc.converse(step(), **metadata)
    assert answer.status == GrpcCode.INVALID_ARGUMENT
    assert "the metadata of a stream hold for all of its requests" in answer.trailers["grpc-message"]
    assert told(answer) == {"cause": "bad-session", "applied": "no"}
    assert grpc.plane.asked == []


def test_an_error_in_a_stream_can_be_read_by_programs() -> None:
    grpc = Stateful()

    def answer(request: InferRequest) -> Any:
        if request.id == "7":
            return SessionConflict('a gap {"cause', session='{"cause": 1}', step=7, expected=5)
        return echoed(grpc.plane.told, request)

    grpc.plane.answer = answer
    failing = step(sequence_id="a")
    failing.id = "7"
    replies, status = grpc.converse(failing, step(sequence_id="a"))
    assert status.status == 0
    words = replies[0].error_message
    about = {"cause": "gap", "applied": "no", "session": '{"cause": 1}', "step": 7, "expected": 5}
    assert words.startswith('a gap {"cause {')
    assert json.loads(words[words.rindex('{"cause":') :]) == about
    assert replies[0].infer_response.id == "7"
    assert parameters(replies[0].infer_response) == {f"mooring_{name}": value for name, value in about.items()}
    assert replies[1].error_message == ""


def test_a_failure_in_a_stream_leaves_open_what_nobody_told() -> None:
    grpc = Stateful()
    grpc.plane.answer = lambda request: InferenceFailed("f")
    [reply], _ = grpc.converse(step(sequence_id="a"))
    assert parameters(reply.infer_response)["mooring_applied"] == "unknown"
    grpc = Stateful()
    grpc.plane.refusal = QueueFull("full")
    [reply], _ = grpc.converse(step(sequence_id="a"))
    assert parameters(reply.infer_response)["mooring_applied"] == "no"


def test_what_cannot_be_read_was_not_applied() -> None:
    """Nobody knows which session it names, but its client does, and must not take the step for applied perhaps."""
    grpc = Stateful()
    broken = step(sequence_id="a")
    broken.parameters["sequence_step"].Clear()
    assert told(grpc.ask("ModelInfer", broken)) == {"cause": "invalid", "applied": "no"}
    [reply], _ = Stateful().converse(broken)
    about = {"mooring_cause": "invalid", "mooring_applied": "no"}
    assert parameters(reply.infer_response) == about
    assert reply.error_message.endswith(' {"cause":"invalid","applied":"no"}')


def test_a_stream_that_ends_by_its_error_has_trailers() -> None:
    grpc = Stateful()
    grpc.plane.answer = lambda request: ReplyGone("gone", session="a", step=2)
    _, answer = grpc.converse(step(sequence_id="a", sequence_step=2), triton_grpc_error="true")
    assert answer.status == GrpcCode.ALREADY_EXISTS
    assert told(answer) == {"cause": "reply-gone", "applied": "yes", "session": "a", "step": "2"}


def test_a_stored_reply_says_so() -> None:
    grpc = Stateful()
    info = SessionInfo("a", 3, INCARNATION, repeat=True, durable=2)
    grpc.plane.answer = lambda request: echoed(grpc.plane.told, request)._replace(session=info)
    answer = grpc.ask("ModelInfer", step(sequence_id="a", sequence_step=3))
    assert (answer.headers["x-mooring-repeat"], answer.headers["x-mooring-durable-step"]) == ("true", "2")
    response = pb.ModelInferResponse.FromString(answer.messages[0])
    assert parameters(response) == {**TOLD, "sequence_repeat": True, "sequence_durable_step": 2}
