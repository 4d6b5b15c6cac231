"""Replicas are asked over HTTP: what they say is believed only as far as it makes sense."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from mooring_operator.api.membership import Record
from mooring_operator.cluster import peers as module
from mooring_operator.cluster.peers import PeerPod, Peers
from mooring_operator.facts import Key

SERVICE = Key("models", "speech")
POD = PeerPod(0, "127.0.0.1", "a")
RECORD = Record(3, 1, (), {0: "s0"})
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def report(record: Record | None = RECORD, **fields: Any) -> dict[str, Any]:
    counts = {"held": 1, "ended": 0, "foreign": 0, "unreadable": 0, "bytes": 8}
    kept = None if record is None else json.loads(record.to_json())
    return {"ordinal": 0, "store": "s0", "boot": 1, "record": kept, "clean": True, "counts": counts, **fields}


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[Peers]:
    """Peers whose replicas all answer as the handler does."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with Peers(b"key", port) as peers:
            yield peers
    finally:
        await runner.cleanup()


async def silent(handler: Handler) -> str:
    async with answering(handler) as peers:
        heard = await peers.hear(SERVICE, [POD], None)
        assert heard.reports == {}
        return heard.silent[0]


async def test_the_token_is_of_the_service_and_of_the_installation() -> None:
    async with Peers(b"key") as peers, Peers(b"another") as others:
        token = peers.token(SERVICE)
        assert token == peers.token(Key("models", "speech"))
        assert len({token, peers.token(Key("models", "speech2")), others.token(SERVICE)}) == 3


async def test_a_question_shows_the_token_and_names_who_is_meant() -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, request.headers, await request.text()))
        return web.json_response(report())

    async with answering(handler) as peers:
        heard = await peers.hear(SERVICE, [POD], None)
        assert heard.reports[0].record == RECORD
        assert await peers.tell(SERVICE, [POD], RECORD) == {}
        for (method, path, headers, body), sent in zip(seen, ("", RECORD.to_json()), strict=True):
            assert (method, path) == ("PUT" if sent else "GET", "/membership")
            assert headers["Authorization"] == f"Bearer {peers.token(SERVICE)}"
            assert headers["x-mooring-to"] == "0"
            assert body == sent


async def test_a_redirect_is_not_followed() -> None:
    # It would carry the token to wherever the pod likes.
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.path)
        raise web.HTTPFound("/elsewhere")

    assert "it answers 302" in await silent(handler)
    assert seen == ["/membership"]


async def test_an_endless_answer_is_cut_off() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(64):
            await response.write(b" " * 2**16)
        return response

    assert "longer than" in await silent(handler)


async def test_what_is_no_report_is_told() -> None:
    async def garbage(_: web.Request) -> web.Response:
        return web.Response(text='{"ordinal": 0}')

    async def another(_: web.Request) -> web.Response:
        return web.json_response(report(ordinal=4))

    async def closed(_: web.Request) -> web.Response:
        return web.json_response({"error": "x", "cause": "search"}, status=503)

    assert "cannot be read" in await silent(garbage)
    assert await silent(another) == "at its address answers ordinal 4"
    assert "it answers 503" in await silent(closed)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "\x80",
        json.dumps(report(boot=float("inf"))),
        json.dumps(report(boot=-1)),
        json.dumps(report(ordinal=False)),
        json.dumps(report(store="s" * 65)),
        json.dumps(report(counts=dict.fromkeys(("held", "ended", "foreign", "unreadable", "bytes"), 2**60))),
        json.dumps(report(Record(4, 10**9))),
        json.dumps(report(Record(2**60, 1))),
        json.dumps(report(Record(4, 1, (10**9,)))),
        json.dumps(report(Record(4, 1, (), {-1: "a"}))),
    ],
    ids=[
        *("deep", "no text", "endless", "below 0", "no number", "a long store", "many"),
        *("a large size", "a large epoch", "a large past", "a store of nobody"),
    ],
)
async def test_garbage_of_one_replica_stops_nothing(text: str) -> None:
    # Believed, a size of a thousand million would hold up every other service; an error would hold up this one.
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=text.encode("latin-1"))

    said = await silent(handler)
    assert said.startswith("its answer cannot be read")
    assert len(said) < 400


async def test_without_a_key_or_an_address_nobody_is_asked() -> None:
    async with Peers() as peers:
        assert "no key" in (await peers.hear(SERVICE, [POD], None)).silent[0]
    async with Peers(b"key") as peers:
        assert "no address" in (await peers.hear(SERVICE, [POD._replace(address="")], None)).silent[0]


async def test_a_replica_that_stays_behind_is_told_of() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(report(Record(2, 1)))

    async with answering(handler) as peers:
        assert await peers.tell(SERVICE, [POD], RECORD) == {0: "has epoch 2 after it was sent epoch 3"}


async def test_slow_replicas_of_one_service_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1)
    slow, go_on, asked = Key("theirs", "slow"), asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        if request.headers["Authorization"] != f"Bearer {peers.token(SERVICE)}":
            asked.set()
            await go_on.wait()
        return web.json_response(report())

    async with answering(handler) as peers:
        waiting = asyncio.create_task(peers.hear(slow, [POD, POD._replace(ordinal=1)], None))
        await asked.wait()
        assert list((await peers.hear(SERVICE, [POD], None)).reports) == [0]
        assert await peers.tell(SERVICE, [POD], RECORD) == {}
        assert not waiting.done()
        go_on.set()
        await waiting


async def test_reports_of_a_calm_service_stand_for_a_while() -> None:
    asked = 0
    now = report()

    async def handler(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response(now)

    async with answering(handler) as peers:

        async def asks(record: Record | None = RECORD, pod: PeerPod = POD) -> bool:
            before = asked
            await peers.hear(SERVICE, [pod], record)
            return asked > before

        assert await asks()
        assert not await asks()
        assert await asks(pod=POD._replace(identity="b"))  # its container was started again
        assert not await asks(pod=POD._replace(identity="b"))
        await peers.tell(SERVICE, [POD], RECORD)
        assert await asks()
        peers.forget(SERVICE)
        assert await asks()
    # While something is under way each round asks.
    for unsettled in (report(clean=False), report(Record(3, 1, (2,), {0: "s0"}), clean=True)):
        now = unsettled
        kept = Record.of(unsettled["record"])
        async with answering(handler) as peers:
            for _ in range(2):
                before = asked
                await peers.hear(SERVICE, [POD], kept)
                assert asked == before + 1
    assert module.REMEMBER > 1
