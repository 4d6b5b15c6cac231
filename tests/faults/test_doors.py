"""What a careful client may conclude of an answer, and of none."""

import asyncio
import json

import pytest

from tests.faults import doors, ledger
from tests.faults.doors import Http
from tests.faults.history import Answer, Seen, Step
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
