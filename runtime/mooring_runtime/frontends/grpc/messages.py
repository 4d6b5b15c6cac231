"""V2's protobuf messages and the neutral ones, both ways. Pure, but for two caches.

Raw tensors are views of the bytes that arrived, or copies where a framework could not read them there. Answers carry
raw tensors only: that is what clients read.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mooring_runtime.errors import InvalidRequest, RequestError, Unsupported
from mooring_runtime.frontends.grpc.schema import inference as pb
from mooring_runtime.frontends.http import tensors
from mooring_runtime.frontends.v2 import classification
from mooring_runtime.frontends.v2.parameters import Requested, requested
from mooring_runtime.messages import Array, Datatype, InferResponse, ModelMetadata, Parameter, Tensor

Raw = bytes | memoryview

EMPTY_FINAL = "triton_enable_empty_final_response"
"""Request parameter: tell the end of an answer of many parts by an empty last one."""
FINAL = "triton_final_response"
"""Response parameter: whether this is the last part."""
_OURS = frozenset({EMPTY_FINAL, "binary_data_output"})
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Field of each datatype's elements; FP16 and BF16 have none."""
_SPLIT_FROM = 64 * 1024
"""Bytes of a message from which its raw tensors are cut out of it: protobuf would copy them twice."""
RAW_FIELD = 7
_CACHED_SHAPES = 1024


class Input(NamedTuple):
    """An input without its elements."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Plan(NamedTuple):
    """What a request says beside the elements of its tensors."""

    name: str
    version: str | None
    id: str | None
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    classes: Mapping[str, int]
    """Of the outputs that are to be classified: how many classes."""
    empty_final: bool
    asked: Requested


def parse(message: Raw) -> tuple[Any, Sequence[Raw]]:
    """The request of a message, and its raw tensors. Raises InvalidRequest when it is no protobuf of the right kind."""
    raws: list[Raw] | None = None
    rest = message
    if len(message) >= _SPLIT_FROM and (parts := _split(memoryview(message))) is not None:
        rest, raws = parts
    request = read(pb.ModelInferRequest, rest)
    return request, request.raw_input_contents if raws is None else raws


def read(kind: Any, message: Raw) -> Any:
    """A protobuf message. Raises InvalidRequest."""
    try:
        return kind.FromString(bytes(message))
    except Exception as error:  # protobuf's DecodeError, whose module costs an import for its name alone.
        raise InvalidRequest(f"the message is no {kind.DESCRIPTOR.name}: {error}") from None


def _split(message: memoryview) -> tuple[bytes, list[Raw]] | None:
    """All but the raw tensors, and those as views; None for what this cannot read, which protobuf then judges."""
    raws: list[Raw] = []
    rest: list[memoryview] = []
    offset, size = 0, len(message)
    while offset < size:
        start = offset
        tag, offset = _varint(message, offset)
        if tag & 7 != 2:  # Strings, messages and bytes; every field of a request is one of them.
            return None
        length, offset = _varint(message, offset)
        end = offset + length
        if end > size:
            return None
        if tag >> 3 == RAW_FIELD:
            raws.append(message[offset:end])
        else:
            rest.append(message[start:end])
        offset = end
    return b"".join(rest), raws


def _varint(message: memoryview, offset: int) -> tuple[int, int]:
    """A number and the offset behind it; a tag of 0 for what is none."""
    value = shift = 0
    while offset < len(message) and shift < 64:
        byte = message[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, offset
        shift += 7
    return 0, len(message)


def plan(request: Any) -> Plan:
    """What a request says.

    Raises InvalidRequest and Unsupported with the tensor or parameter that is wrong, BadSession.
    """
    own = parameters(request.parameters)
    asked = requested(own, _OURS) if own else Requested()
    try:
        return _plan(request, own, asked)
    except RequestError as error:
        if asked.session is not None:
            error.applied = "no"
        raise


def _plan(request: Any, own: Mapping[str, Parameter], asked: Requested) -> Plan:
    empty_final = own.get(EMPTY_FINAL, False)
    if type(empty_final) is not bool:
        raise InvalidRequest(f"parameter {EMPTY_FINAL} is {empty_final!r}, it must be true or false")
    outputs, classes = [], {}
    for output in request.outputs:
        outputs.append(output.name)
        if output.parameters:
            told = parameters(output.parameters)
            _no_shared_memory(f"output '{output.name}'", told)
            count = classification.class_count(output.name, told.get("classification", 0))
            if count:
                classes[output.name] = count
    inputs = []
    for tensor in request.inputs:
        what = f"input '{tensor.name}'"
        if tensor.parameters:
            _no_shared_memory(what, tensor.parameters)
        datatype = tensors.datatype_of(what, tensor.datatype)
        inputs.append(Input(tensor.name, datatype, tensors.shape_of(what, list(tensor.shape))))
    return Plan(
        request.model_name,
        request.model_version or None,
        request.id or None,
        tuple(inputs),
        tuple(outputs),
        classes,
        empty_final,
        asked,
    )


def parameters(found: Any) -> dict[str, Parameter]:
    """A map of InferParameter as plain values. Raises InvalidRequest for one without a value."""
    values: dict[str, Parameter] = {}
    for name, value in found.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is None:
            raise InvalidRequest(f"parameter {name} has no value")
        values[name] = getattr(value, choice)
    return values


def _no_shared_memory(what: str, found: Mapping[str, Any]) -> None:
    if any(key.startswith("shared_memory_") for key in found):
        raise Unsupported(f"{what}: this server has no shared memory; send tensors in the request")


def elements(planned: Plan, request: Any, raws: Sequence[Raw]) -> tuple[Tensor, ...]:
    """The inputs with their elements. Raises InvalidRequest when these are not what shape and datatype say."""
    if not raws:
        return tuple(
            _typed(described, tensor) for described, tensor in zip(planned.inputs, request.inputs, strict=True)
        )
    if len(raws) != len(planned.inputs):
        raise InvalidRequest(
            f"the request has {len(planned.inputs)} inputs, but {len(raws)} raw_input_contents; it needs one for each"
        )
    for tensor in request.inputs:
        if tensor.HasField("contents"):
            raise InvalidRequest(f"input '{tensor.name}' has contents, but the request has raw_input_contents too")
    return tuple(raw_tensor(described, raw) for described, raw in zip(planned.inputs, raws, strict=True))


def raw_tensor(described: Input, raw: Raw) -> Tensor:
    """An input of raw bytes, without a copy where they lie well. Raises InvalidRequest for a wrong size."""
    name, datatype, shape = described
    array = tensors.from_bytes(f"input '{name}'", memoryview(raw), datatype, shape)
    return Tensor(name, datatype.name, array)


def _typed(described: Input, tensor: Any) -> Tensor:
    name, datatype, shape = described
    field = _CONTENTS.get(datatype.name)
    if field is None:
        raise InvalidRequest(f"input '{name}' is {datatype.name}, which has no typed contents; use raw_input_contents")
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise InvalidRequest(
                f"input '{name}' is {datatype.name}, its elements must be in {field}, not {other.name}"
            )
    found = getattr(tensor.contents, field)
    count = 1
    for size in shape:
        count *= size
    if len(found) != count:
        raise InvalidRequest(
            f"input '{name}' has {len(found)} elements in {field}, its shape {list(shape)} has {count}"
        )
    if datatype.name == "BYTES":
        array: Array = np.empty(count, dtype=object)
        array[:] = list(found)
    else:
        try:
            array = np.fromiter(found, dtype=datatype.dtype, count=count)
        except OverflowError:
            raise InvalidRequest(
                f"input '{name}' is {datatype.name}, but {field} holds a number that is too large for it"
            ) from None
    return Tensor(name, datatype.name, array.reshape(shape))


# --- out

_starts: dict[tuple[Any, ...], bytes] = {}
"""An answer without id, parameters and elements, by names and shapes: all requests of a model have few of them."""


def start(name: str, version: str, outputs: Sequence[Tensor]) -> bytes:
    """The part of a response that says what its outputs are."""
    key = (name, version, *[(tensor.name, tensor.datatype, tensor.array.shape) for tensor in outputs])
    found = _starts.get(key)
    if found is None:
        response = pb.ModelInferResponse(model_name=name, model_version=version)
        for tensor in outputs:
            response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
        if len(_starts) >= _CACHED_SHAPES:
            _starts.clear()
        found = _starts[key] = response.SerializeToString()
    return found


_plain: dict[tuple[Any, ...], bytes] = {}
"""All that stands before the elements of an answer's only output, by its name, datatype and shape."""


