"""Watch events that our own writes cause, dropped before anyone parses them.

The answer to a write is the object as it then stands, and the cache takes it in. The watch brings the same once more,
and kopf spends several times on an event what the answer cost: with 200 new services, a third of our CPU. Within one
resource a resourceVersion is given once, so an event that carries the version of an answer is that echo, nothing else.
"""

import re
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp

from .kinds import Kind

KEPT = 4096
"""Versions that are remembered. One whose echo has come is forgotten; one that never comes is pushed out."""
# The object's own: within a string the quotes are escaped, and of the kinds that are watched none holds another field
# of this name with a version in it.
_VERSION = re.compile(rb'"resourceVersion":"([0-9]+)"')


class Echoes:
    """The versions that our writes were answered with."""

    def __init__(self) -> None:
        self._expected: dict[tuple[str, bytes], None] = {}

    def expect(self, kind: Kind, version: str) -> None:
        """Note the answer to a write; only after the cache has taken it in."""
        self._expected[kind.plural, version.encode()] = None
        if len(self._expected) > KEPT:
            del self._expected[next(iter(self._expected))]

    def take(self, plural: str, line: bytes) -> bool:
        """Tell whether a line of a watch of this resource is an echo, and expect it no more."""
        found = _VERSION.search(line)
        if found is None or (plural, found[1]) not in self._expected:
            return False
        del self._expected[plural, found[1]]
        return True

    async def drop(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Take the echoes out of the answer, when it is a watch: a middleware of aiohttp."""
        response = await handler(request)
        if response.status == 200 and request.url.query.get("watch") == "true":
            watch = Watch(response.content, self, request.url.name)
            response.content = cast(aiohttp.StreamReader, watch)
        return response


class Watch:
    """The body of a watch as kopf reads it, without echoes."""

    def __init__(self, content: aiohttp.StreamReader, echoes: Echoes, plural: str) -> None:
        self._content = content
        self._echoes = echoes
        self._plural = plural

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield whole lines, as kopf's reader of lines asks for them, and at the end what is left."""
        rest = b""
        async for chunk in self._content.iter_chunked(size):
            *lines, rest = (rest + chunk).split(b"\n")
            kept = [line + b"\n" for line in lines if not self._echoes.take(self._plural, line)]
            if kept:
                yield b"".join(kept)
        if rest:
            yield rest
