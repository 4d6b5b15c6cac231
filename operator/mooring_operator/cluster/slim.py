"""What the cache keeps of an object: memory is dominated by what nobody reads."""

import json
import sys
from typing import Any, NamedTuple

from ..api import names
from ..facts import Manifest
from . import kinds
from .kinds import Kind
from .ownership import controller_of, fields_of, managers_of, scaled_by


class Entry(NamedTuple):
    """One cached object."""

    manifest: Manifest
    """Only what the operator reads of this kind."""
    version: int
    """Its resourceVersion: a later write has a larger one."""
    owner: str
    """uid of its controller; empty when it has none."""
    fields: str
    """The fields that our manager applied, as compact JSON."""
    replicas_managers: frozenset[str]
    """Who owns `spec.replicas`; Deployments only."""
    scaled_by: str = ""
    """Who last wrote `spec.replicas` through /scale, when it was last written so; services only."""

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
        manifest=_compact(_PROJECTIONS.get(kind, _child)(obj)),
        version=int(meta["resourceVersion"]),
        owner=controller_of(obj).get("uid", ""),
        fields=json.dumps(applied, separators=(",", ":")) if applied else "",
        replicas_managers=managers_of(obj, ("spec", "replicas")) if kind is kinds.DEPLOYMENT else frozenset(),
        scaled_by=scaled_by(obj) if kind is kinds.INFERENCE_SERVICE else "",
    )


def _child(obj: Manifest) -> Manifest:
    """What is asked of most children: which one it is, and the digest that it carries."""
    meta = obj["metadata"]
    annotations = meta.get("annotations") or {}
    return {
        "metadata": {
            **_only(meta, "name", "namespace", "uid", "resourceVersion", "generation", "deletionTimestamp"),
            "labels": _only(meta.get("labels") or {}, names.LABEL_SERVICE),
            "annotations": {key: value for key, value in annotations.items() if key.startswith(f"{names.GROUP}/")},
        }
    }


def _child_with_status(obj: Manifest) -> Manifest:
    return {**_child(obj), "status": obj.get("status") or {}}


def _autoscaler(obj: Manifest) -> Manifest:
    """With its metrics, where somebody reads them: what it measures says nothing without what it is held against.

    Only of one that writes our /scale are all of them read. Else each look of it, every 15 s, would be a change.
    """
    spec, status = obj["spec"], obj.get("status") or {}
    ours = spec.get("scaleTargetRef", {}).get("kind") == names.KIND
    return {
        **_child(obj),
        "spec": _only(spec, "metrics"),
        "status": {
            "conditions": [
                _only(condition, "type", "status", "reason", "message")
                for condition in status.get("conditions") or ()
                if condition["type"] == "ScalingActive"
            ],
            "currentMetrics": [
                metric for metric in status.get("currentMetrics") or () if ours or metric.get("containerResource")
            ],
        },
    }


def _deployment(obj: Manifest) -> Manifest:
    """Without the pod template's spec: it is rendered, and never read back."""
    template = (obj["spec"]["template"].get("metadata") or {}).get("annotations") or {}
    return {
        **_child_with_status(obj),
        "spec": {
            **_only(obj["spec"], "replicas", "strategy"),
            "template": {"metadata": {"annotations": _only(template, names.ANNOTATION_TEMPLATE_HASH)}},
        },
    }


def _stateful_set(obj: Manifest) -> Manifest:
    """As a Deployment, and with its templates whole: the claims' cannot be changed in place, and the pods' is applied
    as it stands while a new one has to wait.
    """
    claims = [
        {
            "metadata": _only(claim["metadata"], "name"),
            "spec": _only(claim["spec"], "accessModes", "resources", "storageClassName"),
        }
        for claim in obj["spec"].get("volumeClaimTemplates") or ()
    ]
    slim = _deployment(obj)
    template = obj["spec"]["template"]
    return {
        **slim,
        "metadata": {**slim["metadata"], **_only(obj["metadata"], "creationTimestamp")},
        "spec": {**slim["spec"], "template": template, "volumeClaimTemplates": claims},
    }


