"""The real scheduler puts a pod of each kind of accelerator on the one node that fits, or says why it cannot."""

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.api.accelerators import node_matches
from mooring_operator.facts import Manifest, Service, Step
from tests.cluster.cluster import Cluster
from tests.cluster.places import ClusterError
from tests.cluster.processes import wait_until
from tests.support import builders

MARK = f"accelerators-{secrets.token_hex(3)}"
"""Label of this run's nodes, which its pods select: other tests' nodes are none of their business."""
DRIVER = f"{MARK}.example"
"""DRA driver and DeviceClass of this run."""
NVIDIA, MIG = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"
A100 = "NVIDIA-A100-SXM4-80GB"


@dataclass(frozen=True)
class Machine:
    """A node as its vendor's device plugin and labeller leave it."""

    resources: dict[str, int] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    taint: str = ""
    device: dict[str, str] = field(default_factory=dict)
    """Product and memory of its one DRA device, as the driver writes them."""


MACHINES = {
    "l40s": Machine({NVIDIA: 4}, {f"{NVIDIA}.product": "NVIDIA-L40S", f"{NVIDIA}.memory": "46068"}, NVIDIA),
    "t4": Machine({NVIDIA: 4}, {f"{NVIDIA}.product": "Tesla-T4", f"{NVIDIA}.memory": "15360"}, NVIDIA),
    "t4-sliced": Machine({NVIDIA: 8}, {f"{NVIDIA}.product": "Tesla-T4-SHARED", f"{NVIDIA}.memory": "15360"}, NVIDIA),
    "t4-shared": Machine(
        {f"{NVIDIA}.shared": 8}, {f"{NVIDIA}.product": "Tesla-T4", f"{NVIDIA}.memory": "15360"}, NVIDIA
    ),
    "a100": Machine(
        {MIG: 7},
        {
            f"{NVIDIA}.product": A100,
            f"{NVIDIA}.memory": "81920",
            f"{MIG}.product": f"{A100}-MIG-1g.10gb",
            f"{MIG}.memory": "9728",
        },
        NVIDIA,
    ),
    "mi300x": Machine({"amd.com/gpu": 8}, {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"}, "amd.com/gpu"),
    "flex": Machine({"gpu.intel.com/i915": 2}, {"gpu.intel.com/product": "Flex_170"}, "gpu.intel.com/i915"),
    "arc": Machine({"gpu.intel.com/xe": 2}, {}, "gpu.intel.com/xe"),
    "gaudi": Machine({"habana.ai/gaudi": 8}, {}, "habana.ai/gaudi"),
    "inf2": Machine({"aws.amazon.com/neuron": 1, "aws.amazon.com/neuroncore": 2}, {}, "aws.amazon.com/neuron"),
    "v6e": Machine({"google.com/tpu": 4}, {"cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice"}, "google.com/tpu"),
    "npu": Machine({"example.com/npu": 1}, {}, "example.com/npu"),
    "dra-l40s": Machine(device={"product": "NVIDIA L40S", "memory": "46068Mi"}),
    "dra-h100": Machine(device={"product": "NVIDIA H100 80GB HBM3", "memory": "81559Mi"}),
    # A device of another kind behind the same class, which says nothing about itself.
    "dra-mute": Machine(device={"product": "", "memory": ""}),
}

# name: accelerator, the only node that fits. Where two would fit, the accelerator says more than it must.
PLACED: dict[str, tuple[dict[str, Any], str]] = {
    "product": ({"type": NVIDIA, "product": "NVIDIA-L40S", "count": 2}, "l40s"),
    "memory": ({"type": NVIDIA, "minMemory": "24Gi"}, "l40s"),
    "whole": ({"type": NVIDIA, "product": "Tesla-T4"}, "t4"),
    "sliced": ({"type": NVIDIA, "product": "Tesla-T4-SHARED"}, "t4-sliced"),
    "shared": ({"type": f"{NVIDIA}.shared", "product": "Tesla-T4", "minMemory": "12Gi"}, "t4-shared"),
    "mig": ({"type": MIG, "product": A100, "minMemory": "9Gi"}, "a100"),
    "amd": ({"type": "amd.com/gpu", "product": "AMD_Instinct_MI300X_OAM"}, "mi300x"),
    "i915": ({"type": "gpu.intel.com/i915", "product": "Flex_170"}, "flex"),
    "xe": ({"type": "gpu.intel.com/xe"}, "arc"),
    "gaudi": ({"type": "habana.ai/gaudi", "count": 8}, "gaudi"),
    "neuron": ({"type": "aws.amazon.com/neuron"}, "inf2"),
    "neuroncore": ({"type": "aws.amazon.com/neuroncore"}, "inf2"),
    "tpu": ({"type": "google.com/tpu", "product": "tpu-v6e-slice", "count": 4}, "v6e"),
    "unknown": ({"type": "example.com/npu"}, "npu"),
    "dra-product": ({"deviceClass": DRIVER, "product": "NVIDIA-L40S"}, "dra-l40s"),
    "dra-memory": ({"deviceClass": DRIVER, "minMemory": "79Gi"}, "dra-h100"),
}
# name: accelerator, what the scheduler must say.
PENDING: dict[str, tuple[dict[str, Any], str]] = {
    "no-product": ({"type": NVIDIA, "product": "NVIDIA-H200"}, "node affinity/selector"),
    "no-memory": ({"type": NVIDIA, "minMemory": "47Gi"}, "node affinity/selector"),
    "no-count": ({"type": NVIDIA, "product": "NVIDIA-L40S", "count": 5}, "Insufficient nvidia.com/gpu"),
    "no-mig-memory": ({"type": MIG, "minMemory": "40Gi"}, "node affinity/selector"),
    "no-tpu": ({"type": "google.com/tpu", "product": "tpu-v5p-slice"}, "node affinity/selector"),
    "no-plugin": ({"type": "example.com/other"}, "Insufficient example.com/other"),
    "dra-no-product": ({"deviceClass": DRIVER, "product": "NVIDIA-B200"}, "cannot allocate all claims"),
    "dra-no-count": ({"deviceClass": DRIVER, "product": "NVIDIA-L40S", "count": 2}, "cannot allocate all claims"),
}


@pytest.fixture(scope="module")
def pods(control_plane: Cluster) -> Iterator[dict[str, Manifest]]:
    """What the scheduler has made of one pod a case, on nodes that say they are ready: no kubelet stands behind them.

    All at once, since nodes without a heartbeat are given up after 50 s.
    """
    control_plane.kubectl("create", "namespace", MARK)
    control_plane.kubectl("create", "serviceaccount", "default", "-n", MARK, check=False)
    device_class = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": DRIVER, "labels": {"test": MARK}},
        "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]},
    }
    control_plane.apply(
        device_class,
        *(node(name, machine) for name, machine in MACHINES.items()),
        *(resource_slice(name, machine) for name, machine in MACHINES.items() if machine.device),
    )
    ready = {"apiVersion": "v1", "kind": "List", "items": [with_status(name, one) for name, one in MACHINES.items()]}
    control_plane.kubectl("replace", "--subresource=status", "-f", "-", stdin=json.dumps(ready))
    wanted = {name: accelerator for name, (accelerator, _) in (PLACED | PENDING).items()}
    control_plane.apply(*(child for name, one in wanted.items() for child in children(name, one)))
    found: dict[str, Manifest] = {}

    def settled() -> bool:
        # The scheduler's first word may be about nodes that it has not seen ready yet; it tries again by itself.
        found.update({pod["metadata"]["name"]: pod for pod in control_plane.get("pods", "-n", MARK)["items"]})
        verdicts = {name: verdict(found.get(name, {})) for name in wanted}
        return all(verdicts[name] == f"{MARK}-{machine}" for name, (_, machine) in PLACED.items()) and all(
            said in verdicts[name] for name, (_, said) in PENDING.items()
        )

    # When it does not settle each case tells its own part.
    with contextlib.suppress(ClusterError):
        wait_until(settled, 30, "the scheduler")
    yield found
    control_plane.kubectl("delete", "pods", "--all", "-n", MARK, "--force", "--grace-period=0", "--wait=false")
    control_plane.kubectl("delete", "namespace", MARK, "--wait=false")
    control_plane.kubectl("delete", "nodes,resourceslices,deviceclasses", "-l", f"test={MARK}", "--wait=false")


@pytest.mark.parametrize("name", PLACED)
def test_it_lands_on_the_node_that_fits(name: str, pods: dict[str, Manifest]) -> None:
    assert verdict(pods[name]) == f"{MARK}-{PLACED[name][1]}"


@pytest.mark.parametrize("name", PENDING)
def test_it_waits_where_no_node_fits(name: str, pods: dict[str, Manifest]) -> None:
    assert "nodeName" not in pods[name]["spec"]
    assert PENDING[name][1] in verdict(pods[name])


@pytest.mark.parametrize("name", [name for name in PLACED | PENDING if not name.startswith("dra-")])
def test_the_planner_sees_what_the_scheduler_sees(name: str, pods: dict[str, Manifest]) -> None:
    wanted = service(name, (PLACED | PENDING)[name][0]).spec.accelerator
    assert wanted is not None
    fits = {
        f"{MARK}-{machine}"
        for machine, one in MACHINES.items()
        if one.resources.get(wanted.type or "", 0) >= wanted.count and node_matches(wanted, one.labels)
    }
    placed = pods[name]["spec"].get("nodeName")
    assert fits == ({placed} if placed else set())


def verdict(pod: Manifest) -> str:
    """Return the node of a pod, or what the scheduler says of it; empty while it has said nothing."""
    if placed := pod.get("spec", {}).get("nodeName"):
        return str(placed)
    conditions = pod.get("status", {}).get("conditions", ())
    return next((one.get("message", "") for one in conditions if one.get("reason") == "Unschedulable"), "")


def service(name: str, accelerator: dict[str, Any]) -> Service:
    model = {"uri": "oci://registry.example/models/sentiment:v3"}
    return builders.service(
        name, namespace=MARK, model=model, accelerator=accelerator, pod={"nodeSelector": {"test": MARK}}
    )


def children(name: str, accelerator: dict[str, Any]) -> list[Manifest]:
    """Return a pod of the service's template, and the template of its claim."""
    made = {child["kind"]: child for child in desired.children(service(name, accelerator), builders.cluster(), Step())}
    template = made["Deployment"]["spec"]["template"]
    # An account of its own would have to exist first, and nothing depends on it here.
    spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
    meta = {**template["metadata"], "name": name, "namespace": MARK}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    claim = made.get("ResourceClaimTemplate")
    if claim is None:
        return [pod]
    del claim["metadata"]["ownerReferences"]
    return [claim, pod]


def node(name: str, machine: Machine) -> Manifest:
    taints = [{"key": machine.taint, "value": "present", "effect": "NoSchedule"}] if machine.taint else []
    labels = {**machine.labels, "test": MARK}
    spec = {"taints": taints} if taints else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"{MARK}-{name}", "labels": labels}, "spec": spec}


def with_status(name: str, machine: Machine) -> Manifest:
    resources = {"cpu": "32", "memory": "128Gi", "pods": "110"} | {k: str(v) for k, v in machine.resources.items()}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "as if"}
    times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    status = {"capacity": resources, "allocatable": resources, "conditions": [condition | times]}
    return {**node(name, machine), "status": status}


def resource_slice(name: str, machine: Machine) -> Manifest:
    device: Manifest = {"name": "gpu-0"}
    if machine.device["product"]:
        device["attributes"] = {"productName": {"string": machine.device["product"]}}
        device["capacity"] = {"memory": {"value": machine.device["memory"]}}
    pool = {"name": f"{MARK}-{name}", "generation": 1, "resourceSliceCount": 1}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{MARK}-{name}", "labels": {"test": MARK}},
        "spec": {"driver": DRIVER, "nodeName": f"{MARK}-{name}", "pool": pool, "devices": [device]},
    }