def write_plain(response: InferResponse) -> bytes | None:
    """The answer with the five bytes before it, if it has neither id nor parameters and one output of fixed size.

    Of a session it tells nothing.
    """
    name, version, outputs, _, told, _, _ = response
    if len(outputs) != 1 or told:
        return None
    tensor, datatype, array = outputs[0]
    key = (name, version, tensor, datatype, array.shape)
    before = _plain.get(key)
    if before is None:
        if datatype == "BYTES" or array.nbytes > _SPLIT_FROM:
            return None
        head = start(name, version, outputs) + field(6, array.tobytes())[0]
        before = b"\0" + (len(head) + array.nbytes).to_bytes(4, "big") + head
        if len(_plain) >= _CACHED_SHAPES:
            _plain.clear()
        _plain[key] = before
    return before + array.tobytes()


def write(
    response: InferResponse, extra: Mapping[str, Parameter], classes: Mapping[str, int], about: ModelMetadata
) -> bytes:
    """A ModelInferResponse. The order of its fields is free, so the parts that differ follow the part that does not."""
    outputs: Sequence[Tensor] = response.outputs
    if classes:
        outputs = [
            classification.classify(about, tensor, classes[tensor.name]) if tensor.name in classes else tensor
            for tensor in outputs
        ]
    parts: list[Raw] = [start(response.model_name, response.model_version, outputs)]
    if response.id is not None:
        parts += field(3, response.id.encode())
    if response.parameters or extra:
        parts.append(parameters_text({**response.parameters, **extra}))
    for tensor in outputs:
        parts += field(6, tensors.to_bytes(tensor.datatype, tensor.array))
    return b"".join(parts)


def parameters_text(told: Mapping[str, Parameter]) -> bytes:
    """The parameters of a ModelInferResponse."""
    response = pb.ModelInferResponse()
    for name, value in told.items():
        _set(response.parameters[name], value)
    text: bytes = response.SerializeToString()
    return text


def field(number: int, content: Raw) -> tuple[bytes, Raw]:
    """A field of bytes or text, number at most 15: its tag and length, and itself."""
    length = len(content)
    out = bytearray((number << 3 | 2,))
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    out.append(length)
    return bytes(out), content


def _set(parameter: Any, value: Parameter) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        if value >= 2**63:
            parameter.uint64_param = value
        else:
            parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value
