"""Who leads: a Lease of our own, taken and renewed by compare-and-swap on its resourceVersion.

The client library's elector keeps running after a network error, renews a lease whose leader has died, and never
releases it. Here a lease that cannot be renewed in time is lost, and a leader that stops gives it back at once.

A follower never compares clocks: it takes a lease that has not changed for as long as the lease says, by its own
monotonic clock. A leader stops `DURATION - DEADLINE` seconds before any follower may take over.
"""

import asyncio
import logging
import random
import time
from datetime import UTC, datetime

from ..facts import Manifest
from . import kinds
from .errors import ConflictError, KubeError, NotFoundError
from .kube import Kube

logger = logging.getLogger(__name__)

DURATION = 15
"""Seconds without renewal after which another may take the lease."""
DEADLINE = 10.0
"""Seconds without renewal after which we give up ourselves."""
RETRY = 2.0
"""Seconds between two tries to renew or to take it."""


class Elector:
    """One candidate for one Lease."""

    def __init__(self, kube: Kube, namespace: str, name: str, identity: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._lease: Manifest | None = None
        self._seen = ""
        self._seen_at = 0.0

    async def acquire(self) -> None:
        """Wait until we lead."""
        while True:
            try:
                async with asyncio.timeout(DEADLINE):
                    if await self._try_to_take():
                        logger.info("%s leads now", self._identity)
                        return
            except (KubeError, TimeoutError) as error:
                logger.warning("cannot take Lease %s/%s: %s", self._namespace, self._name, _word(error))
            # Earlier where it runs out earlier; never later, since a hand-over waits for this.
            left = self._seen_at + DURATION - time.monotonic()
            await asyncio.sleep(max(0.1, min(left, RETRY * random.uniform(0.8, 1.0))) if left > 0 else RETRY)

    async def hold(self) -> None:
        """Renew until it is lost; returns then. Whoever calls this must stop leading at once."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(RETRY)
            started = time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, renewed + DEADLINE - started)):
                    if not await self._renew():
                        logger.error("Lease %s/%s was taken by another", self._namespace, self._name)
                        return
                renewed = started
            except (KubeError, TimeoutError) as error:
                logger.warning("cannot renew Lease %s/%s: %s", self._namespace, self._name, _word(error))
            if time.monotonic() - renewed >= DEADLINE:
                logger.error("Lease %s/%s could not be renewed for %d s", self._namespace, self._name, DEADLINE)
                return

    async def release(self) -> None:
        """Give the lease back, if it is still ours, so that another need not wait for it to run out."""
        try:
            async with asyncio.timeout(RETRY):
                # Read anew: the answer to our last renewal may have been lost.
                live = await self._kube.get(kinds.LEASE, self._namespace, self._name)
                if live["spec"].get("holderIdentity") != self._identity:
                    return
                spec = {**live["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._kube.replace(kinds.LEASE, {**live, "spec": spec})
            logger.info("%s leads no more", self._identity)
        except (KubeError, TimeoutError) as error:
            logger.warning("cannot release Lease %s/%s: %s", self._namespace, self._name, _word(error))

    async def _try_to_take(self) -> bool:
        try:
            live = await self._kube.get(kinds.LEASE, self._namespace, self._name)
        except NotFoundError:
            self._lease = await self._kube.create(kinds.LEASE, self._first())
            return True
        spec = live.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if live["metadata"]["resourceVersion"] != self._seen:
            self._seen, self._seen_at = live["metadata"]["resourceVersion"], time.monotonic()
        duration = spec.get("leaseDurationSeconds") or DURATION
        # With our own name in it we are the same pod after a crash, and the process before us is dead.
        if holder not in {"", self._identity} and time.monotonic() - self._seen_at < duration:
            return False
        turns = spec.get("leaseTransitions") or 0
        return await self._write(live, {"acquireTime": _stamp(), "leaseTransitions": turns + 1})

    async def _renew(self) -> bool:
        lease = self._lease
        if lease is None:
            raise AssertionError("hold() comes after acquire()")
        if await self._write(lease, {}):
            return True
        # Someone wrote it: another leader, or a person who annotated it.
        live = await self._kube.get(kinds.LEASE, self._namespace, self._name)
        ours = (live.get("spec") or {}).get("holderIdentity") == self._identity
        return ours and await self._write(live, {})

    async def _write(self, live: Manifest, changes: Manifest) -> bool:
        spec = {**(live.get("spec") or {}), **self._claim(), **changes}
        try:
            self._lease = await self._kube.replace(kinds.LEASE, {**live, "spec": spec})
            return True
        except ConflictError:
            return False

    def _claim(self) -> Manifest:
        return {"holderIdentity": self._identity, "leaseDurationSeconds": DURATION, "renewTime": _stamp()}

    def _first(self) -> Manifest:
        return {
            "apiVersion": kinds.LEASE.api_version,
            "kind": kinds.LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {**self._claim(), "acquireTime": _stamp(), "leaseTransitions": 0},
        }


def _word(error: Exception) -> str:
    return str(error) or "no answer in time"


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
