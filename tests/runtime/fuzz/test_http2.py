"""Frames that are almost HTTP/2, and messages that are almost gRPC's, in pieces of any size.

Whatever comes, the connection goes on or ends by GOAWAY; what it writes are whole frames; no call ends by a fault of
ours; and time closes what the client leaves open.
"""

import asyncio
import logging
from random import Random

import numpy as np
import pytest
from hpack import Decoder, Encoder
from tritonclient.grpc import service_pb2 as pb

from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.frontends.grpc import frames
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.frames import frame
from mooring_runtime.frontends.grpc.service import SERVICE, methods
from mooring_runtime.frontends.http.parser import Limits
from tests.support import mutations
from tests.support.grpc_line import Answer, Line
from tests.support.grpc_served import request_of
from tests.support.serving import Served, echo_metadata

pytestmark = pytest.mark.timeout(300)

LIMITS = Limits(header_bytes=2000, header_timeout=5, body_timeout=5, idle_timeout=5, write_timeout=5)
PATHS = (
    "ModelInfer",
    "ModelStreamInfer",
    "ServerLive",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "SystemSharedMemoryStatus",
    "TraceSetting",
    "LogSettings",
)
SPECIAL = (
    frames.settings({frames.INITIAL_WINDOW_SIZE: 3}),
    frames.settings({frames.MAX_FRAME_SIZE: 20_000}),
    frames.window_update(0, 100_000),
    frames.window_update(1, 5),
    frames.rst_stream(1, frames.Code.CANCEL),
    frames.rst_stream(3, frames.Code.CANCEL),
    frame(frames.PING, 0, 0, b"12345678"),
    frame(frames.GOAWAY, 0, 0, bytes(8)),
    frame(frames.PRIORITY, 0, 5, bytes(5)),
    frame(frames.CONTINUATION, 4, 1, b"\x83"),
    frame(frames.DATA, 0, 1, b""),
    frame(frames.DATA, 8, 1, b"\x02ab\0\0"),
)


def infer() -> bytes:
    request = request_of(in_FP32=("FP32", np.zeros((1, 2), np.float32)))
    request.id = "7"
    request.parameters["priority"].int64_param = 1
    request.outputs.add(name="out_FP32")
    return bytes(request.SerializeToString())


def typed() -> bytes:
    request = pb.ModelInferRequest(model_name="echo")
    request.inputs.add(name="in_FP32", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1, 2])
    return bytes(request.SerializeToString())


MESSAGES = (infer(), typed(), infer() + b"\x0a\x00", b"", b"\x0a\x04echo", b"\x0a\x04echo\x12\x011")


def conversation(random: Random) -> bytes:
    """What a client might send: some requests, and frames of the connection among them."""
    encoder = Encoder()
    encoder.huffman = False  # type: ignore[attr-defined]
    parts = [frames.PREFACE, frames.settings({})]
    for number in range(random.randint(1, 3)):
        stream = 2 * number + 1
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", f"/{SERVICE}/{random.choice(PATHS)}"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-encoding", random.choice(("identity", "gzip"))),
        ]
        block = bytes(encoder.encode(headers, huffman=random.random() < 0.5))
        body = b"".join(framed(random.choice(MESSAGES)) for _ in range(random.choice((1, 1, 1, 2))))
        cut = random.randint(0, len(body))
        parts += [
            frame(frames.HEADERS, frames.END_HEADERS, stream, block),
            frame(frames.DATA, 0, stream, body[:cut]),
            frame(frames.DATA, frames.END_STREAM, stream, body[cut:]),
        ]
        if random.random() < 0.5:
            parts.insert(random.randint(2, len(parts)), random.choice(SPECIAL))
    return b"".join(parts)


def answers(line: Line) -> list[Answer]:
    """The answers by stream; fails when what was written is not frames."""
    found: dict[int, Answer] = {}
    decoder = Decoder()
    for each in line.frames():
        if each.stream:
            found.setdefault(each.stream, Answer()).add(each, decoder)
    return list(found.values())


async def settled(line: Line) -> None:
    """Let what is answered later be answered."""
    for _ in range(10):
        if not line.connection.streams:
            return
        await asyncio.sleep(0)


async def test_every_connection_goes_on_or_ends(long: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    random = Random(2)
    table = methods(Served(metadata=echo_metadata(("FP32",), (-1, -1))).services)
    answered = 0
    for number in range(500_000 if long else 15_000):
        data = conversation(random)
        if random.random() < 0.9:
            data = mutations.stream(random, data)
        line = Line(table, limits=LIMITS, max_message=2000, greet=False)
        rest = data
        while rest and not line.transport.is_closing():
            size = random.choice((1, 9, 100, len(rest), len(rest)))
            line.send(rest[:size])
            rest = rest[size:]
        await settled(line)
        told = f"connection {number}: {data!r}"
        for answer in answers(line):
            if "grpc-status" in answer.trailers:
                answered += 1
                assert answer.status not in (GrpcCode.INTERNAL, GrpcCode.UNKNOWN), f"{told} gave {answer.trailers}"
        assert len(line.connection.streams) <= 3 + data.count(b"ModelStreamInfer"), told
        for _ in range(8):
            line.pass_time(100)
            if line.transport.is_closing():
                break
        assert line.transport.is_closing(), told
        line.connection.connection_lost(None)
        assert not line.connection.streams
    assert answered > 3000, "most conversations should still be understood in part"


async def test_every_message_is_answered(long: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    random = Random(3)
    served = Served(metadata=echo_metadata(("FP32",), (-1, -1)))
    line = Line(methods(served.services), max_message=2**20)
    line.window(0, 2**30)
    for number in range(1_000_000 if long else 40_000):
        message = random.choice(MESSAGES)
        if random.random() < 0.9:
            message = mutations.stream(random, message)
        path = f"/{SERVICE}/{random.choice(PATHS)}"
        line.call(2 * number + 1, message, path)
        await settled(line)
        answer = line.answer(2 * number + 1)
        assert answer.ended, f"{path} {message!r}"
        assert answer.status not in (GrpcCode.INTERNAL, GrpcCode.UNKNOWN), f"{path} {message!r} gave {answer.trailers}"
        if not number % 1000:  # What was written is kept by the transport of the test.
            line.transport.written, line._read = b"", 0
