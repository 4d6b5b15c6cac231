"""The services of the cluster and what autoscales them, by list and watch into the cache that the operator has, too."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from ..cluster.cache import Cache, selector_of
from ..cluster.errors import KubeError
from ..cluster.kinds import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, INFERENCE_SERVICE, Kind
from ..cluster.kube import Kube
from ..facts import Key, Service
from ..scaling.rule import Standing
from ..validation import Parsed, Seen

logger = logging.getLogger(__name__)

RETRY: Final = 2.0
"""Seconds between two tries while the API server does not answer."""
FORGOTTEN: Final = 410
FOLLOWED: Final = (INFERENCE_SERVICE, DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER)
"""Deployments, since the operator's own word on how many pods there are is old while the operator is away, and
autoscaling goes on then. Autoscalers, for what the operator wrote on them."""


class Pods(NamedTuple):
    """How many pods of a service there are."""

    live: int
    """As its autoscaler counts them; 0 where nothing tells."""
    ready: int | None
    """None: nothing tells."""


class Services:
    """What is known of all services. `ready` once everything was listed; from then on it only ever gets newer."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._cache = Cache()
        self._cache.begin(FOLLOWED)
        self._listed: set[Kind] = set()
        self._parsed = Parsed()

    @property
    def ready(self) -> bool:
        """Whether every kind was listed once."""
        return len(self._listed) == len(FOLLOWED)

    def __iter__(self) -> Iterator[tuple[Key, Seen]]:
        live = {key: self._cache.service(key) for key in self._cache.services()}
        self._parsed.keep(live)
        return iter([(key, self._parsed.look(each)) for key, each in live.items() if each is not None])

    def readable(self) -> list[Service]:
        """Return the services whose spec can be read."""
        return [seen.service for _, seen in self if seen.service is not None]

    def pods(self, service: Service) -> Pods:
        """Return how many pods a service has: by its Deployment, or by its own status where it is stateful."""
        kind = DEPLOYMENT if service.spec.state is None else INFERENCE_SERVICE
        found = self._cache.get(kind, service.namespace, service.name)
        status: dict[str, Any] = (found or {}).get("status") or {}
        if "replicas" not in status:
            return Pods(0, None)
        # A Deployment leaves out what is 0.
        return Pods(int(status["replicas"]), int(status.get("readyReplicas") or 0))

    def standing(self, service: Service) -> Standing:
        """Return the HorizontalPodAutoscaler of a service, as far as the cache keeps it."""
        return Standing(self._cache.get(HORIZONTAL_POD_AUTOSCALER, service.namespace, service.name))

    async def run(self, listed: Callable[[], None]) -> None:
        """List and watch, until cancelled, and call `listed` after each list.

        What was known stays while the API server is away.
        """
        async with asyncio.TaskGroup() as group:
            for kind in FOLLOWED:
                group.create_task(self._keep(kind, listed))

    async def _keep(self, kind: Kind, listed: Callable[[], None]) -> None:
        while True:
            try:
                await self._follow(kind, listed)
            except KubeError as error:
                if error.status != FORGOTTEN:
                    logger.warning("cannot follow %s, next try in %.0f s: %s", kind.plural, RETRY, error)
                    await asyncio.sleep(RETRY)

    async def _follow(self, kind: Kind, listed: Callable[[], None]) -> None:
        """List all of a kind, then take in each change. Raises `KubeError` when it must be listed again."""
        selector = selector_of(kind)
        found, version = await self._kube.list_whole(kind, selector)
        for obj in found:
            self._cache.put(kind, obj)
        if kind in self._listed:
            await self._cache.sweep(self._kube, kind)
        self._listed.add(kind)
        listed()
        while True:
            async for change, obj in self._kube.watch(kind, version, selector):
                version = obj["metadata"]["resourceVersion"]
                if change != "BOOKMARK":
                    self._cache.feed(kind, change == "DELETED", obj)
