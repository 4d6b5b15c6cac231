"""What is seen of one service in one round: from the cache, with few live looks where the cache cannot know."""

import time
from datetime import UTC, datetime

from ..facts import Manifest, MissingClass, Observed, Pod, Service
from . import kinds
from .cache import Cache
from .errors import ForbiddenError, NotFoundError
from .kinds import Kind
from .kube import Kube
from .nodes import Accelerators
from .ownership import whose
from .pods import pod_of

REMEMBER = 10.0
"""Seconds that a look at a class is remembered."""


class Observer:
    """Gathers the frozen input of a round. It decides nothing."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube = kube
        self._cache = cache
        self._accelerators = Accelerators(kube, cache)
        self._classes: dict[tuple[Kind, str], tuple[float, bool]] = {}

    async def observe(self, service: Service, live: Manifest) -> Observed:
        """Return what is seen of a service, where `live` is the object that it was parsed from.

        Sends no request in the common case. Raises `KubeError` when a look that is needed fails.
        """
        await self._look_at_foreign(service)
        children = self._cache.children(service.uid)
        deployments = self._cache.owned(service.uid, kinds.DEPLOYMENT)
        replica_sets = tuple(
            replica_set
            for deployment in deployments
            for replica_set in self._cache.owned(deployment["metadata"]["uid"], kinds.REPLICA_SET)
        )
        accelerator = service.spec.accelerator
        resource = accelerator.type if accelerator is not None else None
        return Observed(
            now=datetime.now(UTC),
            status=live.get("status") or {},
            children=children,
            foreign=dict(self._cache.foreign.get(service.uid, {})),
            pods=self._pods(service, replica_sets),
            replica_sets=replica_sets,
            nodes=await self._accelerators.nodes(resource) if resource is not None else (),
            missing=await self._missing(service),
        )

    def _pods(self, service: Service, replica_sets: tuple[Manifest, ...]) -> tuple[Pod, ...]:
        """Pods that serve or try to, and those of a check that has failed: its last word stands in their status."""
        serving = [pod for owner in replica_sets for pod in self._cache.owned(owner["metadata"]["uid"], kinds.POD)]
        pods = [pod_of(pod) for pod in serving if _lives(pod)]
        for job in self._cache.owned(service.uid, kinds.JOB):
            if _has_failed(job):
                checks = self._cache.owned(job["metadata"]["uid"], kinds.POD)
                pods += [pod_of(pod, permanent=True) for pod in checks if "deletionTimestamp" not in pod["metadata"]]
        return tuple(pods)

    async def _look_at_foreign(self, service: Service) -> None:
        """Look again at the objects that stood in our way: nothing tells us when their owner removes them."""
        for key in list(self._cache.foreign.get(service.uid, {})):
            kind = kinds.CHILD_BY_KIND[key.kind]
            try:
                found = await self._kube.get(kind, service.namespace, key.name, metadata_only=True)
            except NotFoundError:
                found = None
            standing = self._cache.foreign.get(service.uid, {})
            owner = whose(found, service.uid) if found is not None else ""
            if owner:
                standing[key] = owner
            else:
                standing.pop(key, None)

    async def _missing(self, service: Service) -> tuple[MissingClass, ...]:
        pod, accelerator = service.spec.pod, service.spec.accelerator
        wanted = (
            ("spec.pod.priorityClassName", kinds.PRIORITY_CLASS, pod.priority_class_name),
            ("spec.pod.runtimeClassName", kinds.RUNTIME_CLASS, pod.runtime_class_name),
            ("spec.accelerator.deviceClass", kinds.DEVICE_CLASS, accelerator.device_class if accelerator else None),
        )
        missing = [
            MissingClass(field, kind.kind, name)
            for field, kind, name in wanted
            if name is not None and not await self._exists(kind, name)
        ]
        return tuple(missing)

    async def _exists(self, kind: Kind, name: str) -> bool:
        seen = self._classes.get((kind, name))
        if seen is not None and time.monotonic() - seen[0] < REMEMBER:
            return seen[1]
        try:
            await self._kube.get(kind, None, name, metadata_only=True)
            exists = True
        except NotFoundError:
            exists = False
        except ForbiddenError:
            exists = True  # an installation may withhold the right to look: then the pod itself will tell
        self._classes[kind, name] = (time.monotonic(), exists)
        return exists


def _lives(pod: Manifest) -> bool:
    """A pod that is being deleted, or that kubelet has ended for good (evicted), serves no more and is replaced."""
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") not in {"Failed", "Succeeded"}


def _has_failed(job: Manifest) -> bool:
    conditions = job.get("status", {}).get("conditions") or ()
    return any(condition["type"] == "Failed" and condition["status"] == "True" for condition in conditions)
