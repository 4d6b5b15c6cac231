"""Nodes without a kubelet, for tests of scheduling: the real scheduler binds pods to them, and nothing runs.

They belong on a control plane alone: there the node controller is told that no heartbeat will come
(controlplane.py). Beside real kubelets it would call them lost after 50 s.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .cluster import Cluster, Manifest
from .processes import wait_until

_ROOM = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "110"}
_SINCE = "2000-01-01T00:00:00Z"


@dataclass(frozen=True)
class PreparedNode:
    """A node as its kubelet and device plugins would describe it.

    Attributes:
        resources: capacity beyond 64 CPUs, 512 GiB and 110 pods, such as {"nvidia.com/gpu": "8"}; it overrides these.
        taints: as in a node's spec, such as {"key": "nvidia.com/gpu", "effect": "NoSchedule"}.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    resources: Mapping[str, str] = field(default_factory=dict)

    def manifest(self) -> Manifest:
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name, **self.labels}},
            "spec": {"taints": [dict(taint) for taint in self.taints]},
        }

    def status(self) -> Manifest:
        capacity = {**_ROOM, **self.resources}
        ready = {"type": "Ready", "status": "True", "reason": "Prepared", "message": "written by a test"}
        times = {"lastHeartbeatTime": _SINCE, "lastTransitionTime": _SINCE}
        status = {"capacity": capacity, "allocatable": capacity, "conditions": [{**ready, **times}]}
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}, "status": status}


@contextmanager
def nodes(cluster: Cluster, *wanted: PreparedNode) -> Iterator[None]:
    """Adds nodes that the scheduler uses at once; removes them, and the pods bound to them, at the end."""
    names = {node.name for node in wanted}
    cluster.apply(*(node.manifest() for node in wanted))
    try:
        _apply_status(cluster, [node.status() for node in wanted])
        # Each starts with a taint that the node controller takes away when it has seen the node ready.
        wait_until(lambda: not names & _untouchable(cluster), 30, f"the nodes {sorted(names)} to be schedulable")
        yield
    finally:
        _remove_pods(cluster, names)
        cluster.kubectl("delete", "nodes", *names)


def set_extended_resources(cluster: Cluster, node: str, resources: Mapping[str, int | None]) -> None:
    """Sets how many devices a node has, a real node too (its kubelet keeps them); None takes the resource away."""
    amounts = {name: None if amount is None else str(amount) for name, amount in resources.items()}
    patch = {"status": {"capacity": amounts, "allocatable": amounts}}
    cluster.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", json.dumps(patch))


def report_ready(cluster: Cluster, namespace: str, *pods: str) -> None:
    """Reports pods as running and ready, as the kubelet of their node would once their containers are."""
    for name in pods:
        spec = cluster.get("pod", name, "-n", namespace)["spec"]
        running = {"ready": True, "started": True, "restartCount": 0, "imageID": "", "state": {"running": {}}}
        containers = [{"name": one["name"], "image": one["image"], **running} for one in spec["containers"]]
        kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        conditions = [{"type": kind, "status": "True", "lastTransitionTime": _SINCE} for kind in kinds]
        status = {"phase": "Running", "conditions": conditions, "containerStatuses": containers}
        patch = json.dumps({"status": status})
        cluster.kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def _apply_status(cluster: Cluster, manifests: list[Manifest]) -> None:
    documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    apply = ["apply", "--server-side", "--field-manager=kubelet", "--subresource=status", "-f", "-"]
    cluster.kubectl(*apply, stdin=documents)


def _untouchable(cluster: Cluster) -> set[str]:
    found: list[dict[str, Any]] = cluster.get("nodes")["items"]
    return {
        node["metadata"]["name"]
        for node in found
        if any(taint["key"] == "node.kubernetes.io/not-ready" for taint in node["spec"].get("taints", []))
    }


def _remove_pods(cluster: Cluster, nodes: set[str]) -> None:
    """Without a kubelet nobody confirms that a pod has ended: it would hold its devices for the next test."""
    for pod in cluster.get("pods", "--all-namespaces")["items"]:
        if pod["spec"].get("nodeName") in nodes:
            force = ["--grace-period=0", "--force", "--wait=false", "--ignore-not-found"]
            cluster.kubectl("delete", "pod", pod["metadata"]["name"], "-n", pod["metadata"]["namespace"], *force)
