"""What our own writes caused is taken out of a watch, and nothing else."""

import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, cast

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from kopf._cogs.clients.api import iter_jsonlines

from mooring_operator.cluster import echoes, kinds
from mooring_operator.cluster.echoes import Echoes


def line(version: int, **meta: Any) -> bytes:
    """An event of a watch, as the API server writes it."""
    metadata = {"annotations": {"note": '{"resourceVersion":"1"}'}, **meta, "resourceVersion": str(version)}
    return json.dumps({"type": "MODIFIED", "object": {"metadata": metadata}}, separators=(",", ":")).encode()


def test_an_echo_is_taken_once() -> None:
    expected = Echoes()
    expected.expect(kinds.SERVICE, "7")
    assert not expected.take("services", line(6))
    assert not expected.take("deployments", line(7))  # each resource may have versions of its own
    assert expected.take("services", line(7))
    assert not expected.take("services", line(7))


def test_a_version_within_an_annotation_is_no_echo() -> None:
    expected = Echoes()
    expected.expect(kinds.SERVICE, "1")
    assert not expected.take("services", line(6))
    assert not expected.take("services", b'{"type":"BOOKMARK","object":{"metadata":{}}}')


def test_echoes_that_never_come_are_forgotten() -> None:
    expected = Echoes()
    for version in range(echoes.KEPT + 1):
        expected.expect(kinds.SERVICE, str(version))
    assert not expected.take("services", line(0))
    assert expected.take("services", line(1))
    assert expected.take("services", line(echoes.KEPT))


@given(cuts=st.sets(st.integers(1, 500)), echoed=st.sets(st.integers(1, 5)), ended=st.booleans())
async def test_wherever_the_stream_is_cut_only_echoes_are_missing(
    cuts: set[int], echoed: set[int], ended: bool
) -> None:
    expected = Echoes()
    for version in echoed:
        expected.expect(kinds.SERVICE, str(version))
    body = b"\n".join(line(version) for version in range(1, 6)) + (b"\n" if ended else b"")
    places = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    pieces = [body[start:end] for start, end in pairwise(places)]
    watch = cast(aiohttp.StreamReader, echoes.Watch(cast(aiohttp.StreamReader, Pieces(pieces)), expected, "services"))
    # The last line is one only when it was ended: the connection broke in the middle of it.
    lost = {version for version in echoed if ended or version < 5}
    assert [read async for read in iter_jsonlines(watch)] == [line(n) for n in range(1, 6) if n not in lost]


class Pieces:
    """A stream that arrives in just these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def test_only_watches_are_looked_at() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=line(1) + b"\n" + line(2) + b"\n")

    application = web.Application()
    application.router.add_get("/api/v1/services", answer)
    async with TestServer(application) as server:
        url = server.make_url("/api/v1/services")
        for query, read in (({"watch": "true"}, [line(2)]), ({}, [line(1), line(2)])):
            expected = Echoes()
            expected.expect(kinds.SERVICE, "1")
            async with (
                aiohttp.ClientSession(middlewares=(expected.drop,)) as session,
                session.get(url, params=query) as response,
            ):
                assert [each async for each in iter_jsonlines(response.content)] == read
