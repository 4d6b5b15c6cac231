"""The services of the cluster, by list and watch: what each of them asks for, and how many replicas it has."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ..cluster.errors import KubeError
from ..cluster.kinds import INFERENCE_SERVICE
from ..cluster.kube import Kube
from ..facts import Key, Manifest, Service
from ..validation import parse_service

logger = logging.getLogger(__name__)

RETRY: Final = 2.0
"""Seconds between two tries while the API server does not answer."""
FORGOTTEN: Final = 410


class Seen(NamedTuple):
    """One InferenceService as last seen."""

    uid: str
    generation: int
    service: Service | None
    """None: its spec cannot be read."""
    problem: str
    """Why not."""
    replicas: int
    """Pods that it has, as its status tells."""


class Services:
    """What is known of all services. `ready` once they were listed; from then on it only ever gets newer."""

    def __init__(self, kube: Kube) -> None:
        self.ready = False
        self._kube = kube
        self._seen: dict[Key, Seen] = {}

    def __iter__(self) -> Iterator[tuple[Key, Seen]]:
        return iter(tuple(self._seen.items()))

    def readable(self) -> list[Service]:
        """Return the services whose spec can be read."""
        return [seen.service for seen in self._seen.values() if seen.service is not None]

    def replicas(self, key: Key) -> int:
        """Return how many pods a service has; 0 for one that is not known."""
        seen = self._seen.get(key)
        return seen.replicas if seen is not None else 0

    async def run(self, listed: Callable[[], None]) -> None:
        """List and watch, until cancelled, and call `listed` after each list.

        What was known stays while the API server is away.
        """
        while True:
            try:
                await self._follow(listed)
            except KubeError as error:
                if error.status != FORGOTTEN:
                    logger.warning("cannot follow the services, next try in %.0f s: %s", RETRY, error)
                    await asyncio.sleep(RETRY)

    async def _follow(self, told: Callable[[], None]) -> None:
        """List all, then take in each change. Raises `KubeError` when they must be listed again."""
        listed, version = await self._kube.list_whole(INFERENCE_SERVICE)
        self._seen = {key_of(obj): self._look(obj) for obj in listed}
        self.ready = True
        told()
        while True:
            async for change, obj in self._kube.watch(INFERENCE_SERVICE, version):
                version = obj["metadata"]["resourceVersion"]
                if change == "DELETED":
                    self._seen.pop(key_of(obj), None)
                elif change != "BOOKMARK":
                    self._seen[key_of(obj)] = self._look(obj)

    def _look(self, obj: Manifest) -> Seen:
        """Read an object; its spec only when it has changed, for the status does so all the time."""
        meta = obj["metadata"]
        replicas = int((obj.get("status") or {}).get("replicas") or 0)
        known = self._seen.get(key_of(obj))
        if known is not None and (known.uid, known.generation) == (meta["uid"], meta["generation"]):
            return known._replace(replicas=replicas)
        parsed = parse_service(obj)
        if isinstance(parsed, Service):
            return Seen(meta["uid"], meta["generation"], parsed, "", replicas)
        problem = "; ".join(f"{each.field}: {each.message}" for each in parsed)
        return Seen(meta["uid"], meta["generation"], None, problem, replicas)


def key_of(obj: Manifest) -> Key:
    """Return which service an object is."""
    return Key(obj["metadata"]["namespace"], obj["metadata"]["name"])
