"""ModelInfer and ModelStreamInfer, by messages of Triton's own definition."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from mooring_runtime.errors import QueueFull
from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.service import SERVICE
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, Traits
from tests.support.grpc_served import GrpcServed, raw, request_of
from tests.support.serving import ALL, Inline, Served, echo_metadata
from tests.support.speaker import Speaker

STREAM = f"/{SERVICE}/ModelStreamInfer"
TYPED = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def sample(datatype: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    count = int(np.prod(shape))
    if datatype == "BYTES":
        array: Array = np.empty(count, dtype=object)
        array[:] = [bytes([seed, index % 256]) * (index % 4) for index in range(count)]
        return array.reshape(shape)
    random = np.random.default_rng(seed)
    dtype = DATATYPES[datatype].dtype
    if datatype == "BOOL":
        return random.integers(0, 2, shape).astype(dtype)
    return np.frombuffer(random.bytes(count * dtype.itemsize), dtype).reshape(shape)


def bits(array: Array) -> Any:
    return array.tolist() if array.dtype == object else array.tobytes()


def served(datatype: str = "FP32") -> GrpcServed:
    return GrpcServed(metadata=echo_metadata((datatype,), (-1, -1)))


def ask_raw(grpc: GrpcServed, datatype: str, array: Array, **more: Any) -> Any:
    tensors = {f"in_{datatype}": (datatype, array)}
    request = request_of("echo", **tensors)
    request.MergeFrom(pb.ModelInferRequest(**more))
    return grpc.infer(request)


# --- tensors


@pytest.mark.parametrize("datatype", ALL)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (0, 4), (50, 1000)])
def test_raw_tensors_come_back_to_the_bit(datatype: str, shape: tuple[int, ...]) -> None:
    grpc = served(datatype)
    for seed in range(3):  # The second and third are understood by their beginning.
        array = sample(datatype, shape, seed)
        response = ask_raw(grpc, datatype, array)
        assert [tensor.name for tensor in response.outputs] == [f"out_{datatype}"]
        assert tuple(response.outputs[0].shape) == shape
        assert response.outputs[0].datatype == datatype
        assert response.raw_output_contents == [raw(datatype, array)]


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_tensors_come_back_to_the_bit(datatype: str) -> None:
    grpc = served(datatype)
    array = sample(datatype, (2, 3))
    request = pb.ModelInferRequest(model_name="echo")
    tensor = request.inputs.add(name=f"in_{datatype}", datatype=datatype, shape=[2, 3])
    getattr(tensor.contents, TYPED[datatype]).extend(array.ravel().tolist())
    expected = array.astype(np.float32) if datatype == "FP32" else array
    assert grpc.infer(request).raw_output_contents == [raw(datatype, expected)]


def finite(datatype: str, shape: tuple[int, ...], seed: int) -> Array:
    array = sample(datatype, shape, seed)
    if datatype in {"FP32", "FP64"}:
        return np.nan_to_num(array, nan=0.5, posinf=1, neginf=-1)
    if datatype == "BYTES":
        flat = array.ravel()
        flat[:] = [element.decode("latin-1").encode() for element in flat]
    return array


@given(
    st.sampled_from(list(TYPED)),
    st.tuples(st.integers(0, 4), st.integers(0, 5)),
    st.integers(0, 255),
)
def test_json_binary_raw_and_typed_give_the_same_bits(datatype: str, shape: tuple[int, int], seed: int) -> None:
    grpc = served(datatype)
    array = finite(datatype, shape, seed)
    expected = raw(datatype, array)
    name = f"in_{datatype}"
    assert ask_raw(grpc, datatype, array).raw_output_contents == [expected]
    typed = pb.ModelInferRequest(model_name="echo")
    tensor = typed.inputs.add(name=name, datatype=datatype, shape=shape)
    getattr(tensor.contents, TYPED[datatype]).extend(array.ravel().tolist())
    if array.size:
        assert grpc.infer(typed).raw_output_contents == [expected]
    head: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    binary = {"parameters": {"binary_data_output": True}}
    data = [element.decode() for element in array.ravel()] if datatype == "BYTES" else array.ravel().tolist()
    sized = {**head, "parameters": {"binary_data_size": len(expected)}}
    for entry, blob in (({**head, "data": data}, b""), (sized, expected))[: 1 + bool(expected)]:
        reply = grpc.served.infer({"inputs": [entry], **binary}, binary=blob)
        assert reply.status == 200
        assert b"".join(bytes(part) for part in reply.body).endswith(expected)
        length = dict(reply.headers)[b"Inference-Header-Content-Length"]
        assert sum(map(len, reply.body)) - int(length) == len(expected)


def test_a_known_beginning_is_not_taken_for_another() -> None:
    grpc = GrpcServed(metadata=echo_metadata(("FP32", "INT32"), (-1,)))
    floats, whole = np.array([1.5, 2.5], np.float32), np.array([7, 8], np.int32)
    one = request_of(in_FP32=("FP32", floats), in_INT32=("INT32", whole))
    for _ in range(3):
        assert grpc.infer(one).raw_output_contents == [floats.tobytes(), whole.tobytes()]
    single = served("FP32")
    for values in ([1.0, 2.0], [3.0, 4.0]):
        array = np.array([values], np.float32)
        assert ask_raw(single, "FP32", array).raw_output_contents == [array.tobytes()]
        turned = array.reshape(2, 1)  # The message has the same length.
        assert list(ask_raw(single, "FP32", turned).outputs[0].shape) == [2, 1]
        for identity in ("a", "b"):
            assert ask_raw(single, "FP32", array, id=identity).id == identity


@pytest.mark.parametrize("size", [10, 100_000])
def test_large_messages_are_cut_without_protobuf(size: int) -> None:
    grpc = GrpcServed(metadata=echo_metadata(("FP64", "BYTES"), (-1, -1)))
    numbers, texts = sample("FP64", (2, size)), sample("BYTES", (2, 3))
    request = request_of(in_FP64=("FP64", numbers), in_BYTES=("BYTES", texts))
    request.id = "x"
    response = grpc.infer(request)
    assert response.raw_output_contents == [raw("FP64", numbers), raw("BYTES", texts)]
    assert response.id == "x"


def test_outputs_may_be_chosen() -> None:
    grpc = GrpcServed(metadata=echo_metadata(("FP32", "INT8"), (-1,)))
    request = request_of(in_FP32=("FP32", np.zeros(1)), in_INT8=("INT8", np.ones(1)))
    request.outputs.add(name="out_INT8")
    response = grpc.infer(request)
    assert [tensor.name for tensor in response.outputs] == ["out_INT8"]
    assert response.raw_output_contents == [b"\1"]


def test_classification() -> None:
    labelled = echo_metadata().with_traits(Traits(labels={"out_FP32": ("cat", "dog")}))
    request = request_of(in_FP32=("FP32", np.array([[0.25, 0.75]], np.float32)))
    request.outputs.add(name="out_FP32").parameters["classification"].int64_param = 1
    response = GrpcServed(metadata=labelled).infer(request)
    assert (response.outputs[0].datatype, list(response.outputs[0].shape)) == ("BYTES", [1, 1])
    assert response.raw_output_contents == [b"\x0e\0\0\0" + b"0.750000:1:dog"]


# --- what is wrong


def change(action: Callable[[Any], object]) -> Any:
    request = request_of(in_FP32=("FP32", np.zeros((1, 2))))
    action(request)
    return request


def typed_as(field: str, values: list[Any], datatype: str = "FP32") -> Any:
    request = pb.ModelInferRequest(model_name="echo")
    tensor = request.inputs.add(name="in_FP32", datatype=datatype, shape=[1, 2])
    getattr(tensor.contents, field).extend(values)
    return request


WRONG: list[tuple[Any, GrpcCode, str]] = [
    (change(lambda r: setattr(r, "model_name", "other")), GrpcCode.NOT_FOUND, "unknown model 'other'"),
    (change(lambda r: setattr(r, "model_version", "9")), GrpcCode.NOT_FOUND, "has no version 9"),
    (
        change(lambda r: r.ClearField("raw_input_contents")),
        GrpcCode.INVALID_ARGUMENT,
        "has 0 elements in fp32_contents",
    ),
    (
        change(lambda r: r.raw_input_contents.append(b"")),
        GrpcCode.INVALID_ARGUMENT,
        "1 inputs, but 2 raw_input_contents",
    ),
    (change(lambda r: r.inputs[0].contents.fp32_contents.append(1)), GrpcCode.INVALID_ARGUMENT, "has contents, but"),
    (change(lambda r: setattr(r.inputs[0], "name", "x")), GrpcCode.INVALID_ARGUMENT, "no input 'x'"),
    (change(lambda r: setattr(r.inputs[0], "datatype", "FP64")), GrpcCode.INVALID_ARGUMENT, "FP64 take 16"),
    (change(lambda r: setattr(r.inputs[0], "datatype", "FLOAT")), GrpcCode.INVALID_ARGUMENT, "datatype 'FLOAT'"),
    (change(lambda r: r.inputs[0].shape.append(-1)), GrpcCode.INVALID_ARGUMENT, "shape [1, 2, -1]"),
    (change(lambda r: r.inputs[0].shape.pop()), GrpcCode.INVALID_ARGUMENT, "its shape [1]"),
    (change(lambda r: r.outputs.add(name="y")), GrpcCode.INVALID_ARGUMENT, "no output 'y'"),
    (change(lambda r: r.inputs.add(name="x")), GrpcCode.INVALID_ARGUMENT, "input 'x' has datatype ''"),
    (
        change(lambda r: setattr(r.parameters["sequence_id"], "int64_param", 5)),
        GrpcCode.INVALID_ARGUMENT,
        "sequence_id cannot be used",
    ),
    (change(lambda r: r.parameters["p"].Clear()), GrpcCode.INVALID_ARGUMENT, "parameter p has no value"),
    (
        change(lambda r: setattr(r.parameters["triton_x"], "bool_param", True)),
        GrpcCode.INVALID_ARGUMENT,
        "are reserved",
    ),
    (
        change(lambda r: setattr(r.inputs[0].parameters["shared_memory_region"], "string_param", "r")),
        GrpcCode.UNIMPLEMENTED,
        "no shared memory",
    ),
    (typed_as("int_contents", [1, 2]), GrpcCode.INVALID_ARGUMENT, "must be in fp32_contents, not int_contents"),
    (typed_as("fp32_contents", [1, 2, 3]), GrpcCode.INVALID_ARGUMENT, "has 3 elements in fp32_contents"),
    (typed_as("int_contents", [1, 300], "INT8"), GrpcCode.INVALID_ARGUMENT, "a number that is too large"),
    (typed_as("fp32_contents", [1, 2], "FP16"), GrpcCode.INVALID_ARGUMENT, "has no typed contents"),
]


@pytest.mark.parametrize(("request_", "code", "words"), WRONG, ids=[case[2] for case in WRONG])
def test_errors(request_: Any, code: GrpcCode, words: str) -> None:
    answer = GrpcServed().ask("ModelInfer", request_)
    assert answer.status == code
    assert words in answer.trailers["grpc-message"]


def test_bytes_that_are_no_message() -> None:
    grpc = GrpcServed()
    for stream, junk in ((1, b"\xff\xff\xff"), (3, b"\x3a" * 70_000), (5, b"\x0a\xff\xff\xff\xff\x7f" + bytes(70_000))):
        grpc.line.open(stream, f"/{SERVICE}/ModelInfer")
        body = framed(junk)
        for start in range(0, len(body), 16384):
            grpc.line.data(stream, body[start : start + 16384], end=start + 16384 >= len(body))
        assert grpc.line.answer(stream).status == GrpcCode.INVALID_ARGUMENT


async def test_reserved_parameters_that_mean_something() -> None:
    seen: list[Any] = []
    served_ = Served(times=Inline())
    real = served_.plane.infer

    def infer(name: str, version: str | None, decode: Any, reply: Any) -> Any:
        def keep(about: ModelMetadata) -> Any:
            seen.append(decode(about))
            return seen[-1]

        return real(name, version, keep, reply)

    served_.plane.infer = infer  # type: ignore[method-assign]
    grpc = GrpcServed(served_)
    request = request_of(in_FP32=("FP32", np.zeros((1, 2))))
    request.parameters["priority"].uint64_param = 2
    request.parameters["timeout"].int64_param = 3_000_000
    request.parameters["sequence_id"].string_param = ""
    request.parameters["mine"].double_param = 0.5
    grpc.ask("ModelInfer", request)
    asked = seen[-1]
    assert (asked.priority, asked.timeout, dict(asked.parameters)) == (2, 3.0, {"mine": 0.5})


# --- streams


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
    served_.plane.infer = lambda name, version, decode, reply: waiting.append(reply)  # type: ignore[method-assign]
    grpc = GrpcServed(served_)
    _, _ = stream_of(grpc, *[asking(str(number)) for number in range(200)], end=False)
    assert len(waiting) == 64
    [call] = grpc.line.connection.streams.values()
    assert call.held
    for reply in waiting[:40]:
        reply(QueueFull("full"))
    assert len(waiting) > 64


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
