"""The bytes of the requests, written once, and the numbers in their answers; no server's own client is used.

V2 (Open Inference Protocol) as JSON, as JSON with a binary tensor, and as the protobuf message ModelInferRequest.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

HEADER_LENGTH = "Inference-Header-Content-Length"
RPC = "/inference.GRPCInferenceService/ModelInfer"


class AnswerError(Exception):
    """An answer that is not the one that was asked for."""


@dataclass(frozen=True)
class Body:
    """What one request carries, and the HTTP headers that tell its form."""

    data: bytes
    headers: tuple[tuple[str, str], ...]


def json_body(name: str, values: Sequence[float]) -> Body:
    """Input `name`, [1, n] FP32, as V2 JSON."""
    tensor = {"name": name, "shape": [1, len(values)], "datatype": "FP32", "data": list(values)}
    return Body(_dumps({"inputs": [tensor]}), (("Content-Type", "application/json"),))


def binary_body(name: str, values: Sequence[float], output: str) -> Body:
    """The same with the tensor's bytes behind the JSON, and the output asked for in that form."""
    raw = floats(values)
    parameters = {"binary_data_size": len(raw)}
    tensor = {"name": name, "shape": [1, len(values)], "datatype": "FP32", "parameters": parameters}
    wanted = {"name": output, "parameters": {"binary_data": True}}
    head = _dumps({"inputs": [tensor], "outputs": [wanted]})
    return Body(head + raw, (("Content-Type", "application/octet-stream"), (HEADER_LENGTH, str(len(head)))))


def grpc_body(model: str, name: str, values: Sequence[float]) -> Body:
    """The same as ModelInferRequest with raw_input_contents, behind the five bytes of a gRPC message."""
    shape = varint(1) + varint(len(values))
    tensor = field(1, name.encode()) + field(2, b"FP32") + field(3, shape)
    message = field(1, model.encode()) + field(5, tensor) + field(7, floats(values))
    return Body(b"\0" + struct.pack(">I", len(message)) + message, (("content-type", "application/grpc"),))


def json_answer(body: bytes, headers: Mapping[str, str]) -> list[float]:
    """The first output's numbers, in JSON or in the bytes behind it; raises AnswerError where there are none."""
    length = headers.get(HEADER_LENGTH.lower())
    try:
        head = json.loads(body[: int(length)] if length else body)
        output = head["outputs"][0]
        if "data" in output:
            return [float(value) for value in _flat(output["data"])]
        return list(struct.unpack(f"<{(len(body) - int(length or 0)) // 4}f", body[int(length or 0) :]))
    except (ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        raise AnswerError(f"no numbers in the answer {body[:200]!r}: {error!r}") from error


def grpc_answer(message: bytes) -> list[float]:
    """The numbers of a ModelInferResponse: raw_output_contents (field 6), else the output's fp32_contents (5.5.6)."""
    try:
        fields = list(walk(message[5:]))
        raw = [value for number, value in fields if number == 6]
        if not raw:
            output = next(value for number, value in fields if number == 5)
            contents = next(value for number, value in walk(output) if number == 5)
            raw = [value for number, value in walk(contents) if number == 6]
        return list(struct.unpack(f"<{len(raw[0]) // 4}f", raw[0]))
    except (StopIteration, IndexError, struct.error) as error:
        raise AnswerError(f"no numbers in the answer {message[:200]!r}") from error


def floats(values: Sequence[float]) -> bytes:
    """FP32, little-endian."""
    return struct.pack(f"<{len(values)}f", *values)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def walk(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and payload of each length-delimited field; the others are stepped over.

    Raises IndexError where the message ends too early.
    """
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind = key & 7
        if kind == 2:
            length, at = _read_varint(message, at)
            if at + length > len(message):
                raise IndexError("a field is longer than its message")
            yield key >> 3, message[at : at + length]
            at += length
        elif kind == 0:
            _, at = _read_varint(message, at)
        else:
            at += 8 if kind == 1 else 4


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7


def _flat(data: Sequence[object]) -> Iterator[float]:
    for each in data:
        if isinstance(each, list):
            yield from _flat(each)
        else:
            yield float(str(each))


def _dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
