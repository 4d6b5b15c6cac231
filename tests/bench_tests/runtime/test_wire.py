import json
import struct

import pytest

from tests.bench.runtime import wire

VALUES = [0.5, -1.25, 3.0]
RAW = struct.pack("<3f", *VALUES)


def test_json() -> None:
    body = wire.json_body("x", VALUES)
    [tensor] = json.loads(body.data)["inputs"]
    assert tensor == {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": VALUES}
    assert wire.json_answer(json.dumps({"outputs": [{"data": [[0.5, -1.25, 3.0]]}]}).encode(), {}) == VALUES


def test_binary() -> None:
    body = wire.binary_body("x", VALUES, "y")
    length = int(dict(body.headers)[wire.HEADER_LENGTH])
    head = json.loads(body.data[:length])
    assert body.data[length:] == RAW
    assert head["inputs"][0]["parameters"] == {"binary_data_size": 12}
    answer = json.dumps({"outputs": [{"parameters": {"binary_data_size": 12}}]}).encode()
    headers = {wire.HEADER_LENGTH.lower(): str(len(answer))}
    assert wire.json_answer(answer + RAW, headers) == VALUES


def test_grpc_request() -> None:
    data = wire.grpc_body("tiny", "x", VALUES).data
    assert data[:5] == b"\0" + struct.pack(">I", len(data) - 5)
    fields = dict(wire.walk(data[5:]))
    assert fields[1] == b"tiny"
    assert dict(wire.walk(fields[5])) == {1: b"x", 2: b"FP32", 3: b"\x01\x03"}
    assert fields[7] == RAW


def test_grpc_answers_in_both_forms() -> None:
    raw = wire.field(1, b"m") + wire.field(5, wire.field(1, b"y")) + wire.field(6, RAW)
    assert wire.grpc_answer(b"\0" * 5 + raw) == VALUES
    contents = wire.field(5, wire.field(1, b"y") + wire.field(5, wire.field(6, RAW)))
    assert wire.grpc_answer(b"\0" * 5 + contents) == VALUES


def test_numbers_of_other_kinds_are_stepped_over() -> None:
    message = b"\x08\x96\x01" + b"\x15" + b"\0" * 4 + b"\x19" + b"\0" * 8 + wire.field(300, b"a" * 200)
    assert list(wire.walk(message)) == [(300, b"a" * 200)]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"outputs":[]}', b'{"outputs":[{"data":["a"]}]}', b"<html>"])
def test_what_is_no_answer_is_told(body: bytes) -> None:
    with pytest.raises(wire.AnswerError, match="no numbers"):
        wire.json_answer(body, {})


@pytest.mark.parametrize("message", [b"", wire.field(5, b""), b"\x0a\x7f"])
def test_a_grpc_message_without_numbers_is_told(message: bytes) -> None:
    with pytest.raises(wire.AnswerError, match="no numbers"):
        wire.grpc_answer(b"\0" * 5 + message)
