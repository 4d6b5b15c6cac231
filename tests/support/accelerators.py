"""Machines with accelerators of every vendor, and which accelerator of a service lands where.

The machines are prepared nodes (tests/cluster/prepared.py): nothing runs on them. Those of one user carry its mark as
a label, which its pods select, so that two users of one cluster do not get into each other's way.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.cluster import prepared
from tests.cluster.cluster import Cluster, Manifest
from tests.cluster.prepared import PreparedNode

MARK = "machines"
"""Label of the nodes."""
DRIVER = f"accelerators-{secrets.token_hex(3)}.example"
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


def selector(mark: str) -> dict[str, str]:
    """The node selector of pods that may use the machines of this mark."""
    return {MARK: mark}


@contextmanager
def machines(cluster: Cluster, mark: str) -> Iterator[None]:
    """All machines on a cluster, called MARK-NAME, for as long as the block runs; pods on them go with them."""
    with prepared.nodes(cluster, *(_node(mark, name) for name in MACHINES)):
        cluster.apply(_device_class(), *_slices(mark))
        try:
            yield
        finally:
            cluster.kubectl("delete", "resourceslices", "-l", f"{MARK}={mark}")
            cluster.kubectl("delete", "deviceclass", DRIVER, "--ignore-not-found")


def _node(mark: str, name: str) -> PreparedNode:
    machine = MACHINES[name]
    taints = [{"key": machine.taint, "value": "present", "effect": "NoSchedule"}] if machine.taint else []
    resources = {resource: str(count) for resource, count in machine.resources.items()}
    return PreparedNode(f"{mark}-{name}", {**machine.labels, **selector(mark)}, taints, resources)


def _device_class() -> Manifest:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": DRIVER},
        "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]},
    }


def _slices(mark: str) -> list[Manifest]:
    return [_slice(f"{mark}-{name}", machine, mark) for name, machine in MACHINES.items() if machine.device]


def _slice(name: str, machine: Machine, mark: str) -> Manifest:
    device: Manifest = {"name": "gpu-0"}
    if machine.device["product"]:
        device["attributes"] = {"productName": {"string": machine.device["product"]}}
        device["capacity"] = {"memory": {"value": machine.device["memory"]}}
    pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": name, "labels": selector(mark)},
        "spec": {"driver": DRIVER, "nodeName": name, "pool": pool, "devices": [device]},
    }
