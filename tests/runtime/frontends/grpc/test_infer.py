"""ModelInfer, by messages of Triton's own definition."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from mooring_runtime.errors import QueueTimeout
from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.service import SERVICE
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, Traits
from tests.support.grpc_served import GrpcServed, raw, request_of
from tests.support.serving import ALL, Inline, Served, echo_metadata

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
        "session '5' cannot be used: model 'echo' keeps no state",
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

    def infer(name: str, version: str | None, decode: Any, reply: Any, **_: Any) -> Any:
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


@pytest.mark.parametrize(
    ("deadline", "timeout", "code"),
    [
        (True, None, GrpcCode.DEADLINE_EXCEEDED),
        (True, 9_000_000, GrpcCode.DEADLINE_EXCEEDED),
        (True, 1_000_000, GrpcCode.UNAVAILABLE),
        (False, 1_000_000, GrpcCode.UNAVAILABLE),
    ],
)
async def test_who_waited_too_long_is_told_whose_limit_it_was(
    deadline: bool, timeout: int | None, code: GrpcCode
) -> None:
    served_ = Served()
    seen: list[Any] = []

    def infer(name: str, version: str | None, decode: Any, reply: Any, **_: Any) -> None:
        seen.append(decode(served_.backend.metadata))
        reply(QueueTimeout("the request waited too long"))

    served_.plane.infer = infer  # type: ignore[method-assign]
    request = request_of(in_FP32=("FP32", np.zeros((1, 2))))
    if timeout is not None:
        request.parameters["timeout"].int64_param = timeout
    answer = GrpcServed(served_).ask("ModelInfer", request, **({"grpc_timeout": "5S"} if deadline else {}))
    assert answer.status == code
    assert seen[0].timeout == (1.0 if code == GrpcCode.UNAVAILABLE else 5.0)
