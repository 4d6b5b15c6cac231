"""What a careful client may conclude of an answer, and of none."""

import asyncio
import json
import struct

import pytest

from tests.faults import doors, ledger
from tests.faults.doors import Http
from tests.faults.history import Answer, Seen, Step
from tests.faults.speech import SPEECH, sound
from tests.support.ports import free_port

STEP = Step("s/1 é", 5, 2, end=True)


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ({"applied": "no", "cause": "gap", "expected": 3}, "refused"),
        ({"applied": "yes", "cause": "reply-gone"}, "applied"),
        ({"applied": "unknown", "cause": "outcome-unknown"}, "unknown"),
    ],
)
def test_an_error_says_what_came_of_the_step(told: dict[str, object], outcome: str) -> None:
    answer = doors.error_answer("HTTP 409", told)
    assert (answer.outcome, answer.cause, answer.expected) == (outcome, told["cause"], told.get("expected"))


@pytest.mark.parametrize("told", [{}, {"cause": "gap"}, {"applied": "no"}, {"applied": "perhaps", "cause": "gap"}])
def test_an_error_that_does_not_say_it_leaves_the_client_in_doubt(told: dict[str, object]) -> None:
    answer = doors.error_answer("HTTP 500", told)
    assert answer.outcome == "unknown"
    assert answer.cause.startswith("untold")


async def test_who_was_not_let_in_has_sent_nothing() -> None:
    assert await Http(free_port()).ask(STEP, 1) == Answer("refused", "ConnectionRefusedError")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
async def test_a_line_that_breaks_after_the_step_was_sent_says_nothing(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    door = Http(server.sockets[0].getsockname()[1])
    assert (await door.ask(STEP, 1)).outcome == "unknown"
    await door.close()
    server.close()


@pytest.mark.parametrize("headers", [False, True])
async def test_a_reply_is_read_as_it_was_meant(headers: bool) -> None:
    page = ledger.pages([3, 5])[-1]
    outputs = {"count": [2], "hash": list(page.hash), "total": [page.total], "recent": list(page.recent)}
    body = json.dumps({"outputs": [{"name": name, "data": data} for name, data in outputs.items()]}).encode()
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
        heard.extend([head, await reader.readexactly(length)])
        told = "X-Mooring-Session: s/1%20%C3%A9\r\nX-Mooring-Step: 2\r\nX-Mooring-Incarnation: 9007199254740993\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\n{told}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    door = Http(server.sockets[0].getsockname()[1], headers=headers)
    seen = (await door.ask(STEP, 1)).seen
    assert seen == Seen("s/1 é", "9007199254740993", 2, False, page)
    said = {"sequence_id": "s/1 é", "sequence_end": True, "sequence_step": 2}
    assert json.loads(heard[1]).get("parameters") == (None if headers else said)
    assert (b"X-Mooring-Session: s/1%20%C3%A9\r\n" in heard[0]) == headers
    await door.close()
    server.close()


async def test_a_sound_goes_out_as_floats_and_what_is_asked_for_comes_back() -> None:
    said = {"output": (0.5,), "stateN": tuple(float(number) for number in range(256))}
    raw = b"".join(struct.pack(f"<{len(values)}f", *values) for values in said.values())
    outputs = [
        {"name": name, "datatype": "FP32", "parameters": {"binary_data_size": 4 * len(values)}}
        for name, values in said.items()
    ]
    head_of_answer = json.dumps({"outputs": outputs}).encode()
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        length = int(heard[0].lower().split(b"\r\ncontent-length: ")[1].split(b"\r")[0])
        heard.append(await reader.readexactly(length))
        told = "X-Mooring-Session: s\r\nX-Mooring-Step: 2\r\nX-Mooring-Incarnation: 1\r\n"
        told += f"Inference-Header-Content-Length: {len(head_of_answer)}\r\n"
        length = len(head_of_answer) + len(raw)
        writer.write(f"HTTP/1.1 200 OK\r\n{told}Content-Length: {length}\r\n\r\n".encode() + head_of_answer + raw)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    door = Http(server.sockets[0].getsockname()[1], binary=True, subject=SPEECH)
    seen = (await door.ask(STEP, 1)).seen
    assert seen is not None
    assert seen.heard == (0.5, *map(float, range(0, 256, 16)))
    assert heard[0].startswith(b"POST /v2/models/speech/infer ")
    sent = heard[1][-4 * 512 :]
    assert list(struct.unpack("<512f", sent)) == sound(STEP.word)
    document = json.loads(heard[1][: -len(sent)])
    assert document["inputs"][0] | {"parameters": {}} == {
        "name": "input",
        "shape": [1, 512],
        "datatype": "FP32",
        "parameters": {},
    }
    assert document["outputs"] == [{"name": "output"}, {"name": "stateN"}]
    await door.close()
    server.close()
