"""What we write: children, marks, status. Server-side apply throughout; only what is ours, and only what differs.

A child is written when the digest of its manifest is not the one that it carries, or when a field of ours is no longer
ours (see `ownership`). Fields of others are never touched.

An absent child is applied with `metadata.resourceVersion: "1"`. No stored object has that version, so the API server
creates the child or answers 409, in one request and without a race; asking first whether someone else's object has the
name would double the requests and still leave a gap. An existing child is applied with its uid, for the same reason.
"""

import contextlib
import json
import time
from collections.abc import Container, Iterable, Mapping

from .. import metrics
from ..api import names
from ..facts import Key, Manifest, ObjectKey, Problem, Service
from . import kinds
from .cache import Cache
from .contest import LIMIT, WINDOW, Contests, others
from .errors import ConflictError, ForbiddenError, InvalidError, LeftoverError, NotFoundError, OwnerGoneError
from .kinds import Kind
from .kube import Kube
from .ownership import controller_of, digest, managers_of, owns, whose
from .slim import Entry

NO_VERSION = "1"
"""A resourceVersion that no object has: etcd's own first revision."""
FRESH = 30.0
"""Seconds for which a service is taken to exist after the API server named it."""

TRIES = 3
"""How often marks are written to a workload of which only the status changes meanwhile."""

_MARKS = names.ROLLOUT_MARKS


