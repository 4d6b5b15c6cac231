"""A thin client of the API server: plain JSON in and out, bounded, counted, with our own errors.

Reads and writes are one method each; every write names its field manager or its preconditions.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp

from .. import metrics
from ..facts import Manifest
from . import kinds
from .connection import Connection
from .errors import KubeError, NotFoundError, UnauthorizedError, UnavailableError, from_answer
from .kinds import Kind

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE = 100
"""Objects of one page of a list: the whole answer stands in memory while it is parsed."""
TRIES = 3
LONGEST_WAIT = 5.0
"""Seconds that a Retry-After may hold a request; what takes longer goes back to the queue."""
WATCH_SECONDS = 60
"""How long a watch lasts at most: a line that was cut without a word is noticed by then."""
_WATCH = (("watch", "1"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", str(WATCH_SECONDS)))
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=5)


class Call(NamedTuple):
    """One request."""

    verb: str
    """As RBAC calls it, and `apply` for server-side apply: the label of the metric."""
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Manifest | None = None
    content_type: str = JSON
    accept: str = JSON


class Kube:
    """The API server. At most `concurrency` requests are in flight; 429 is the only other brake."""

    def __init__(self, connection: Connection, concurrency: int) -> None:
        self._connection = connection
        self._session = connection.session()
        self._slots = asyncio.Semaphore(concurrency)
        self._told: tuple[str, float] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    def now(self) -> datetime:
        """Return the time of the API server, as its last answer told it, or else our own."""
        if self._told is None:
            return datetime.now(UTC)
        date, at = self._told
        return parsedate_to_datetime(date) + timedelta(seconds=time.monotonic() - at)

    async def get(self, kind: Kind, namespace: str | None, name: str, metadata_only: bool = False) -> Manifest:
        """Return one object. Raises `NotFoundError`."""
        accept = METADATA if metadata_only else JSON
        return await self.call(Call("get", "GET", kind.path(namespace, name), accept=accept))

    async def pages(
        self,
        kind: Kind,
        selector: str = "",
        *,
        fields: str = "",
        namespace: str | None = None,
        metadata_only: bool = False,
    ) -> AsyncIterator[list[Manifest]]:
        """Yield all objects of a kind that a label and a field selector select, page by page, as of one moment.

        Raises `KubeError` with status 410 when the pages take so long that the server has forgotten that moment.
        """
        query: tuple[tuple[str, str], ...] = (("limit", str(PAGE)),)
        query += _labelled(selector)
        if fields:
            query += (("fieldSelector", fields),)
        path = kind.path(namespace)
        async for answer in self._answers(path, query, METADATA_LIST if metadata_only else JSON):
            yield answer.get("items") or []

    async def _answers(self, path: str, query: tuple[tuple[str, str], ...], accept: str) -> AsyncIterator[Manifest]:
        token = ""
        while True:
            place = (*query, ("continue", token)) if token else query
            answer = await self.call(Call("list", "GET", path, place, accept=accept))
            yield answer
            token = answer["metadata"].get("continue", "")
            if not token:
                return

    async def list_whole(self, kind: Kind, selector: str = "") -> tuple[list[Manifest], str]:
        """Return the objects that a label selector selects, and the resourceVersion as of which `watch` goes on."""
        found: list[Manifest] = []
        version = ""
        query = (("limit", str(PAGE)), *_labelled(selector))
        async for answer in self._answers(kind.path(None), query, JSON):
            found += answer.get("items") or []
            version = answer["metadata"]["resourceVersion"]
        return found, version

    async def watch(self, kind: Kind, version: str, selector: str = "") -> AsyncIterator[tuple[str, Manifest]]:
        """Yield what happens to the objects of a kind after a resourceVersion, until the server ends the watch.

        Yields the type (ADDED, MODIFIED, DELETED or BOOKMARK, which tells a newer resourceVersion only) and the object.
        The server ends a watch after `WATCH_SECONDS`. A line that was cut for longer than that is an error, too: it
        would else be silent for ever. Raises `KubeError`, with status 410 when the version is forgotten: list again.
        """
        call = Call("watch", "GET", kind.path(None), (*_WATCH, ("resourceVersion", version), *_labelled(selector)))
        url = self._connection.server + call.path
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=WATCH_SECONDS + 15)
        try:
            async with self._session.get(url, params=call.query, timeout=timeout) as response:
                metrics.API_REQUESTS.labels(call.verb, response.status).inc()
                if response.status != 200:
                    raw = await response.read()
                    raise _failure(response.status, _parse(raw), raw, call)
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise from_answer(int(event["object"].get("code") or 500), event["object"], _what(call))
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            cause = str(error) or type(error).__name__
            raise UnavailableError(0, "NoAnswer", f"cannot {_what(call)}: {cause}") from error

    async def apply(
        self, kind: Kind, manifest: Manifest, manager: str, force: bool = True, subresource: str | None = None
    ) -> Manifest:
        """Apply a manifest server-side and return the object as it stands then.

        `metadata.uid` in the manifest makes it refuse (`ConflictError`) another object of that name, and an absent one;
        `metadata.resourceVersion: "1"`, which no object has, makes it refuse every object that exists: create or
        `ConflictError`, in one request and without a race.
        """
        meta = manifest["metadata"]
        path = kind.path(meta.get("namespace"), meta["name"], subresource)
        query = (("fieldManager", manager), ("force", "true" if force else "false"))
        return await self.call(Call("apply", "PATCH", path, query, manifest, APPLY))

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create an object. Raises `ConflictError` when it exists."""
        return await self.call(Call("create", "POST", kind.path(manifest["metadata"].get("namespace")), (), manifest))

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Replace an object. Raises `ConflictError` unless its resourceVersion is still that of the manifest."""
        meta = manifest["metadata"]
        return await self.call(Call("update", "PUT", kind.path(meta.get("namespace"), meta["name"]), (), manifest))

    async def delete(self, kind: Kind, namespace: str | None, name: str, uid: str) -> None:
        """Delete an object and, in the background, what it owns; nothing happens when it is gone.

        Raises `ConflictError` when another object, with another uid, has the name now.
        """
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        with contextlib.suppress(NotFoundError):
            await self.call(Call("delete", "DELETE", kind.path(namespace, name), (), options))

    async def orphan(self, kind: Kind, live: Manifest) -> None:
        """Delete an object as it was seen, and leave what it owns; nothing happens when it is gone.

        Raises `ConflictError` when it was written meanwhile, or another object has the name now.
        """
        meta = live["metadata"]
        preconditions = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        options = {"propagationPolicy": "Orphan", "preconditions": preconditions}
        with contextlib.suppress(NotFoundError):
            await self.call(Call("delete", "DELETE", kind.path(meta["namespace"], meta["name"]), (), options))

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        """Evict a pod. Raises `NotFoundError`, `ConflictError` when another pod has the name now, and
        `UnavailableError` with status 429 when a disruption budget allows it later.
        """
        meta = {"name": name, "namespace": namespace}
        options = {"preconditions": {"uid": uid}}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta, "deleteOptions": options}
        await self.call(Call("create", "POST", kinds.POD.path(namespace, name, "eviction"), (), body))

    async def read(self, path: str) -> Manifest:
        """Return what stands at a path of the API: discovery, versions."""
        return await self.call(Call("get", "GET", path))

    async def call(self, call: Call) -> Manifest:
        """Send a request; try again for a short while on 429, 503 and no answer. Raises `KubeError`."""
        for attempt in range(1, TRIES + 1):
            try:
                async with self._slots:
                    return await self._send(call)
            except UnauthorizedError:
                if attempt > 1:
                    raise
                await self._connection.reload()
                continue
            except UnavailableError as error:
                # Without an answer a write may have been done: all but `create` may be done twice, by their uid,
                # resourceVersion or field manager.
                again = error.status in {429, 503} or (error.status == 0 and call.verb != "create")
                wait = error.retry_after if error.retry_after is not None else 0.1 * 2**attempt
                if attempt == TRIES or not again or wait > LONGEST_WAIT:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send(self, call: Call) -> Manifest:
        url = self._connection.server + call.path
        headers = {"Accept": call.accept}
        data = None
        if call.body is not None:
            headers["Content-Type"] = call.content_type
            data = json.dumps(call.body, separators=(",", ":")).encode()
        started = time.perf_counter()
        status = 0
        try:
            async with self._session.request(
                call.method, url, params=call.query, headers=headers, data=data, timeout=TIMEOUT
            ) as response:
                status = response.status
                raw = await response.read()
                retry_after = response.headers.get("Retry-After", "")
                if "Date" in response.headers:
                    self._told = response.headers["Date"], time.monotonic()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            cause = str(error) or type(error).__name__
            raise UnavailableError(0, "NoAnswer", f"cannot {_what(call)}: {cause}") from error
        finally:
            metrics.API_REQUESTS.labels(call.verb, status).inc()
            metrics.API_SECONDS.labels(call.verb).observe(time.perf_counter() - started)
        body = _parse(raw)
        if status < 300 and body is not None:
            return body
        failure = _failure(status, body, raw, call)
        if retry_after.isdigit():
            failure.retry_after = float(retry_after)
        raise failure


def _labelled(selector: str) -> tuple[tuple[str, str], ...]:
    return (("labelSelector", selector),) if selector else ()


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _failure(status: int, body: dict[str, Any] | None, raw: bytes, call: Call) -> KubeError:
    if body is None:
        body = {"message": raw[:200].decode(errors="replace") or "empty answer"}
        if status < 300:
            return UnavailableError(status, "NotJSON", f"cannot {_what(call)}: the answer is no JSON object")
    return from_answer(status, body, _what(call))


def _what(call: Call) -> str:
    return f"{call.verb} {call.path}"
