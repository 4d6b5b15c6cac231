"""Builders of what the operator's pure floors read: say only what a test is about, the rest has a plain default."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from mooring_operator.api import names
from mooring_operator.api.membership import Record, Report
from mooring_operator.api.v1alpha1 import InferenceServiceSpec, Variant
from mooring_operator.facts import (
    Cluster,
    Images,
    Manifest,
    Node,
    ObjectKey,
    Observed,
    Pod,
    Service,
    Taint,
)

NAME = "sentiment"
NAMESPACE = "models"
UID = "6f1c2f6e-6f5b-4a55-9a39-0f1f0a6a7f10"
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
_MADE = NOW - timedelta(days=7)
"""When workloads were made."""
SHA256 = "9f2c5a7d1e0b4c3f8a6e9d2b7c1f0a5e4d3c2b1a0f9e8d7c6b5a493827160e5d"
IMAGES: dict[Variant, str] = {
    "onnx": "registry.example/mooring/runtime:1.0",
    "onnx-gpu": "registry.example/mooring/runtime:1.0-onnx-gpu",
    "torch": "registry.example/mooring/runtime:1.0-torch",
}


def spec(**fields: Any) -> InferenceServiceSpec:
    """Return a spec from fields as a user writes them (camelCase keys in nested ones); the model is on a claim."""
    return InferenceServiceSpec.model_validate({"model": {"uri": "pvc://models/sentiment/model.onnx"}, **fields})


def service(name: str = NAME, *, namespace: str = NAMESPACE, generation: int = 1, **fields: Any) -> Service:
    """Return a service; further arguments are fields of its spec."""
    return Service(namespace=namespace, name=name, uid=UID, generation=generation, spec=spec(**fields))


def service_from(path: Path, namespace: str = NAMESPACE) -> Service:
    """Return the service that a YAML file holds."""
    written = yaml.safe_load(path.read_text())
    parsed = InferenceServiceSpec.model_validate(written["spec"])
    return Service(namespace, written["metadata"]["name"], UID, 1, parsed)


def cluster(images: Mapping[Variant, str] | None = None, **facts: Any) -> Cluster:
    """Return a cluster that has everything; `images` replaces the installed variants."""
    facts = {"domain": "cluster.local", "operator_namespace": "mooring", **facts}
    return Cluster(images=Images(IMAGES if images is None else images), **facts)


def observed(*children: Manifest, status: Mapping[str, Any] | None = None, **seen: Any) -> Observed:
    """Return what was seen: live children of ours, and the other fields of `Observed` by name."""
    mine = {ObjectKey(child["kind"], child["metadata"]["name"]): child for child in children}
    return Observed(now=seen.pop("now", NOW), status=status or {}, children=mine, **seen)


def deployment(
    template_hash: str,
    *,
    name: str = NAME,
    replicas: int = 1,
    updated: int | None = None,
    ready: int | None = None,
    surge: bool = True,
    marks: Mapping[str, str] | None = None,
    progressing: str = "",
) -> Manifest:
    """Return a live Deployment; all its pods are of its template and ready unless said otherwise.

    `progressing` is the reason of a `Progressing=False` condition, such as ProgressDeadlineExceeded.
    """
    annotations = {names.ANNOTATION_TEMPLATE_HASH: template_hash}
    present = replicas if ready is None else ready
    conditions = []
    if progressing:
        conditions.append({"type": "Progressing", "status": "False", "reason": progressing, "message": "no progress"})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "generation": 1,
            "creationTimestamp": _MADE.isoformat(),
            "annotations": {**annotations, **(marks or {})},
        },
        "spec": {
            "replicas": replicas,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": int(surge)}},
            "template": {"metadata": {"annotations": dict(annotations)}, "spec": {}},
        },
        "status": {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas if updated is None else updated,
            "readyReplicas": present,
            "availableReplicas": present,
            "conditions": conditions,
        },
    }


def replica_set(template_hash: str, *, name: str = NAME) -> Manifest:
    """Return a ReplicaSet of the Deployment that keeps an earlier template."""
    labels = {names.LABEL_SERVICE: name, "pod-template-hash": template_hash[:8]}
    annotations = {names.ANNOTATION_TEMPLATE_HASH: template_hash}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": f"{name}-{template_hash[:8]}", "namespace": NAMESPACE, "labels": labels},
        "spec": {"template": {"metadata": {"labels": dict(labels), "annotations": annotations}, "spec": {}}},
    }


def check_job(template_hash: str, outcome: str = "", *, name: str = NAME) -> Manifest:
    """Return the check of a template; `outcome` is Complete or Failed, and empty while it runs."""
    conditions = [{"type": outcome, "status": "True"}] if outcome else []
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{name}-check-{template_hash}",
            "namespace": NAMESPACE,
            "annotations": {names.ANNOTATION_TEMPLATE_HASH: template_hash},
        },
        "status": {"conditions": conditions},
    }


def pod(template_hash: str, name: str = "sentiment-1", *, ready: bool = True, **seen: Any) -> Pod:
    """Return a pod of the service, scheduled and ready unless said otherwise."""
    return Pod(name=name, template_hash=template_hash, ready=ready, scheduled=seen.pop("scheduled", True), **seen)


def node(
    name: str = "gpu-1",
    *,
    accelerators: Mapping[str, int] | None = None,
    free: Mapping[str, int] | None = None,
    labels: Mapping[str, str] | None = None,
    taints: Iterable[Taint] = (),
    schedulable: bool = True,
) -> Node:
    """Return a node; all its accelerators are free unless said otherwise."""
    allocatable = dict(accelerators or {})
    return Node(
        name=name,
        labels=dict(labels or {}),
        taints=tuple(taints),
        schedulable=schedulable,
        allocatable=allocatable,
        free=allocatable if free is None else dict(free),
    )


def stateful_set(
    template_hash: str,
    *,
    name: str = NAME,
    replicas: int = 1,
    volume: str = "1Gi",
    marks: Mapping[str, str] | None = None,
    seen: bool = True,
    made: datetime = _MADE,
) -> Manifest:
    """Return a live StatefulSet; `seen`: its controller has seen this spec."""
    annotations = {names.ANNOTATION_TEMPLATE_HASH: template_hash}
    claim = {
        "metadata": {"name": names.CLAIM_SESSIONS},
        "spec": {"resources": {"requests": {"storage": volume}}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "generation": 2,
            "creationTimestamp": made.isoformat(),
            "annotations": {**annotations, **(marks or {})},
        },
        "spec": {
            "replicas": replicas,
            "template": {"metadata": {"annotations": dict(annotations)}, "spec": {}},
            "volumeClaimTemplates": [claim],
        },
        "status": {"observedGeneration": 2 if seen else 1},
    }


def revision(template_hash: str) -> Manifest:
    """Return a ControllerRevision that keeps an earlier template of a StatefulSet."""
    template = {"$patch": "replace", "metadata": {"annotations": {names.ANNOTATION_TEMPLATE_HASH: template_hash}}}
    return {"kind": "ControllerRevision", "data": {"spec": {"template": {**template, "spec": {}}}}}


def claim(ordinal: int, size: str = "1Gi", *, bound: bool = True, name: str = NAME) -> Manifest:
    """Return the PersistentVolumeClaim of a replica."""
    return {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{names.CLAIM_SESSIONS}-{name}-{ordinal}"},
        "spec": {"resources": {"requests": {"storage": size}}},
        "status": {"phase": "Bound" if bound else "Pending"},
    }


def record(epoch: int, size: int, *past: int, stores: str = "", lost: Iterable[str] = ()) -> Record:
    """Return a membership record; `stores` has one letter an ordinal, else each ordinal has its own from `a` on."""
    reach = max(size, *past, size)
    named = stores or "abcdefghij"[:reach]
    return Record(epoch, size, past, dict(enumerate(named)), tuple(lost))


def report(ordinal: int, of: Record | None, store: str = "", *, clean: bool = True, **counts: Any) -> Report:
    """Return what a replica says; its store is the one that `record` names for it unless said otherwise."""
    return Report(ordinal, store or "abcdefghij"[ordinal], counts.pop("boot", 1), of, clean, **counts)


def replica(ordinal: int, template_hash: str = "v1", *, ready: bool = True, name: str = NAME, **seen: Any) -> Pod:
    """Return the pod of a replica of a stateful service."""
    return pod(template_hash, f"{name}-{ordinal}", ready=ready, ordinal=ordinal, uid=f"uid-{ordinal}", **seen)
