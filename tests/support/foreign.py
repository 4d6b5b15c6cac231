"""What others install beside Mooring: definitions of their kinds, and their claim on the external metrics."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mooring_operator.api import names
from mooring_operator.facts import Manifest
from tests.cluster.cluster import Cluster
from tests.support import chart

_FILES: Final = sorted((Path(__file__).parent / "crds").glob("*.yaml"))
KEDA: Final = ("keda", "keda-operator-metrics-apiserver")
SOMEBODY: Final = ("monitoring", "cluster-agent")
OURS: Final = (chart.NAMESPACE, names.ADAPTER)


@contextmanager
def definitions(cluster: Cluster) -> Iterator[None]:
    """Let the API server know the kinds of KEDA and of the Prometheus operator while the block runs."""
    _define(cluster)
    try:
        yield
    finally:
        _forget(cluster)


@contextmanager
def no_definitions(cluster: Cluster) -> Iterator[None]:
    """Take these kinds away, with all of their objects, while the block runs."""
    _forget(cluster)
    try:
        yield
    finally:
        _define(cluster)


def _define(cluster: Cluster) -> None:
    for file in _FILES:
        cluster.kubectl("apply", "--server-side", "-f", str(file))
    for file in _FILES:
        cluster.kubectl("wait", "--for=condition=Established", "-f", str(file))


def _forget(cluster: Cluster) -> None:
    for file in _FILES:
        cluster.kubectl("delete", "-f", str(file), "--ignore-not-found")


def serve_metrics(cluster: Cluster, owner: tuple[str, str]) -> None:
    """Let the external metrics be those of a Service, by namespace and name. It is not there: nobody answers."""
    namespace, name = owner
    manifest = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": names.EXTERNAL_METRICS_API_SERVICE},
        "spec": {
            "group": names.EXTERNAL_METRICS_GROUP,
            "version": names.EXTERNAL_METRICS_VERSION,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": namespace, "name": name, "port": 443},
        },
    }
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))


def serves_metrics(cluster: Cluster) -> tuple[str, str]:
    """Whose the external metrics are, by namespace and name of the Service."""
    service = cluster.get("apiservice", names.EXTERNAL_METRICS_API_SERVICE)["spec"]["service"]
    return service["namespace"], service["name"]


def serve_no_metrics(cluster: Cluster) -> None:
    """Take the external metrics away, also for other tests: a dead server holds up the end of every namespace."""
    cluster.kubectl("delete", "apiservice", names.EXTERNAL_METRICS_API_SERVICE, "--ignore-not-found")


def keda_autoscaler(scaled_object: Manifest) -> Manifest:
    """What KEDA makes of a ScaledObject: it copies the labels, and is the owner."""
    meta, config = scaled_object["metadata"], scaled_object["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
    owner = {
        "apiVersion": scaled_object["apiVersion"],
        "kind": scaled_object["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    labels = {"app.kubernetes.io/managed-by": "keda-operator", **meta["labels"]}
    selector = {"matchLabels": {"scaledobject.keda.sh/name": meta["name"]}}
    target = {"type": "AverageValue", "averageValue": "1"}
    metric = {
        "type": "External",
        "external": {"metric": {"name": "s0-prometheus", "selector": selector}, "target": target},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": config["name"],
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {
            "scaleTargetRef": scaled_object["spec"]["scaleTargetRef"],
            "minReplicas": scaled_object["spec"]["minReplicaCount"],
            "maxReplicas": scaled_object["spec"]["maxReplicaCount"],
            "metrics": [metric],
            "behavior": config["behavior"],
        },
    }
