"""How soon a change of one service among many reaches its children."""

import asyncio
import random
import time

from mooring_operator.cluster import kinds
from mooring_operator.cluster.kinds import Kind
from tests.bench.operator import ground
from tests.bench.operator.client import Client
from tests.bench.operator.ground import NotMeasuredError

CHANGED = (kinds.NETWORK_POLICY, kinds.DEPLOYMENT)
"""The children that the change reaches: the policy lets the new store's port through, the pods fetch from it."""
PATIENCE = 30.0


class Children:
    """Watches the children of a namespace and notes when each new version of them arrives."""

    def __init__(self, admin: Client, namespace: str) -> None:
        self._admin = admin
        self._namespace = namespace
        self._generations: dict[tuple[Kind, str], int] = {}
        self._seen: dict[tuple[Kind, str], float] = {}
        self._moved = asyncio.Condition()

    async def follow(self, kind: Kind) -> None:
        """Watch one kind until cancelled."""
        async for live in self._admin.watch(kind, self._namespace):
            now = time.monotonic()
            key, generation = (kind, live["metadata"]["name"]), live["metadata"]["generation"]
            async with self._moved:
                if generation > self._generations.get(key, 0):
                    self._generations[key], self._seen[key] = generation, now
                    self._moved.notify_all()

    async def all_known(self) -> None:
        """Wait until every service's children were seen once."""
        async with asyncio.timeout(PATIENCE), self._moved:
            await self._moved.wait_for(lambda: len(self._generations) == len(CHANGED) * ground.SERVICES)

    def versions(self, name: str) -> list[int]:
        """Return the generations of a service's children as last seen."""
        return [self._generations[kind, name] for kind in CHANGED]

    async def newer(self, name: str, than: list[int]) -> float:
        """Wait until all children of a service are newer; return when the last of them was seen."""
        async with asyncio.timeout(PATIENCE), self._moved:
            await self._moved.wait_for(
                lambda: all(now > was for now, was in zip(self.versions(name), than, strict=True))
            )
        return max(self._seen[kind, name] for kind in CHANGED)


async def latencies(admin: Client, namespace: str, seed: int) -> list[float]:
    """Change every service once, one after another; return the milliseconds until its children have followed.

    The time runs from the API server's answer to our patch until the watch has brought the last child's new version.

    Raises:
        NotMeasuredError: a change did not reach its children.
    """
    children = Children(admin, namespace)
    watches = [asyncio.create_task(children.follow(kind)) for kind in CHANGED]
    # Not in the order in which they were made, so that no cache favours the next one.
    order = random.Random(seed).sample(ground.service_names(), ground.SERVICES)
    found = []
    try:
        await children.all_known()
        for port, name in enumerate(order, 8000):
            before = children.versions(name)
            change = {"spec": ground.service(name, port)["spec"]}
            await admin.merge(kinds.INFERENCE_SERVICE.path(namespace, name), change)
            answered = time.monotonic()
            # The children may have followed before we had read the answer.
            found.append(max(0.0, await children.newer(name, before) - answered) * 1000)
    except TimeoutError as error:
        raise NotMeasuredError(f"a change did not reach its children within {PATIENCE:.0f} s") from error
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
    return found
