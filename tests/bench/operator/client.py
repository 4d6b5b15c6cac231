"""A plain client of the API server: JSON over one HTTP session, nothing remembered, nothing clever."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from mooring_operator.cluster.kinds import Kind

Manifest = dict[str, Any]
T = TypeVar("T")
IN_FLIGHT = 16
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
LARGEST_EVENT = 2**21


class RefusedError(Exception):
    """The API server answered something else than success."""


class Client:
    """Sends requests as the user of a kubeconfig that `tests.cluster` wrote."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    @classmethod
    @asynccontextmanager
    async def of(cls, kubeconfig: Path) -> AsyncIterator["Client"]:
        """Open a session; it ends with the block."""
        server, authority, token = _credentials(kubeconfig)
        connector = aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(cadata=authority))
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers, read_bufsize=LARGEST_EVENT) as session:
            yield cls(session, server)

    async def apply(self, kind: Kind, manifest: Manifest, manager: str) -> Manifest:
        """Apply a manifest server-side."""
        meta = manifest["metadata"]
        path = kind.path(meta["namespace"], meta["name"])
        return await self._send("PATCH", path, manifest, APPLY, {"fieldManager": manager, "force": "true"})

    async def create(self, path: str, manifest: Manifest) -> Manifest:
        """Create an object in a collection."""
        return await self._send("POST", path, manifest)

    async def merge(self, path: str, change: Manifest) -> Manifest:
        """Change an object."""
        return await self._send("PATCH", path, change, MERGE)

    async def delete(self, path: str) -> None:
        """Ask for an object to be deleted."""
        await self._send("DELETE", path)

    async def exists(self, path: str) -> bool:
        """Tell whether an object is there."""
        async with self._session.get(self._server + path) as answer:
            return answer.status == 200

    async def items(self, kind: Kind, namespace: str) -> list[Manifest]:
        """Return all objects of a kind in a namespace."""
        found: list[Manifest] = (await self._send("GET", kind.path(namespace)))["items"]
        return found

    async def watch(self, kind: Kind, namespace: str) -> AsyncIterator[Manifest]:
        """Yield the objects of a kind as they are and then as they change, without end."""
        path, query = kind.path(namespace), {"watch": "true", "timeoutSeconds": "3600"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._server + path, params=query, timeout=timeout) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RefusedError(f"watch {path}: {event['object']}")
                yield event["object"]

    async def _send(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        content_type: str = "application/json",
        query: dict[str, str] | None = None,
    ) -> Manifest:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        url = self._server + path
        async with self._session.request(method, url, params=query, data=data, headers=headers) as answer:
            raw = await answer.read()
            if answer.status >= 300:
                raise RefusedError(f"{method} {path}: {answer.status} {raw[:500].decode(errors='replace')}")
            result: Manifest = json.loads(raw)
            return result


def _credentials(kubeconfig: Path) -> tuple[str, str, str]:
    """Return the server's address, the certificate of its authority and the user's token."""
    config = json.loads(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    return cluster["server"], base64.b64decode(cluster["certificate-authority-data"]).decode(), user["token"]


async def in_flight(what: Iterable[T], do: Callable[[T], Awaitable[object]], count: int = IN_FLIGHT) -> None:
    """Do something with each of `what`, `count` at once."""
    waiting = iter(list(what))

    async def work() -> None:
        for item in waiting:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(work())
