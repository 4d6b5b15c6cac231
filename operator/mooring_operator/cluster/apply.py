"""What we write: children, marks, status. Server-side apply throughout; only what is ours, and only what differs.

A child is written when the digest of its manifest is not the one that it carries, or when a field of ours is no longer
ours (see `ownership`). Fields of others are never touched.

An absent child is applied with `metadata.resourceVersion: "1"`. No stored object has that version, so the API server
creates the child or answers 409, in one request and without a race; asking first whether someone else's object has the
name would double the requests and still leave a gap. An existing child is applied with its uid, for the same reason.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from .. import metrics
from ..api import names
from ..facts import Key, Manifest, ObjectKey, Service
from . import kinds
from .cache import Cache
from .errors import ConflictError, LeftoverError, NotFoundError, OwnerGoneError
from .kinds import Kind
from .kube import Kube
from .ownership import controller_of, digest, managers_of, owns, whose
from .slim import Entry

NO_VERSION = "1"
"""A resourceVersion that no object has: etcd's own first revision."""
FRESH = 5.0
"""Seconds for which a service is taken to exist after the API server named it."""

_MARKS = (names.ANNOTATION_GOOD_TEMPLATE, names.ANNOTATION_FAILED_TEMPLATE, names.ANNOTATION_FAILED_MESSAGE)
Action = Literal["created", "changed", "deleted", "refused"]


class Change(NamedTuple):
    """What was done to one child. `refused`: someone else's object has its name; the next round observes it."""

    key: ObjectKey
    action: Action


class Applier:
    """Writes the children and the status of services."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube = kube
        self._cache = cache

    async def apply_children(
        self, service: Service, manifests: Iterable[Manifest], held: frozenset[ObjectKey] = frozenset()
    ) -> list[Change]:
        """Bring the children to their manifests, in this order, but for those that are held; stop at a refused one.

        Raises `KubeError`; `InvalidError` when the API server will never take a manifest, and `OwnerGoneError` when
        the service is no more.
        """
        changes = []
        for manifest in manifests:
            key = ObjectKey(manifest["kind"], manifest["metadata"]["name"])
            if key in held:
                continue
            action = await self._apply(service, key, manifest)
            if action is not None:
                changes.append(Change(key, action))
                metrics.CHILDREN_WRITTEN.labels(key.kind, action).inc()
            if action == "refused":
                break
        return changes

    async def prune(
        self, service: Service, wanted: Iterable[ObjectKey], held: frozenset[ObjectKey] = frozenset()
    ) -> list[Change]:
        """Delete children that carry our controller reference and are neither wanted nor held."""
        kept = {*wanted, *held}
        changes = []
        for key, manifest in self._cache.children(service.uid).items():
            if key in kept or "deletionTimestamp" in manifest["metadata"]:
                continue
            kind = kinds.CHILD_BY_KIND[key.kind]
            try:
                await self._kube.delete(kind, service.namespace, key.name, manifest["metadata"]["uid"])
            except ConflictError:
                continue  # another object has the name now: not the one that we meant
            changes.append(Change(key, "deleted"))
            metrics.CHILDREN_WRITTEN.labels(key.kind, "deleted").inc()
        return changes

    async def apply_marks(self, service: Service, marks: Mapping[str, str]) -> bool:
        """Make the marks of the rollout on the Deployment exactly these; return whether anything was written."""
        live = self._cache.get(kinds.DEPLOYMENT, service.namespace, service.name)
        if live is None:
            return False
        annotations = live["metadata"].get("annotations") or {}
        if {key: annotations[key] for key in _MARKS if key in annotations} == dict(marks):
            return False
        body = _head(kinds.DEPLOYMENT, live, annotations=dict(marks))
        self._cache.put(kinds.DEPLOYMENT, await self._kube.apply(kinds.DEPLOYMENT, body, names.ROLLOUT_FIELD_MANAGER))
        return True

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
        self._cache.put(kind, written)
        return True

    async def _apply(self, service: Service, key: ObjectKey, manifest: Manifest) -> Action | None:
        kind = kinds.CHILD_BY_KIND[key.kind]
        stamped = _stamped(manifest)
        entry = self._cache.entry(kind, service.namespace, key.name)
        if entry is not None and entry.owner == service.uid:
            if _stands(entry, stamped):
                return None
            try:
                await self._change(kind, stamped, entry)
                return "changed"
            except ConflictError:
                self._cache.drop(kind, entry.manifest)  # it is gone, or another one has its name
        return await self._create(service, key, stamped)

    async def _change(self, kind: Kind, stamped: Manifest, entry: Entry) -> None:
        if kind is kinds.DEPLOYMENT and "replicas" not in stamped["spec"]:
            await self._hand_over_replicas(entry)
        body = {**stamped, "metadata": {**stamped["metadata"], "uid": entry.uid}}
        self._cache.put(kind, await self._kube.apply(kind, body, names.FIELD_MANAGER))

    async def _create(self, service: Service, key: ObjectKey, stamped: Manifest) -> Action:
        await self._confirm(service)
        kind = kinds.CHILD_BY_KIND[key.kind]
        body = {**stamped, "metadata": {**stamped["metadata"], "resourceVersion": NO_VERSION}}
        try:
            self._cache.put(kind, await self._kube.apply(kind, body, names.FIELD_MANAGER))
            return "created"
        except ConflictError as error:
            live = await self._kube.get(kind, service.namespace, key.name)
            owner = whose(live, service.uid)
            if _is_leftover(live, service):
                message = f"cannot make {key.kind} {key.name}: that of the deleted service of this name is still there"
                raise LeftoverError(error.status, error.reason, message) from error
        if owner:
            self._cache.foreign.setdefault(service.uid, {})[key] = owner
            return "refused"
        # Ours after all: it lost our label, which took it from our watch, or the answer to our write was lost.
        self._cache.put(kind, live)
        entry = self._cache.entry(kind, service.namespace, key.name)
        if entry is not None and not _stands(entry, stamped):
            await self._change(kind, stamped, entry)
        return "changed"

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


def _stamped(manifest: Manifest) -> Manifest:
    annotations = {**(manifest["metadata"].get("annotations") or {}), names.ANNOTATION_DESIRED_HASH: digest(manifest)}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def _stands(entry: Entry, stamped: Manifest) -> bool:
    wanted = stamped["metadata"]["annotations"][names.ANNOTATION_DESIRED_HASH]
    carried = (entry.manifest["metadata"].get("annotations") or {}).get(names.ANNOTATION_DESIRED_HASH)
    return carried == wanted and bool(entry.fields) and owns(stamped, json.loads(entry.fields))


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
