"""Does what a step asks for the sessions of a stateful service, in an order in which a crash at any point is harmless.

Before the children: the token that pods mount, the record, then those who are to hear of it. Nobody is sent a record
before it is kept: another operator could give the same epoch to another one. After the children: volumes, the
StatefulSet that must be made anew, and last the one pod whose place a rollout takes.
"""

import asyncio
import logging
from collections.abc import Iterable

from .. import metrics
from ..api import names
from ..api.membership import Record
from ..facts import Key, Manifest, Members, Moves, ObjectKey, Observed, Pod, Problem, Service
from . import kinds
from .cache import Cache
from .errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    KubeError,
    LeftoverError,
    NotFoundError,
    UnavailableError,
)
from .kube import Kube
from .members import peer_pod
from .membership import Keeper, Kept
from .peers import Peers
from .pods import has_ended, is_router, ordinal_of

logger = logging.getLogger(__name__)

LOOKS, BETWEEN_LOOKS = 50, 0.1
"""How often, and how many seconds apart, a StatefulSet that was deleted is looked for: its pods are first let go."""
TOO_MANY = 429
"""Of an eviction: the disruption budget allows none now."""


class Mover:
    """Acts on the replicas of stateful services."""

    def __init__(self, kube: Kube, cache: Cache, peers: Peers) -> None:
        self._kube = kube
        self._cache = cache
        self._peers = peers
        self._keeper = Keeper(kube, cache, peers)

    async def before_children(self, service: Service, members: Members, moves: Moves) -> list[Problem]:
        """Keep the record, and let those hear of it who are to; return what stands in the way.

        Raises `KubeError`; `ConflictError` when the record was written by somebody else meanwhile.
        """
        try:
            await self._keeper.ensure_token(service)
        except (ForbiddenError, InvalidError) as error:
            # A full quota refuses before it is looked whether the Secret stands: who has replicas goes on with it.
            if members.record is None:
                return [_refused(service, "Secret", names.SUFFIX_PEER_TOKEN, error)]
            logger.warning("%s/%s: %s", service.namespace, service.name, error)
        standing = Kept(members.record, members.version, members.resized, members.notes)
        try:
            problems = await self._keeper.keep(service, standing, moves.record, moves.notes)
        except (ForbiddenError, InvalidError) as error:
            problems = [_refused(service, "ConfigMap", names.SUFFIX_MEMBERSHIP, error)]
        if problems:
            return problems
        kept = moves.record or members.record
        if kept is not None and moves.tell:
            await self._tell(service, moves.tell, kept)
        return []

    async def after_children(self, service: Service, observed: Observed, moves: Moves) -> list[Problem]:
        """Grow volumes, take the StatefulSet from its pods, evict one; return what stands in the way.

        A volume that cannot grow keeps no pod from being replaced: a failed version may have left that one down.
        """
        problems = []
        for name, size in moves.grow.items():
            if problem := await self._grow(service, name, size):
                problems = [problem]
                break
        if moves.recreate:
            await self._orphan(service, observed)
        elif moves.evict is not None:
            await self._evict(service, moves.evict)
        return problems

    async def _tell(self, service: Service, ordinals: Iterable[int], record: Record) -> None:
        key = Key(service.namespace, service.name)
        pods = {
            ordinal: entry.manifest
            for entry in self._cache.pods(key)
            if (ordinal := ordinal_of(entry.manifest)) is not None
            and not is_router(entry.manifest)
            and not has_ended(entry.manifest)
        }
        told = [peer_pod(ordinal, pods[ordinal]) for ordinal in ordinals if ordinal in pods]
        for ordinal, why in (await self._peers.tell(key, told, record)).items():
            # It is told again in the next round; its peers and its mounted file may tell it before.
            logger.info("%s/%s: replica %d did not take epoch %d: %s", *key, ordinal, record.epoch, why)

    async def _grow(self, service: Service, name: str, size: str) -> Problem | None:
        kind = kinds.PERSISTENT_VOLUME_CLAIM
        live = self._cache.get(kind, service.namespace, name)
        if live is None:
            return None
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "namespace": service.namespace, "uid": live["metadata"]["uid"]},
            "spec": {"resources": {"requests": {"storage": size}}},
        }
        try:
            self._cache.keep(kind, await self._kube.apply(kind, body, names.FIELD_MANAGER))
        except ConflictError:
            return None  # it is gone, or another one has its name
        except (ForbiddenError, InvalidError) as error:
            return Problem("spec.state.volume.size", _cannot_grow(live, error.message), "VolumeCannotGrow")
        return None

    async def _orphan(self, service: Service, observed: Observed) -> None:
        """Delete the StatefulSet and leave its pods and claims: applied again, it takes them over as they are.

        Returns when it is gone. Raises `LeftoverError` when that takes long, and `ConflictError` when it is not any
        more as it was seen: it would be made anew with what an old plan says.
        """
        kind = kinds.STATEFUL_SET
        live = observed.children.get(ObjectKey(kind.kind, service.name))
        if live is None:
            return
        uid = live["metadata"]["uid"]
        await self._kube.orphan(kind, live)
        metrics.CHILDREN_WRITTEN.labels(kind.kind, "deleted").inc()
        for _ in range(LOOKS):
            try:
                found = await self._kube.get(kind, service.namespace, service.name, metadata_only=True)
            except NotFoundError:
                return
            if found["metadata"]["uid"] != uid:
                return
            await asyncio.sleep(BETWEEN_LOOKS)
        # Not yet applied again: its pods go on, and the next round finds no StatefulSet.
        raise LeftoverError(
            409, "Conflict", f"StatefulSet {service.name} is being taken from its pods, and still there"
        )

    async def _evict(self, service: Service, pod: Pod) -> None:
        try:
            await self._kube.evict(service.namespace, pod.name, pod.uid)
            metrics.EVICTIONS.labels("evicted").inc()
        except (NotFoundError, ConflictError):
            pass  # it is gone, or its successor is there already
        except UnavailableError as error:
            if error.status != TOO_MANY:
                raise
            metrics.EVICTIONS.labels("refused").inc()
            logger.info("%s/%s: %s", service.namespace, service.name, error)


