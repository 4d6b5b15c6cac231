"""Events on a service, for `kubectl describe`: best effort, never twice the same, never in the loop's way."""

import asyncio
import contextlib
import logging
import time
import uuid
from datetime import UTC, datetime

from .. import metrics
from ..api import names
from ..facts import Manifest
from . import kinds
from .errors import KubeError
from .kube import Kube

logger = logging.getLogger(__name__)

SAME = 600.0
"""Seconds for which an Event is not said again."""
BURST = 25
"""Events of one service at once; then one each `REFILL` seconds: what kubectl's own recorders keep to."""
REFILL = 300.0
WAITING = 1000
"""Events that may wait to be written; later ones are dropped."""


class Restraint:
    """Decides what is said: nothing twice, and no flood from one service. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str, str], float] = {}
        self._budget: dict[str, tuple[float, float]] = {}

    def allows(self, uid: str, reason: str, message: str, now: float) -> bool:
        """Tell whether this may be said of a service now, and remember that it was; count what is left out."""
        if now - self._said.get((uid, reason, message), float("-inf")) < SAME:
            return False
        left, since = self._budget.get(uid, (float(BURST), now))
        left = min(float(BURST), left + (now - since) / REFILL)
        if left < 1.0:
            metrics.EVENTS_DROPPED.inc()
            return False
        self._budget[uid] = (left - 1.0, now)
        self._said[uid, reason, message] = now
        if len(self._said) > WAITING:
            self._said = {key: at for key, at in self._said.items() if now - at < SAME}
            self._budget = {key: at for key, at in self._budget.items() if now - at[1] < BURST * REFILL}
        return True


class EventRecorder:
    """Writes Events in a task of its own."""

    def __init__(self, kube: Kube, identity: str) -> None:
        self._kube = kube
        self._identity = identity
        self._waiting: asyncio.Queue[Manifest] = asyncio.Queue(WAITING)
        self._restraint = Restraint()

    def record(self, live: Manifest, kind: str, reason: str, message: str) -> None:
        """Say something about a service (`kind`: Normal or Warning); returns at once."""
        if self._waiting.full():
            metrics.EVENTS_DROPPED.inc()
        elif self._restraint.allows(live["metadata"]["uid"], reason, message, time.monotonic()):
            self._waiting.put_nowait(_event(live, self._identity, kind, reason, message))

    async def run(self) -> None:
        """Write what was said, until cancelled; what is still waiting then is written if it takes under a second."""
        try:
            while True:
                await self._write(await self._waiting.get())
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    while not self._waiting.empty():
                        await self._write(self._waiting.get_nowait())

    async def _write(self, event: Manifest) -> None:
        try:
            await self._kube.create(kinds.EVENT, event)
        except KubeError as error:
            logger.warning("an Event was not written: %s", error)


def _event(live: Manifest, identity: str, kind: str, reason: str, message: str) -> Manifest:
    meta = live["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": kinds.EVENT.api_version,
        "kind": kinds.EVENT.kind,
        "metadata": {"name": f"{meta['name']}.{uuid.uuid4().hex[:16]}", "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "type": kind,
        "reason": reason[:128],
        "message": message[:1024],  # the API server's own bound
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": names.FIELD_MANAGER},
        "reportingComponent": f"{names.GROUP}/operator",
        "reportingInstance": identity,
    }
