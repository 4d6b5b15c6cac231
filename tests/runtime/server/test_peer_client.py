"""The transport between replicas against sockets that answer, hang up, lie and are not there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mooring_runtime.frontends.http.session_access import TokenFile
from mooring_runtime.messages import InferResponse
from mooring_runtime.server import peer_client
from mooring_runtime.server.peer_client import PeerClient
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.messages import Answer, Ask, Behind, Envelope, Presence, Presences, encode_answer
from mooring_runtime.sessions.passing import Step, encode_outcome
from mooring_runtime.sessions.peers import PeerFailed, Refused, Unanswered, Unreachable
from tests.support.neighbours import request_of

ENVELOPE = Envelope(4, 0, 1, "store")
ASK = Ask((Key("m", "a"),))
HERE = Answer(4, None, Presences((Presence.HERE,)))

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
    return head, await reader.readexactly(size)


def answer(status: bytes, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", b""]) + body


@contextlib.asynccontextmanager
async def peer(serve: Serve, folder: Path) -> AsyncIterator[PeerClient]:
    """A client of ordinal 1, for whose connections `serve` answers."""
    token = folder / "token"
    token.write_text("secret\n")

    serving: list[asyncio.Task[None] | None] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)  # Ordinal 1 of 127.0.0.{ordinal}.
    port = server.sockets[0].getsockname()[1]
    client = PeerClient(f"http://127.0.0.{{ordinal}}:{port}", TokenFile(token))
    try:
        yield client
    finally:
        client.close()
        await asyncio.gather(*[each for each in serving if each is not None])
        server.close()
        await server.wait_closed()


async def test_messages_of_one_connection_follow_each_other(tmp_path: Path) -> None:
    connections: list[list[bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads: list[bytes] = []
        connections.append(heads)
        while True:
            head, _ = await read_request(reader)
            heads.append(head)
            for byte in answer(b"200 OK", encode_answer(HERE)):
                writer.write(bytes((byte,)))

    async with peer(serve, tmp_path) as client:
        for _ in range(3):
            assert await client.send(1, ENVELOPE, ASK, 5) == HERE
        assert len(connections) == 1
        assert len(connections[0]) == 3
        head = connections[0][0].lower()
        assert head.startswith(b"post /absent http/1.1\r\n")
        for line in (b"authorization: bearer secret", b"x-mooring-from: 0", b"x-mooring-to: 1", b"x-mooring-epoch: 4"):
            assert line + b"\r\n" in head
        # Two at the same time need two.
        await asyncio.gather(client.send(1, ENVELOPE, ASK, 5), client.send(1, ENVELOPE, ASK, 5))
        assert len(connections) == 2


async def test_a_connection_that_was_closed_while_it_rested_is_not_used_again(tmp_path: Path) -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await read_request(reader)
        served += 1
        writer.write(answer(b"200 OK", encode_answer(HERE), b"Connection: close"))

    async with peer(serve, tmp_path) as client:
        for _ in range(3):
            assert await client.send(1, ENVELOPE, ASK, 5) == HERE
        assert served == 3


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"", Unanswered),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", Unanswered),
        (b"SSH-2.0-x\r\n\r\n", Unanswered),
        (answer(b"200 OK", b"what"), Unanswered),
        (answer(b"500 Internal Server Error", b"{}"), Unanswered),
        (answer(b"421 Misdirected Request", b'{"error": "not me"}'), Refused),
        (answer(b"401 Unauthorized", b"{}"), Refused),
        (answer(b"503 Service Unavailable", b"{}"), Refused),
    ],
)
async def test_what_is_no_answer(reply: bytes, error: type[PeerFailed], tmp_path: Path) -> None:
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while True:
            await read_request(reader)
            requests += 1
            writer.write(reply)
            if reply[-1:] in (b"", b"{"):
                return

    async with peer(serve, tmp_path) as client:
        with pytest.raises(error):
            await client.send(1, ENVELOPE, ASK, 5)
        with pytest.raises(error):
            await client.pass_on(1, ENVELOPE, Step("m", None, request_of("a"), None))
        assert requests == 2  # Nothing was sent twice.


async def test_no_answer_in_time(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        assert await reader.read() == b""  # The client gives the connection up: a late answer is nobody's.
        closed.set()

    async with peer(serve, tmp_path) as client:
        with pytest.raises(Unanswered, match="within"):
            await client.send(1, ENVELOPE, ASK, 0.05)
        await closed.wait()


async def test_nobody_is_there(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError

    async with peer(serve, tmp_path) as client:
        gone = client
    with pytest.raises(Unreachable, match="cannot connect"):
        await gone.send(1, ENVELOPE, ASK, 5)


async def test_a_step_is_answered_or_the_record_is_missing(tmp_path: Path) -> None:
    outcome = encode_outcome(InferResponse("m", "1", ()))
    replies = [
        answer(b"200 OK", outcome, b"Content-Type: application/octet-stream", b"X-Mooring-Epoch: 7"),
        answer(b"200 OK", encode_answer(Answer(3, None, Behind())), b"Content-Type: application/json"),
    ]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            await read_request(reader)
            writer.write(reply)

    async with peer(serve, tmp_path) as client:
        step = Step("m", None, request_of("a"), 1.0)
        assert await client.pass_on(1, ENVELOPE, step) == (7, InferResponse("m", "1", ()))
        assert await client.pass_on(1, ENVELOPE, step) == (3, None)


async def test_a_step_waits_for_as_long_as_its_replica_shows_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_client, "_SILENCE", 0.02)
    monkeypatch.setattr(peer_client, "_SIGN", 0.1)
    asked, lives = 0, True

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked, lives
        while True:
            head, _ = await read_request(reader)
            if head.startswith(b"GET /membership") and lives:
                asked += 1
                lives = asked < 5
                writer.write(answer(b"200 OK", b"{}"))
            else:  # It hangs.
                await reader.read()
                return

    async with peer(serve, tmp_path) as client:
        with pytest.raises(Unanswered, match="no sign of life"):
            await client.pass_on(1, ENVELOPE, Step("m", None, request_of("a"), None))
        assert asked == 5


async def heard(client: PeerClient) -> None:
    """Wait until it takes nobody for mute."""
    looking = [task for task in client._looking if not task.done()]
    await asyncio.gather(*looking)
    assert client._mute == {}


async def test_who_gave_no_sign_of_life_is_sent_no_step_until_it_gives_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_client, "_SILENCE", 0.02)
    monkeypatch.setattr(peer_client, "_SIGN", 0.05)
    monkeypatch.setattr(peer_client, "_BETWEEN", 0.01)
    sent, hangs = 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            head, _ = await read_request(reader)
            if head.startswith(b"GET /membership"):
                await hangs.wait()
                writer.write(answer(b"200 OK", b"{}"))
            else:
                sent += 1
                await hangs.wait()
                outcome = encode_outcome(InferResponse("m", "1", ()))
                writer.write(answer(b"200 OK", outcome, b"Content-Type: application/octet-stream"))

    async with peer(serve, tmp_path) as client:
        step = Step("m", None, request_of("a"), None)
        with pytest.raises(Unanswered, match="no sign of life"):
            await client.pass_on(1, ENVELOPE, step)
        for _ in range(3):
            with pytest.raises(Unreachable, match="no sign of life"):
                await client.pass_on(1, ENVELOPE, step)
        assert sent == 1
        hangs.set()
        await heard(client)
        assert (await client.pass_on(1, ENVELOPE, step)).outcome == InferResponse("m", "1", ())


async def test_who_gives_none_for_long_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It may be there no more, or have lost the question alone.
    for name in ("_SILENCE", "_SIGN", "_BETWEEN"):
        monkeypatch.setattr(peer_client, name, 0.01)
    monkeypatch.setattr(peer_client, "_MUTE", 0.05)
    steps = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal steps
        head, _ = await read_request(reader)
        steps += not head.startswith(b"GET")
        await reader.read()

    async with peer(serve, tmp_path) as client:
        for expected in (1, 2):
            with pytest.raises(Unanswered, match="no sign of life"):
                await client.pass_on(1, ENVELOPE, Step("m", None, request_of("a"), None))
            assert steps == expected
            await heard(client)


async def test_a_replica_that_lets_nobody_in_any_more_still_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_client, "_SILENCE", 0.02)
    refused, twice = 0, asyncio.Event()

    async def sign(self: PeerClient, *request: object) -> tuple[int, bool, bytes]:
        nonlocal refused
        refused += 1
        if refused == 2:
            twice.set()
        raise Unreachable("cannot connect") from ConnectionRefusedError()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await twice.wait()
        writer.write(
            answer(b"200 OK", encode_outcome(InferResponse("m", "1", ())), b"Content-Type: application/octet-stream")
        )

    monkeypatch.setattr(PeerClient, "ask", sign)
    async with peer(serve, tmp_path) as client:
        reply = await client.pass_on(1, ENVELOPE, Step("m", None, request_of("a"), None))
        assert reply.outcome == InferResponse("m", "1", ())
