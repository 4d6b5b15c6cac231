"""What is seen of one service in one round: from the cache, with few live looks where the cache cannot know."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from ..facts import Key, Manifest, MissingClass, ObjectKey, Observed, Pod, Service
from . import kinds
from .cache import Cache
from .errors import ForbiddenError, NotFoundError
from .kinds import Kind
from .kube import Kube
from .members import MembersObserver
from .nodes import Accelerators
from .ownership import whose
from .peers import Peers
from .pods import is_router, lives, pod_of
from .scaling import keda_autoscaler
from .templates import earlier_templates

REMEMBER = 30.0
"""Seconds for which a class that was there is taken to be there."""
REMEMBER_MISSING = 2.0
"""The same for one that was not: someone may be about to make it."""


class Observer:
    """Gathers the frozen input of a round. It decides nothing."""

    def __init__(self, kube: Kube, cache: Cache, peers: Peers) -> None:
        self._kube = kube
        self._cache = cache
        self._members = MembersObserver(kube, cache, peers)
        self._accelerators = Accelerators(kube, cache)
        self._classes: dict[tuple[Kind, str], tuple[float, bool]] = {}

    async def observe(self, service: Service, live: Manifest) -> Observed:
        """Return what is seen of a service, where `live` is the object that it was parsed from.

        Sends no request in the common case, but for what replicas of a stateful service are asked. Raises `KubeError`
        when a look that is needed fails.
        """
        await self._look_at_foreign(service)
        children = self._cache.children(service.uid)
        deployment = ObjectKey(kinds.DEPLOYMENT.kind, service.name)
        accelerator = service.spec.accelerator
        return Observed(
            now=datetime.now(UTC),
            status=live.get("status") or {},
            children=children,
            foreign=dict(self._cache.foreign.get(service.uid, {})),
            pods=self._pods(service, children),
            replica_sets=await earlier_templates(self._kube, service, children.get(deployment), kinds.REPLICA_SET),
            nodes=await self._accelerators.nodes(accelerator, self._bound(service, children)) if accelerator else (),
            missing=await self._missing(service),
            members=None if service.spec.state is None else await self._members.observe(service, live, children),
            keda_autoscaler=keda_autoscaler(self._cache, service),
        )

    def _pods(self, service: Service, children: Mapping[ObjectKey, Manifest]) -> tuple[Pod, ...]:
        """Pods that serve or try to, and those of a check while something is wrong with them.

        A check's failure is the end of it only when its Job says so: until then an image may still be pulled.
        """
        jobs = {job["metadata"]["uid"]: job for key, job in children.items() if key.kind == kinds.JOB.kind}
        pods = []
        for entry in self._cache.pods(Key(service.namespace, service.name)):
            if is_router(entry.manifest):
                continue
            if entry.owner not in jobs:
                pods += [pod_of(entry.manifest)] if lives(entry.manifest) else []
            elif "deletionTimestamp" not in entry.manifest["metadata"]:
                check = pod_of(entry.manifest, permanent=_has_failed(jobs[entry.owner]))
                # Without a failure it must not be taken for one that serves: it has no probe, so it counts as ready.
                pods += [check] if check.failure is not None else []
        return tuple(pods)

    def _bound(self, service: Service, children: Mapping[ObjectKey, Manifest]) -> dict[str, str]:
        """The node of each pod that serves, or will, by the pod's id; the pod of a check holds no accelerator."""
        jobs = {job["metadata"]["uid"] for key, job in children.items() if key.kind == kinds.JOB.kind}
        return {
            entry.uid: entry.manifest["spec"]["nodeName"]
            for entry in self._cache.pods(Key(service.namespace, service.name))
            if entry.owner not in jobs
            and lives(entry.manifest)
            and "nodeName" in entry.manifest["spec"]
            and not is_router(entry.manifest)
        }

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
        pod, accelerator, state = service.spec.pod, service.spec.accelerator, service.spec.state
        wanted = (
            ("spec.pod.priorityClassName", kinds.PRIORITY_CLASS, pod.priority_class_name),
            ("spec.pod.runtimeClassName", kinds.RUNTIME_CLASS, pod.runtime_class_name),
            ("spec.accelerator.deviceClass", kinds.DEVICE_CLASS, accelerator.device_class if accelerator else None),
            (
                "spec.state.volume.storageClassName",
                kinds.STORAGE_CLASS,
                state.volume.storage_class_name if state else None,
            ),
        )
        missing = [
            MissingClass(field, kind.kind, name)
            for field, kind, name in wanted
            if name is not None and not await self._exists(kind, name)
        ]
        return tuple(missing)

    async def _exists(self, kind: Kind, name: str) -> bool:
        seen = self._classes.get((kind, name))
        if seen is not None and time.monotonic() < seen[0]:
            return seen[1]
        try:
            await self._kube.get(kind, None, name, metadata_only=True)
            exists = True
        except NotFoundError:
            exists = False
        except ForbiddenError:
            exists = True  # an installation may withhold the right to look: then the pod itself will tell
        self._classes[kind, name] = (time.monotonic() + (REMEMBER if exists else REMEMBER_MISSING), exists)
        return exists


def _has_failed(job: Manifest) -> bool:
    conditions = job.get("status", {}).get("conditions") or ()
    return any(condition["type"] == "Failed" and condition["status"] == "True" for condition in conditions)