def _claim(obj: Manifest) -> Manifest:
    status = obj.get("status") or {}
    child = _child(obj)
    owners = obj["metadata"].get("ownerReferences") or ()
    return {
        # Owners: those with which it will be deleted.
        "metadata": {**child["metadata"], "ownerReferences": [_only(owner, "kind", "uid") for owner in owners]},
        "spec": _only(obj["spec"], "accessModes", "resources", "storageClassName", "volumeName"),
        "status": {
            **_only(status, "phase", "capacity"),
            "conditions": [
                _only(condition, "type", "status", "reason", "message") for condition in status.get("conditions") or ()
            ],
        },
    }


def _config_map(obj: Manifest) -> Manifest:
    """With the membership record, when it is that which keeps one, and whose it is: nobody controls it."""
    slim = _child(obj)
    owners = _only(obj["metadata"], "ownerReferences")
    labels = _only(obj["metadata"].get("labels") or {}, names.LABEL_SERVICE, names.LABEL_MANAGED_BY)
    data = _only(obj.get("data") or {}, names.MEMBERSHIP_KEY)
    return {**slim, "metadata": {**slim["metadata"], **owners, "labels": labels}, "data": data}


def _service(obj: Manifest) -> Manifest:
    # Without the user's other annotations: they may hold the whole object once more (kubectl apply).
    meta = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "generation", "deletionTimestamp")
    annotations = _only(meta.get("annotations") or {}, names.ANNOTATION_ABANDON_STORE)
    return {**obj, "metadata": {**_only(meta, *kept), **({"annotations": annotations} if annotations else {})}}


def _pod(obj: Manifest) -> Manifest:
    meta, status = obj["metadata"], obj.get("status", {})
    annotations = meta.get("annotations") or {}
    return {
        "metadata": {
            **_only(meta, "name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"),
            "labels": _only(meta.get("labels") or {}, names.LABEL_SERVICE, names.LABEL_COMPONENT, names.LABEL_ORDINAL),
            "annotations": _only(annotations, names.ANNOTATION_TEMPLATE_HASH),
        },
        "spec": _only(obj.get("spec", {}), "nodeName"),
        "status": {
            **_only(status, "phase", "reason", "message", "podIP"),
            "conditions": [
                _only(condition, "type", "status", "reason", "message", "lastTransitionTime")
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
    meta, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status", {})
    return {
        "metadata": _only(meta, "name", "uid", "resourceVersion", "labels"),
        "spec": _only(spec, "taints", "unschedulable"),
        "status": {
            "allocatable": status.get("allocatable") or {},
            # Without its times: each heartbeat would be a change.
            "conditions": [
                _only(condition, "type", "status", "reason", "message")
                for condition in status.get("conditions") or ()
                if condition["type"] == "Ready"
            ],
        },
    }


_PROJECTIONS = {
    kinds.INFERENCE_SERVICE: _service,
    kinds.DEPLOYMENT: _deployment,
    kinds.STATEFUL_SET: _stateful_set,
    kinds.CONFIG_MAP: _config_map,
    kinds.PERSISTENT_VOLUME_CLAIM: _claim,
    kinds.HORIZONTAL_POD_AUTOSCALER: _autoscaler,
    kinds.SCALED_OBJECT: _child_with_status,
    kinds.JOB: _child_with_status,
    kinds.POD: _pod,
    kinds.NODE: _node,
}


def _only(mapping: Manifest, *keys: str) -> Manifest:
    return {key: mapping[key] for key in keys if key in mapping}


def _compact(value: Any) -> Any:
    """Return the same JSON with equal strings shared: each parsed object brings its own copies of all its keys."""
    if isinstance(value, dict):
        return {sys.intern(key): _compact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_compact(item) for item in value]
    return sys.intern(value) if isinstance(value, str) and len(value) < 64 else value