class Applier:
    """Writes the children and the status of services."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube = kube
        self._cache = cache
        self._contests = Contests()

    async def apply_children(self, service: Service, manifests: Iterable[Manifest]) -> list[Problem]:
        """Bring the children to their manifests, in this order; return what stands in the way, and stop there.

        Raises `KubeError` for what will mend, and `OwnerGoneError` when the service is no more.
        """
        for manifest in manifests:
            key = ObjectKey(manifest["kind"], manifest["metadata"]["name"])
            try:
                await self._apply(service, key, manifest)
            except _ObstacleError as obstacle:
                return [obstacle.problem]
            except (InvalidError, ForbiddenError) as error:
                # It would be refused in each round; a person must act. What stands already goes on.
                return [Problem("spec", str(error), "ChildRefused")]
        return []

    async def prune(
        self, service: Service, manifests: Iterable[Manifest], held: Container[ObjectKey], kept_kinds: Container[str]
    ) -> None:
        """Delete children that carry our controller reference and are neither wanted nor held nor of a kept kind."""
        wanted = {ObjectKey(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
        for key, live in self._cache.children(service.uid).items():
            if key in wanted or key in held or key.kind in kept_kinds or "deletionTimestamp" in live["metadata"]:
                continue
            # With another object of that name now, not the one that we meant, this does nothing.
            with contextlib.suppress(ConflictError):
                uid = live["metadata"]["uid"]
                await self._kube.delete(kinds.CHILD_BY_KIND[key.kind], service.namespace, key.name, uid)
                metrics.CHILDREN_WRITTEN.labels(key.kind, "deleted").inc()

    async def apply_marks(self, service: Service, marks: Mapping[str, str], seen: Manifest | None) -> bool:
        """Make the marks of the rollout on the workload exactly these; return whether anything was written.

        `seen`: the workload by which they were decided; None: there was none. Raises `ConflictError` where it is no
        longer as it was seen, but for its status: an operator that was held up, and goes on with an old plan, would
        else take away the mark of the version that is good, and a version that fails could not be put back.
        """
        kind = kinds.workload_of(service)
        live = self._cache.get(kind, service.namespace, service.name)
        if live is None or _marks_of(live) == dict(marks):
            return False
        for _ in range(TRIES):
            if not _is_as_seen(live, seen):
                raise ConflictError(409, "Conflict", f"{kind.kind} {service.name} was written meanwhile")
            version = live["metadata"]["resourceVersion"]
            body = _head(kind, live, annotations=dict(marks), resourceVersion=version)
            try:
                self._cache.keep(kind, await self._kube.apply(kind, body, names.ROLLOUT_FIELD_MANAGER))
                return True
            except ConflictError:
                live = await self._kube.get(kind, service.namespace, service.name)
                self._cache.put(kind, live)
        raise ConflictError(409, "Conflict", f"{kind.kind} {service.name} changes all the time")

    async def write_status(self, live: Manifest, status: Manifest) -> bool:
        """Make the status of a service this one; return whether anything was written. Nothing for one that is gone."""
        if status == (live.get("status") or {}):
            return False
        kind = kinds.INFERENCE_SERVICE
        body = {**_head(kind, live), "status": status}
        try:
            written = await self._kube.apply(kind, body, names.STATUS_FIELD_MANAGER, subresource="status")
        except (NotFoundError, ConflictError):
            return False
        self._cache.keep(kind, written)
        return True

    async def _apply(self, service: Service, key: ObjectKey, manifest: Manifest) -> None:
        kind = kinds.CHILD_BY_KIND[key.kind]
        stamped = _stamped(manifest)
        entry = self._cache.entry(kind, service.namespace, key.name)
        if entry is not None and entry.owner == service.uid:
            try:
                await self._keep(kind, stamped, entry)
                return
            except ConflictError:
                if "resourceVersion" in manifest["metadata"]:
                    raise  # it is not any more as it was seen: the next round decides anew
                self._cache.drop(kind, entry.manifest)  # it is gone, or another one has its name
        await self._create(service, key, stamped)

    async def _keep(self, kind: Kind, stamped: Manifest, entry: Entry) -> None:
        """Bring a child of ours to its manifest, unless it stands; give up where another writer never does."""
        if self._stands(entry, stamped):
            return
        if _carries(entry, stamped) and not self._contests.allows(entry.uid, time.monotonic()):
            meta = entry.manifest["metadata"]
            live = await self._kube.get(kind, meta["namespace"], meta["name"])
            raise _ObstacleError(_contested(ObjectKey(kind.kind, meta["name"]), others(live, names.FIELD_MANAGER)))
        await self._change(kind, stamped, entry)

    async def _change(self, kind: Kind, stamped: Manifest, entry: Entry) -> None:
        if kind is kinds.DEPLOYMENT and "replicas" not in stamped["spec"]:
            await self._hand_over_replicas(entry)
        body = {**stamped, "metadata": {**stamped["metadata"], "uid": entry.uid}}
        self._cache.keep(kind, await self._kube.apply(kind, body, names.FIELD_MANAGER))
        metrics.CHILDREN_WRITTEN.labels(kind.kind, "changed").inc()

    async def _create(self, service: Service, key: ObjectKey, stamped: Manifest) -> None:
        await self._confirm(service)
        kind = kinds.CHILD_BY_KIND[key.kind]
        body = {**stamped, "metadata": {**stamped["metadata"], "resourceVersion": NO_VERSION}}
        try:
            self._cache.keep(kind, await self._kube.apply(kind, body, names.FIELD_MANAGER))
            metrics.CHILDREN_WRITTEN.labels(kind.kind, "created").inc()
            return
        except ConflictError as error:
            live = await self._kube.get(kind, service.namespace, key.name)
            if _is_leftover(live, service):
                message = f"cannot make {key.kind} {key.name}: that of the deleted service of this name is still there"
                raise LeftoverError(error.status, error.reason, message) from error
        if owner := whose(live, service.uid):
            self._cache.foreign.setdefault(service.uid, {})[key] = owner
            raise _ObstacleError(Problem.name_taken(service, key, owner))
        # Ours after all: it lost our label, which took it from our watch, or the answer to our write was lost.
        self._cache.put(kind, live)
        entry = self._cache.entry(kind, service.namespace, key.name)
        if entry is not None:
            await self._keep(kind, stamped, entry)

    def _stands(self, entry: Entry, stamped: Manifest) -> bool:
        """Tell whether a child carries the digest of its manifest, and every field of it is still ours."""
        if not _carries(entry, stamped):
            return False
        # The same question has the same answer; most rounds ask it again for all children.
        question = (stamped["metadata"]["annotations"][names.ANNOTATION_DESIRED_HASH], hash(entry.fields))
        if self._cache.verified.get(entry.uid) == question:
            return True
        if not entry.fields or not owns(stamped, json.loads(entry.fields)):
            return False
        self._cache.verified[entry.uid] = question
        return True

    async def _confirm(self, service: Service) -> None:
        """Make sure that the service still exists.

        After an outage the deletion of a service may have sent no event. Children of a deleted owner are accepted and
        collected half a second later, which would send us round in circles until the next resync.
        """
        if self._cache.confirmed(service.uid, FRESH):
            return
        kind = kinds.INFERENCE_SERVICE
        try:
            found = await self._kube.get(kind, service.namespace, service.name, metadata_only=True)
        except NotFoundError:
            found = None
        if found is not None and found["metadata"]["uid"] == service.uid:
            self._cache.confirm(service.uid)
            return
        known = self._cache.service(Key(service.namespace, service.name))
        if known is not None and known["metadata"]["uid"] == service.uid:
            self._cache.drop(kind, known)
        raise OwnerGoneError(f"InferenceService {service.namespace}/{service.name} with uid {service.uid} is gone")

    async def _hand_over_replicas(self, entry: Entry) -> None:
        """Before the autoscaler gets `spec.replicas`: let a manager of its own hold the live value.

        A field that its last owner drops is reset, here to 1, also when the autoscaler has written that very value
        (which takes no ownership). So the live count gets another owner first; the autoscaler's first change takes it
        over by itself. Never again after that: it would undo what the autoscaler did.
        """
        if names.FIELD_MANAGER not in entry.replicas_managers:
            return
        kind, meta = kinds.DEPLOYMENT, entry.manifest["metadata"]
        live = await self._kube.get(kind, meta["namespace"], meta["name"])
        if names.FIELD_MANAGER in managers_of(live, ("spec", "replicas")):
            body = _head(kind, live, resourceVersion=live["metadata"]["resourceVersion"])
            body["spec"] = {"replicas": live["spec"]["replicas"]}
            await self._kube.apply(kind, body, names.REPLICAS_FIELD_MANAGER)


class _ObstacleError(Exception):
    """A child cannot be applied until a person acts."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _contested(key: ObjectKey, managers: str) -> Problem:
    return Problem(
        "spec",
        f"{key.kind} {key.name!r} was put back {LIMIT} times within {WINDOW:.0f} s and is changed again and again, "
        f"last by {managers}: let only one of us write these fields",
        "FieldConflict",
    )


