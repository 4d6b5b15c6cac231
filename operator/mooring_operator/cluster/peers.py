"""What the operator and the replicas of stateful services say to each other, over the peer port of each pod.

`GET /membership` asks for a replica's report, `PUT /membership` sends it a record. The token of a service is an HMAC of
its name by the installation's key: the operator never reads the Secret that holds it, and a service that is deleted and
applied again, over volumes that were kept, has the same one.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, NamedTuple, Self

import aiohttp
from yarl import URL

from .. import metrics
from ..api import names
from ..api.membership import Record, Report
from ..facts import TOKEN_REFUSED, Key

TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0)
"""Of one question. Who has no answer by then is asked again in a later round."""
REMEMBER: Final = 10.0
"""Seconds for which the reports of a settled service stand for another question: its rounds have many causes."""
LARGEST: Final = 2**20
"""Bytes of an answer that are read: a pod runs what a user put into it."""
AT_ONCE: Final = 64
"""Replicas of one service that are asked at once: those of another one, that answer slowly, hold up nobody else's."""


class PeerPod(NamedTuple):
    """A pod that may answer: where, and what tells it from itself after a restart."""

    ordinal: int
    address: str
    """Its IP; empty: it has none yet."""
    identity: str
    """Changes with the pod, with each restart of its container and with its readiness."""


class Heard(NamedTuple):
    """What the replicas of one service say."""

    reports: Mapping[int, Report]
    silent: Mapping[int, str]
    """Ordinals that gave no report, and why."""


class _Known(NamedTuple):
    """Reports that may stand for another question."""

    until: float
    pods: tuple[PeerPod, ...]
    heard: Heard


class SilentError(Exception):
    """A replica gave no answer that can be used; the message says why."""


class Peers:
    """Asks and tells replicas. `key` is the installation's; empty: it is not known yet, and nobody is asked."""

    def __init__(self, key: bytes = b"", port: int = names.PEER_PORT) -> None:
        self.key = key
        self._port = port
        self._known: dict[Key, _Known] = {}
        self._open: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._open = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=TIMEOUT,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()
        self._open = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._open is None:
            raise AssertionError("replicas are asked within `async with`")
        return self._open

    def token(self, service: Key) -> str:
        """Return the peer token of a service."""
        text = f"{service.namespace}/{service.name}"
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()

    async def hear(self, service: Key, pods: Iterable[PeerPod], record: Record | None) -> Heard:
        """Ask all pods at once for their reports, where `record` is the one that is kept."""
        asked = tuple(sorted(pods))
        known = self._known.get(service)
        if known is not None and known.pods == asked and time.monotonic() < known.until:
            return known.heard
        slots = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*[self._report(service, pod, slots) for pod in asked])
        reports = {
            pod.ordinal: answer for pod, answer in zip(asked, answers, strict=True) if isinstance(answer, Report)
        }
        silent = {pod.ordinal: answer for pod, answer in zip(asked, answers, strict=True) if isinstance(answer, str)}
        heard = Heard(reports, silent)
        self._known.pop(service, None)
        if record is not None and _is_calm(heard, record):
            self._known[service] = _Known(time.monotonic() + REMEMBER, asked, heard)
        return heard

    async def tell(self, service: Key, pods: Iterable[PeerPod], record: Record) -> Mapping[int, str]:
        """Send a record to pods, all at once; return the ordinals that have not taken it, and why."""
        self._known.pop(service, None)
        told, slots = tuple(pods), asyncio.Semaphore(AT_ONCE)
        outcomes = await asyncio.gather(*[self._tell(service, pod, record, slots) for pod in told])
        return {pod.ordinal: outcome for pod, outcome in zip(told, outcomes, strict=True) if outcome}

    def forget(self, service: Key) -> None:
        """Forget a service that is gone."""
        self._known.pop(service, None)

    async def _report(self, service: Key, pod: PeerPod, slots: asyncio.Semaphore) -> Report | str:
        try:
            async with slots:
                return await self._exchange("GET", service, pod)
        except SilentError as error:
            return str(error)

    async def _tell(self, service: Key, pod: PeerPod, record: Record, slots: asyncio.Semaphore) -> str:
        try:
            async with slots:
                report = await self._exchange("PUT", service, pod, record.to_json())
        except SilentError as error:
            return str(error)
        adopted = 0 if report.record is None else report.record.epoch
        return "" if adopted >= record.epoch else f"has epoch {adopted} after it was sent epoch {record.epoch}"

    async def _exchange(self, method: str, service: Key, pod: PeerPod, body: str | None = None) -> Report:
        if not self.key:
            raise SilentError("the operator has no key yet for the peers' token")
        if not pod.address:
            raise SilentError("its pod has no address yet")
        headers = {
            "Authorization": f"Bearer {self.token(service)}",
            # An address may have gone to another pod: that one then does nothing.
            names.HEADER_PEER_TO: str(pod.ordinal),
        }
        url = URL.build(scheme="http", host=pod.address, port=self._port, path=names.PEER_PATH_MEMBERSHIP)
        started, status = time.perf_counter(), 0
        try:
            # A redirect would take the token wherever the pod likes.
            async with self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
                raw = await _read(answer.content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SilentError(f"its peer port does not answer: {str(error) or type(error).__name__}") from error
        finally:
            metrics.PEER_REQUESTS.labels(method, status).inc()
            metrics.PEER_SECONDS.observe(time.perf_counter() - started)
        if status != HTTPStatus.OK:
            raise SilentError(_refusal(service, status, raw))
        return _parse(pod, raw)


def _is_calm(heard: Heard, record: Record) -> bool:
    """Tell whether nothing is under way that another question could find further on."""
    return (
        record.settled
        and not heard.silent
        and all(each.clean and each.record == record for each in heard.reports.values())
    )


async def _read(content: aiohttp.StreamReader) -> bytes:
    raw = bytearray()
    async for chunk in content.iter_any():
        raw += chunk
        if len(raw) > LARGEST:
            raise SilentError(f"its answer is longer than {LARGEST} bytes")
    return bytes(raw)


def _parse(pod: PeerPod, raw: bytes) -> Report:
    try:
        report = Report.parse(raw.decode())
    except ValueError as error:
        raise SilentError(f"its answer cannot be read: {str(error)[:300]}") from None
    if report.ordinal != pod.ordinal:
        raise SilentError(f"at its address answers ordinal {report.ordinal}")
    return report


def _refusal(service: Key, status: int, raw: bytes) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        secret = f"{service.name}{names.SUFFIX_PEER_TOKEN}"
        return (
            f"{TOKEN_REFUSED}: Secret {secret!r} was made with another key, or by somebody else. "
            "Delete it, and restart the pods when the operator has made it anew"
        )
    return f"it answers {status}: {raw[:300].decode(errors='replace')}"