def without_stale_set(service: Service, children: list[Manifest], moves: Moves, observed: Observed) -> list[Manifest]:
    """Return the children to apply: not the StatefulSet while it is to go, or goes, to be made anew.

    Its claim template cannot be changed in place, so that applying it would be refused.
    """
    key = ObjectKey(kinds.STATEFUL_SET.kind, service.name)
    live = observed.children.get(key)
    goes = live is not None and "deletionTimestamp" in live["metadata"]
    if not goes and not moves.recreate:
        return children
    return [child for child in children if ObjectKey(child["kind"], child["metadata"]["name"]) != key]


def guarded(service: Service, children: list[Manifest], observed: Observed) -> list[Manifest]:
    """Return the children to apply; a StatefulSet that is to lose pods, and volumes with them, only as it was seen.

    An operator that was held up may go on with an old plan: it would take the volumes of replicas that have become
    members meanwhile. Where volumes are kept it takes pods away for a moment, which costs no session.
    """
    live = observed.children.get(ObjectKey(kinds.STATEFUL_SET.kind, service.name))
    state = service.spec.state
    if live is None or state is None or state.retention.when_scaled != "Delete":
        return children
    return [
        _as_seen(child, live)
        if child["kind"] == kinds.STATEFUL_SET.kind and child["spec"]["replicas"] < live["spec"].get("replicas", 1)
        else child
        for child in children
    ]


def _as_seen(child: Manifest, live: Manifest) -> Manifest:
    return {**child, "metadata": {**child["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}}


def _refused(service: Service, kind: str, suffix: str, error: KubeError) -> Problem:
    return Problem("spec.state", f"{kind} {service.name}{suffix} cannot be written: {error}", "ChildRefused")


def _cannot_grow(claim: Manifest, said: str) -> str:
    standing = claim["spec"].get("resources", {}).get("requests", {}).get("storage", "unknown")
    storage_class = claim["spec"].get("storageClassName") or "none"
    return (
        f"claim {claim['metadata']['name']!r} has {standing} and storage class {storage_class!r}, and the API server "
        f"does not let it grow: {said}. Set allowVolumeExpansion: true on the class, if its driver can do it"
    )
