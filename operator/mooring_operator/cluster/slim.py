"""What the cache keeps of an object: memory is dominated by what nobody reads."""

import json
import sys
from typing import Any, NamedTuple

from ..api import names
from ..facts import Manifest
from . import kinds
from .kinds import Kind
from .ownership import controller_of, fields_of, managers_of


class Entry(NamedTuple):
    """One cached object."""

    manifest: Manifest
    """Without managed fields; of pods and nodes only what the operator reads."""
    version: int
    """Its resourceVersion: a later write has a larger one."""
    owner: str
    """uid of its controller; empty when it has none."""
    fields: str
    """The fields that our manager applied, as compact JSON."""
    replicas_managers: frozenset[str]
    """Who owns `spec.replicas`; Deployments only."""

    @property
    def uid(self) -> str:
        """Identity of the object across time."""
        uid: str = self.manifest["metadata"]["uid"]
        return uid


def entry_of(kind: Kind, obj: Manifest) -> Entry:
    """Return what is kept of a whole object, as the API server or a watch gave it."""
    meta = obj["metadata"]
    applied = fields_of(obj, names.FIELD_MANAGER)
    return Entry(
        manifest=_compact(_PROJECTIONS.get(kind, _whole)(obj)),
        version=int(meta["resourceVersion"]),
        owner=controller_of(obj).get("uid", ""),
        fields=json.dumps(applied, separators=(",", ":")) if applied else "",
        replicas_managers=managers_of(obj, ("spec", "replicas")) if kind is kinds.DEPLOYMENT else frozenset(),
    )


def _whole(obj: Manifest) -> Manifest:
    return {**obj, "metadata": _without(obj["metadata"], "managedFields")}


def _service(obj: Manifest) -> Manifest:
    # The user's annotations may hold the whole object once more (kubectl apply).
    return {**obj, "metadata": _without(obj["metadata"], "managedFields", "annotations")}


def _pod(obj: Manifest) -> Manifest:
    meta, status = obj["metadata"], obj.get("status", {})
    annotations = meta.get("annotations") or {}
    return {
        "metadata": {
            **_only(meta, "name", "namespace", "uid", "resourceVersion", "ownerReferences", "deletionTimestamp"),
            "labels": _only(meta.get("labels") or {}, names.LABEL_SERVICE),
            "annotations": _only(annotations, names.ANNOTATION_TEMPLATE_HASH),
        },
        "spec": _only(obj.get("spec", {}), "nodeName"),
        "status": {
            **_only(status, "phase", "reason", "message"),
            "conditions": [
                _only(condition, "type", "status", "reason", "message")
                for condition in status.get("conditions") or ()
                if condition["type"] in {"Ready", "PodScheduled"}
            ],
            **{
                field: [_only(item, "name", "state", "lastState", "restartCount") for item in status.get(field) or ()]
                for field in ("initContainerStatuses", "containerStatuses")
            },
        },
    }


def _node(obj: Manifest) -> Manifest:
    meta, spec = obj["metadata"], obj.get("spec", {})
    return {
        "metadata": _only(meta, "name", "uid", "resourceVersion", "labels"),
        "spec": _only(spec, "taints", "unschedulable"),
        "status": {"allocatable": obj.get("status", {}).get("allocatable") or {}},
    }


_PROJECTIONS = {kinds.INFERENCE_SERVICE: _service, kinds.POD: _pod, kinds.NODE: _node}


def _only(mapping: Manifest, *keys: str) -> Manifest:
    return {key: mapping[key] for key in keys if key in mapping}


def _without(mapping: Manifest, *keys: str) -> Manifest:
    return {key: value for key, value in mapping.items() if key not in keys}


def _compact(value: Any) -> Any:
    """Return the same JSON with equal strings shared: each parsed object brings its own copies of all its keys."""
    if isinstance(value, dict):
        return {sys.intern(key): _compact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_compact(item) for item in value]
    return sys.intern(value) if isinstance(value, str) and len(value) < 64 else value
