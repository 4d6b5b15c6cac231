"""The ways in which a client talks to a replica: V2 over HTTP as JSON or binary, and over gRPC. One request at a time.

A door tells what a careful client may conclude: `refused` only where nothing was sent, or where the answer says so.
"""

import asyncio
import contextlib
import json
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from random import Random
from typing import Any
from urllib.parse import quote, unquote

import grpc.aio
from tritonclient.grpc import service_pb2 as pb

from tests.faults.history import Answer, Outcome, Seen, Step
from tests.faults.subject import LEDGER, Elements, Subject

APPLIED: Mapping[str, Outcome] = {"no": "refused", "yes": "applied", "unknown": "unknown"}
_CODES = {"INT64": "q", "FP32": "f"}
"""Of `struct`."""


class Door(ABC):
    """One client's way to one replica."""

    @abstractmethod
    async def ask(self, step: Step, seconds: float) -> Answer:
        """Send it, and say what came of it. Raises nothing; who does not wait longer hangs up."""

    @abstractmethod
    async def close(self) -> None:
        """Hang up."""


class Http(Door):
    """HTTP/1.1 with keep-alive; the session in parameters or in headers, the tensors as JSON or as bytes."""

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        binary: bool = False,
        headers: bool = False,
        subject: Subject = LEDGER,
    ) -> None:
        self._address = host, port
        self._subject = subject
        self._binary = binary
        self._headers = headers
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, step: Step, seconds: float) -> Answer:
        """See `Door`."""
        sent = False
        try:
            async with asyncio.timeout(seconds):
                if self._line is None:
                    self._line = await asyncio.open_connection(*self._address)
                reader, writer = self._line
                sent = True
                writer.write(self._request(step))
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers["content-length"]))
        except (OSError, EOFError, TimeoutError) as error:
            await self.close()
            return Answer("unknown" if sent else "refused", type(error).__name__)
        except asyncio.CancelledError:
            await self.close()
            raise
        if headers.get("connection") == "close":
            await self.close()
        return _http_answer(self._subject, int(head[0].split()[1]), headers, body)

    def _request(self, step: Step) -> bytes:
        subject, said = self._subject, said_of(step)
        elements = subject.sent(step.word)
        tensor: dict[str, Any] = {"name": subject.tensor, "shape": [1, len(elements)], "datatype": subject.datatype}
        document: dict[str, Any] = {"inputs": [tensor]}
        if subject.asked:
            document["outputs"] = [{"name": name} for name in subject.asked]
        lines = [f"POST /v2/models/{subject.name}/infer HTTP/1.1", "Host: replica"]
        raw = b""
        if self._headers or step.new:
            lines += [f"{_HEADERS[name]}: {_text(value)}" for name, value in said.items()]
        else:
            document["parameters"] = said
        if self._binary:
            raw = _packed(subject, elements)
            tensor["parameters"] = {"binary_data_size": len(raw)}
            document.setdefault("parameters", {})["binary_data_output"] = True
        else:
            tensor["data"] = elements
        text = json.dumps(document).encode()
        if raw:
            lines.append(f"Inference-Header-Content-Length: {len(text)}")
        lines.append(f"Content-Length: {len(text) + len(raw)}")
        return "\r\n".join([*lines, "", ""]).encode() + text + raw

    async def close(self) -> None:
        """See `Door`."""
        if self._line is not None:
            _, writer = self._line
            self._line = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Grpc(Door):
    """Unary calls on one channel."""

    # A replica that was killed is back in a second; grpc would wait up to two minutes before it looks. And no request
    # may be sent twice behind the client's back.
    _OPTIONS = (
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 200),
        ("grpc.enable_retries", 0),
        # A service that was made anew has another address: grpc would ask for it every 30 s only.
        ("grpc.dns_min_time_between_resolutions_ms", 200),
        ("grpc.use_local_subchannel_pool", 1),
    )

    def __init__(self, port: int, *, host: str = "127.0.0.1", subject: Subject = LEDGER) -> None:
        self._subject = subject
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}", options=self._OPTIONS)
        self._call = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )

    async def ask(self, step: Step, seconds: float) -> Answer:
        """See `Door`."""
        subject = self._subject
        elements = subject.sent(step.word)
        shape = [1, len(elements)]
        request = pb.ModelInferRequest(
            model_name=subject.name,
            inputs=[pb.ModelInferRequest.InferInputTensor(name=subject.tensor, datatype=subject.datatype, shape=shape)],
            outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in subject.asked],
            raw_input_contents=[_packed(subject, elements)],
        )
        metadata = []
        for name, value in said_of(step).items():
            if step.new:
                metadata.append((_HEADERS[name].lower(), _text(value)))
            elif isinstance(value, bool):
                request.parameters[name].bool_param = value
            elif isinstance(value, int):
                request.parameters[name].int64_param = value
            else:
                request.parameters[name].string_param = value
        try:
            reply = await self._call(request, timeout=seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return _grpc_error(error)
        told = {name: _value(each) for name, each in reply.parameters.items()}
        outputs = {
            each.name: _unpacked(each.datatype, raw)
            for each, raw in zip(reply.outputs, reply.raw_output_contents, strict=True)
        }
        return _seen(subject, told, outputs)

    async def close(self) -> None:
        """See `Door`."""
        await self._channel.close()


def any_door(random: Random, http: int, grpc: int, host: str = "127.0.0.1", subject: Subject = LEDGER) -> Door:
    """One of the ways to who listens on these ports."""
    match random.randrange(4):
        case 0:
            return Grpc(grpc, host=host, subject=subject)
        case 1:
            return Http(http, host=host, binary=True, subject=subject)
        case 2:
            return Http(http, host=host, headers=True, subject=subject)
        case _:
            return Http(http, host=host, subject=subject)


_HEADERS = {
    "sequence_id": "X-Mooring-Session",
    "sequence_start": "X-Mooring-Session-Start",
    "sequence_end": "X-Mooring-Session-End",
    "sequence_step": "X-Mooring-Step",
    "sequence_incarnation": "X-Mooring-Incarnation",
    "sequence_durable_step": "X-Mooring-Durable-Step",
}


def said_of(step: Step) -> dict[str, str | int | bool]:
    """The step's parameters, by their names in V2. An id of digits goes as a number, as clients of Triton send it."""
    said: dict[str, str | int | bool] = {"sequence_id": "new" if step.new else step.session}
    if step.session.isdigit():
        said["sequence_id"] = int(step.session)
    if step.start and not step.new:
        said["sequence_start"] = True
    if step.end:
        said["sequence_end"] = True
    if step.number is not None:
        said["sequence_step"] = step.number
    if step.life is not None:
        said["sequence_incarnation"] = step.life
    return said


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else quote(str(value))


def _value(parameter: Any) -> str | int | bool:
    value: str | int | bool = getattr(parameter, parameter.WhichOneof("parameter_choice"))
    return value


def _packed(subject: Subject, elements: Elements) -> bytes:
    return struct.pack(f"<{len(elements)}{_CODES[subject.datatype]}", *elements)


def _unpacked(datatype: str, raw: bytes) -> Elements:
    return [each for (each,) in struct.iter_unpack(f"<{_CODES[datatype]}", raw)]


def _http_answer(subject: Subject, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    if status != 200:
        try:
            told = json.loads(body)
        except ValueError:
            told = {}
        return error_answer(f"HTTP {status}", told)
    length = int(headers.get("inference-header-content-length", len(body)))
    document = json.loads(body[:length])
    outputs: dict[str, Elements] = {}
    at = length
    for each in document["outputs"]:
        size = each.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[each["name"]] = each["data"]
        else:
            outputs[each["name"]] = _unpacked(each["datatype"], body[at : at + size])
            at += size
    said = {name: unquote(headers[header.lower()]) for name, header in _HEADERS.items() if header.lower() in headers}
    return _seen(subject, {**said, "sequence_repeat": headers.get("x-mooring-repeat") == "true"}, outputs)


def _grpc_error(error: grpc.aio.AioRpcError) -> Answer:
    trailers = error.trailing_metadata() or ()
    told = {str(key).removeprefix("mooring-"): value for key, value in trailers if str(key).startswith("mooring-")}
    if told:
        return error_answer(f"gRPC {error.code().name}", told)
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
        return Answer("unknown", f"gRPC {error.code().name}")  # The client's own word: the line broke, or time is up.
    return error_answer(f"gRPC {error.code().name}", {})


def error_answer(status: str, told: Mapping[str, Any]) -> Answer:
    """What an error's own words say. One that does not say whether the step was applied leaves the client in doubt."""
    outcome, cause = APPLIED.get(str(told.get("applied"))), str(told.get("cause", ""))
    if outcome is None or not cause:
        return Answer("unknown", f"untold: {status} {dict(told)}"[:200])
    expected = told.get("expected")
    return Answer(outcome, cause, None if expected is None else int(expected))


def _seen(subject: Subject, told: Mapping[str, str | int | bool], outputs: Mapping[str, Elements]) -> Answer:
    try:
        shown = subject.shown(outputs)
        life, step = str(told["sequence_incarnation"]), int(told["sequence_step"])
        durable = told.get("sequence_durable_step")
        repeat, kept = bool(told.get("sequence_repeat")), None if durable is None else int(durable)
        seen = Seen(str(told["sequence_id"]), life, step, repeat, shown.page, kept, shown.heard)
    except KeyError as error:
        return Answer("unknown", f"untold: a reply without {error}")
    return Answer("ok", seen=seen)
