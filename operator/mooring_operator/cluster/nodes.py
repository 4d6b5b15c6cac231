"""Which accelerators are free: nodes from the cache, what their pods request from the API server.

Pods of other people are not watched: on a large cluster they would be most of our memory. They are listed when a
service with an accelerator asks, only on nodes that have such accelerators, and remembered for some seconds.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from ..api.quantities import quantity
from ..api.v1alpha1 import Accelerator
from ..facts import Manifest, Node, Taint
from . import kinds
from .cache import Cache
from .kube import Kube

REMEMBER = 1.0
"""Seconds that a look is remembered. What was bound since makes it wrong, and a rollout that trusts it begins in a
place that is taken; so not for long."""
COSTLY = 20.0
"""But so many times as long as it took: at most a twentieth of the time goes into looking."""
FEW_NODES = 16
"""Up to this many nodes are asked one by one; beyond, one list of all running pods is less work."""


class Look(NamedTuple):
    """What one look at the pods of all nodes found."""

    until: float
    nodes: tuple[Node, ...]
    pods: frozenset[str]
    """Ids of the pods that hold accelerators."""


class Accelerators:
    """Knows how many accelerators of a resource name each node has to spare."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube = kube
        self._cache = cache
        self._known: dict[str, Look] = {}

    async def nodes(self, accelerator: Accelerator, own: Mapping[str, str]) -> tuple[Node, ...]:
        """Return all nodes; `free` holds this accelerator's resource only. Nothing for one without a resource.

        `own` says on which node each of the service's own pods is, by its id. Those that were bound since the last
        look are counted too: the change that is decided on most often follows right after them.
        """
        if accelerator.type is None:
            return ()
        look = self._known.get(accelerator.type)
        if look is None or time.monotonic() >= look.until:
            look = self._known[accelerator.type] = await self._look(accelerator.type)
        late = Counter(node for uid, node in own.items() if uid not in look.pods)
        return tuple(_less(node, accelerator.type, late[node.name] * accelerator.count) for node in look.nodes)

    async def _look(self, resource: str) -> Look:
        began = time.monotonic()
        manifests = self._cache.nodes()
        having = [node["metadata"]["name"] for node in manifests if _allocatable(node).get(resource, 0) > 0]
        used: Counter[str] = Counter()
        pods = set()
        running = "status.phase!=Succeeded,status.phase!=Failed"
        fields = [f"{running},spec.nodeName={name}" for name in having] if len(having) <= FEW_NODES else [running]
        for field in fields:
            async for page in self._kube.pages(kinds.POD, fields=field):
                for pod in page:
                    if count := requested(pod, resource):
                        used[pod["spec"].get("nodeName", "")] += count
                        pods.add(pod["metadata"]["uid"])
        nodes = tuple(_node(manifest, resource, used[manifest["metadata"]["name"]]) for manifest in manifests)
        now = time.monotonic()
        return Look(now + max(REMEMBER, COSTLY * (now - began)), nodes, frozenset(pods))


def _less(node: Node, resource: str, taken: int) -> Node:
    return replace(node, free={resource: node.free[resource] - taken}) if taken else node


def requested(pod: Manifest, resource: str) -> int:
    """Return how many of an extended resource the scheduler counts for a pod."""
    spec = pod["spec"]
    running = sum(_requests(container, resource) for container in spec.get("containers") or ())
    most = 0
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            running += _requests(container, resource)
        else:
            most = max(most, _requests(container, resource))
    return max(running, most)


def _requests(container: Manifest, resource: str) -> int:
    resources = container.get("resources") or {}
    return int(quantity((resources.get("requests") or {}).get(resource, 0)))


def _allocatable(manifest: Manifest) -> dict[str, int]:
    allocatable = manifest.get("status", {}).get("allocatable") or {}
    return {name: int(quantity(value)) for name, value in allocatable.items() if "/" in name}


def _node(manifest: Manifest, resource: str, used: int) -> Node:
    meta, spec = manifest["metadata"], manifest.get("spec", {})
    allocatable = _allocatable(manifest)
    return Node(
        name=meta["name"],
        labels=meta.get("labels") or {},
        taints=tuple(
            Taint(taint["key"], taint.get("value", ""), taint["effect"]) for taint in spec.get("taints") or ()
        ),
        schedulable=not spec.get("unschedulable", False),
        allocatable=allocatable,
        free={resource: allocatable.get(resource, 0) - used},
    )
