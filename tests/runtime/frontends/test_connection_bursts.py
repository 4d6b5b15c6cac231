"""Many requests that arrive at once: a part is handed on, others have their turn, and no order is lost."""

import asyncio

from mooring_runtime.frontends.http.connection import Connection
from mooring_runtime.frontends.http.messages import Reply, Request, Respond
from mooring_runtime.frontends.http.parser import Limits
from tests.support.serving import Line, http

BURST = 100
MANY = 256
"""Connections, so that the part of each is small."""


class Counting:
    """Answers with the path; remembers the order."""

    def __init__(self) -> None:
        self.handed: list[bytes] = []

    def __call__(self, request: Request, respond: Respond) -> None:
        self.handed.append(request.target)
        respond(Reply(200, (request.target,)))


def path(number: int) -> bytes:
    return b"/%03d" % number


def burst(count: int = BURST, first: int = 0) -> bytes:
    return b"".join(http("GET", path(number).decode()) for number in range(first, first + count))


def crowded(handler: Counting, limits: Limits | None = None) -> Line:
    line = Line(handler, limits)
    line.shared.log_access = None
    line.shared.connections.update(Connection(line.shared) for _ in range(MANY))
    return line


async def drain(line: Line, turns: int = 200) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    assert line.transport.reading


async def test_others_have_their_turn_in_the_middle_of_a_burst() -> None:
    handler = Counting()
    line = crowded(handler)
    other = Connection(line.shared)
    other.connection_made(Line(handler).transport)
    line.send(burst())
    assert 2 <= len(handler.handed) <= 40
    assert not line.transport.reading
    before = len(handler.handed)
    other.data_received(http("GET", "/other"))
    assert handler.handed[-1] == b"/other"
    await asyncio.sleep(0)
    assert 2 <= len(handler.handed) - before - 1 <= 40
    await drain(line)
    expected = [path(number) for number in range(BURST)]
    assert [each for each in handler.handed if each != b"/other"] == expected
    assert [reply.body[0] for reply in line.replies] == expected
    assert line.received.count(b"HTTP/1.1 200 OK") == BURST


async def test_few_requests_and_a_few_connections_wait_for_nothing() -> None:
    handler = Counting()
    crowded(handler).send(burst(4))
    assert len(handler.handed) == 4
    line = Line(handler)
    line.send(burst())
    assert len(handler.handed) == 4 + BURST
    assert line.transport.reading


async def test_what_arrives_meanwhile_stands_behind_it() -> None:
    handler = Counting()
    line = crowded(handler)
    line.send(burst())
    cut = burst(1, BURST)
    line.send(cut[:20])
    line.send(cut[20:])
    await drain(line)
    assert handler.handed == [path(number) for number in range(BURST + 1)]


async def test_one_large_body_is_one_request_wherever_it_is_cut() -> None:
    seen: list[bytes] = []

    def keep(request: Request, respond: Respond) -> None:
        seen.append(request.body)
        respond(Reply(200, ()))

    line = Line(keep)
    line.shared.log_access = None
    line.shared.connections.update(Connection(line.shared) for _ in range(MANY))
    sent = bytes(range(256)) * 1000
    request = http("POST", "/", sent)
    line.send(request)
    line.send(request[:5000])
    line.send(request[5000:])
    line.send(request + request)
    await drain(line)
    assert seen == [sent] * 4


async def test_a_client_that_hangs_up_has_no_more_of_its_burst_handed_on() -> None:
    handler = Counting()
    line = crowded(handler)
    line.send(burst())
    before = len(handler.handed)
    line.connection.connection_lost(None)
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(handler.handed) == before


async def test_what_cannot_be_read_is_refused_behind_what_can() -> None:
    handler = Counting()
    line = crowded(handler)
    line.send(burst() + b"nonsense\r\n\r\n" + burst(1, BURST))
    for _ in range(200):
        await asyncio.sleep(0)
    assert handler.handed == [path(number) for number in range(BURST)]
    assert [reply.status for reply in line.replies] == [200] * BURST + [400]


async def test_the_end_of_what_a_client_sends_comes_behind_its_burst() -> None:
    handler = Counting()
    line = crowded(handler)
    line.send(burst())
    line.connection.eof_received()
    assert handler.handed == [path(number) for number in range(BURST)]
    assert len(line.replies) == BURST


async def test_a_server_that_stops_answers_a_burst_that_has_begun() -> None:
    handler = Counting()
    line = crowded(handler)
    line.send(burst())
    line.shared.closing = True
    line.connection.finish()
    assert not line.transport.closed
    for _ in range(200):
        await asyncio.sleep(0)
    assert line.transport.closed
    assert line.replies[-1].status == 200


async def test_a_large_request_under_a_known_head_is_handed_on_once() -> None:
    handler = Counting()
    line = Line(handler)
    for number in range(1, 4):
        line.send(http("POST", "/step", body=b"x" * 5000))
        await asyncio.sleep(0)
        assert handler.handed == [b"/step"] * number