def _stamped(manifest: Manifest) -> Manifest:
    # The version as which a child was seen is no part of what it is to be.
    meta = {key: value for key, value in manifest["metadata"].items() if key != "resourceVersion"}
    stamp = digest({**manifest, "metadata": meta})
    annotations = {**(meta.get("annotations") or {}), names.ANNOTATION_DESIRED_HASH: stamp}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def _carries(entry: Entry, stamped: Manifest) -> bool:
    carried = (entry.manifest["metadata"].get("annotations") or {}).get(names.ANNOTATION_DESIRED_HASH)
    return bool(carried == stamped["metadata"]["annotations"][names.ANNOTATION_DESIRED_HASH])


def _marks_of(workload: Manifest) -> dict[str, str]:
    annotations = workload["metadata"].get("annotations") or {}
    return {key: annotations[key] for key in _MARKS if key in annotations}


def _is_as_seen(live: Manifest, seen: Manifest | None) -> bool:
    """Tell whether a workload has the spec and the marks that were seen; one that has just been made has no marks."""
    now = live["metadata"]
    if seen is None or seen["metadata"]["uid"] != now["uid"]:
        return not _marks_of(live)
    same = seen["metadata"].get("generation") == now.get("generation")
    return same and _marks_of(seen) == _marks_of(live)


def _is_leftover(live: Manifest, service: Service) -> bool:
    controller = controller_of(live)
    return (
        controller.get("kind") == names.KIND
        and controller["apiVersion"].startswith(f"{names.GROUP}/")
        and controller["name"] == service.name
        and controller["uid"] != service.uid
    )


def _head(kind: Kind, live: Manifest, **metadata: object) -> Manifest:
    """Return the identity of an object, to be applied with some of its fields only."""
    meta = live["metadata"]
    identity = {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {**identity, **metadata}}
