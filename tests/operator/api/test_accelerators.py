"""The table of vendors, by what their node labellers write."""

from typing import Any

import pytest

from mooring_operator.api.accelerators import Requirement, node_matches, requirements, tolerated_keys, unsupported
from mooring_operator.api.v1alpha1 import Accelerator


def accelerator(**fields: Any) -> Accelerator:
    return Accelerator.model_validate(fields)


L40S = {"nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.memory": "46068"}
SLICED = {"nvidia.com/gpu.product": "NVIDIA-L40S-SHARED", "nvidia.com/gpu.memory": "46068"}
MIXED = {
    "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
    "nvidia.com/gpu.memory": "81920",
    "nvidia.com/mig-1g.10gb.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
    "nvidia.com/mig-1g.10gb.memory": "9728",
}
SINGLE = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "nvidia.com/gpu.memory": "9728"}
MI300X = {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"}


@pytest.mark.parametrize(
    ("wanted", "labels", "expected"),
    [
        ({"type": "nvidia.com/gpu"}, {}, True),
        ({"type": "nvidia.com/gpu", "product": "NVIDIA-L40S"}, L40S, True),
        ({"type": "nvidia.com/gpu", "product": "NVIDIA-L40S"}, SLICED, False),
        ({"type": "nvidia.com/gpu", "product": "NVIDIA-L40S-SHARED"}, SLICED, True),
        ({"type": "nvidia.com/gpu.shared", "product": "NVIDIA-L40S"}, L40S, True),
        ({"type": "nvidia.com/gpu.shared", "product": "NVIDIA-L40S"}, SLICED, True),
        ({"type": "nvidia.com/gpu.shared", "product": "NVIDIA-L40S-SHARED"}, L40S, False),
        ({"type": "nvidia.com/gpu", "product": "NVIDIA-L40S"}, {}, False),
        ({"type": "nvidia.com/gpu", "minMemory": "46068Mi"}, L40S, True),
        ({"type": "nvidia.com/gpu", "minMemory": "46069Mi"}, L40S, False),
        ({"type": "nvidia.com/gpu", "minMemory": "48G"}, L40S, True),
        ({"type": "nvidia.com/gpu", "minMemory": "48G"}, {"nvidia.com/gpu.memory": "much"}, False),
        ({"type": "nvidia.com/gpu", "minMemory": "48G"}, {}, False),
        ({"type": "nvidia.com/gpu", "product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "minMemory": "9Gi"}, SINGLE, True),
        ({"type": "nvidia.com/mig-1g.10gb", "product": "NVIDIA-A100-SXM4-80GB"}, MIXED, True),
        ({"type": "nvidia.com/mig-1g.10gb", "product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"}, MIXED, True),
        ({"type": "nvidia.com/mig-1g.10gb", "product": "NVIDIA-H100-80GB-HBM3"}, MIXED, False),
        ({"type": "nvidia.com/mig-1g.10gb", "minMemory": "9Gi"}, MIXED, True),
        ({"type": "nvidia.com/mig-1g.10gb", "minMemory": "10Gi"}, MIXED, False),
        ({"type": "nvidia.com/mig-1g.10gb.shared", "minMemory": "9Gi"}, MIXED, True),
        ({"type": "amd.com/gpu", "product": "AMD_Instinct_MI300X_OAM"}, MI300X, True),
        ({"type": "amd.com/gpu", "product": "AMD_Instinct_MI250X"}, MI300X, False),
        ({"type": "gpu.intel.com/i915", "product": "Flex_170"}, {"gpu.intel.com/product": "Flex_170"}, True),
        ({"type": "gpu.intel.com/xe", "product": "Flex_170"}, {"gpu.intel.com/product": "Max_1550"}, False),
        (
            {"type": "google.com/tpu", "product": "tpu-v6e-slice"},
            {"cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice"},
            True,
        ),
        ({"type": "example.com/npu"}, {}, True),
        ({"deviceClass": "gpu.nvidia.com", "product": "NVIDIA-L40S"}, {}, True),  # the scheduler asks the devices
    ],
)
def test_node_matches(wanted: dict[str, Any], labels: dict[str, str], expected: bool) -> None:
    assert node_matches(accelerator(**wanted), labels) is expected


def test_memory_is_rounded_up_and_compared_strictly() -> None:
    [found] = requirements(accelerator(type="nvidia.com/gpu", minMemory="9G"))
    assert found == Requirement("nvidia.com/gpu.memory", "Gt", ("8583",))  # 9e9 bytes are 8583.07 MiB
    assert not found.met_by({"nvidia.com/gpu.memory": "8583"})
    assert found.met_by({"nvidia.com/gpu.memory": "8584"})


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"type": "nvidia.com/gpu"}, ("nvidia.com/gpu",)),
        ({"type": "nvidia.com/gpu.shared"}, ("nvidia.com/gpu", "nvidia.com/gpu.shared")),
        ({"type": "nvidia.com/mig-1c.3g.20gb"}, ("nvidia.com/gpu", "nvidia.com/mig-1c.3g.20gb")),
        ({"type": "amd.com/gpu"}, ("amd.com/gpu",)),
        ({"type": "habana.ai/gaudi"}, ("habana.ai/gaudi",)),
        ({"type": "aws.amazon.com/neuroncore"}, ("aws.amazon.com/neuron", "aws.amazon.com/neuroncore")),
        ({"type": "google.com/tpu"}, ("google.com/tpu",)),
        ({"type": "example.com/npu"}, ("example.com/npu",)),
        ({"deviceClass": "mig.nvidia.com"}, ("nvidia.com/gpu",)),
        ({"deviceClass": "gpu.intel.com"}, ("gpu.intel.com/i915", "gpu.intel.com/xe")),
        ({"deviceClass": "our-class"}, ()),
    ],
)
def test_tolerated_keys(wanted: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert tolerated_keys(accelerator(**wanted)) == expected


@pytest.mark.parametrize(
    ("kind", "fields", "remedy"),
    [
        ("nvidia.com/gpu", [], ""),
        ("nvidia.com/gpu.shared", [], ""),
        ("nvidia.com/mig-1g.10gb", [], ""),
        ("nvidia.com/mig-something", ["spec.accelerator.product", "spec.accelerator.minMemory"], "nodeSelector"),
        ("amd.com/gpu", ["spec.accelerator.minMemory"], "name the product"),
        ("gpu.intel.com/xe", ["spec.accelerator.minMemory"], "name the product"),
        ("google.com/tpu", ["spec.accelerator.minMemory"], "name the product"),
        ("habana.ai/gaudi", ["spec.accelerator.product", "spec.accelerator.minMemory"], "nodeSelector"),
        ("aws.amazon.com/neuron", ["spec.accelerator.product", "spec.accelerator.minMemory"], "nodeSelector"),
        ("example.com/npu", ["spec.accelerator.product", "spec.accelerator.minMemory"], "nodeSelector"),
    ],
)
def test_what_no_label_can_honour_is_told(kind: str, fields: list[str], remedy: str) -> None:
    found = unsupported(accelerator(type=kind, product="X", minMemory="1Gi"))
    assert [one.field for one in found] == fields
    assert all(kind in one.message and remedy in one.message for one in found)
    assert unsupported(accelerator(type=kind)) == []


def test_devices_of_dra_are_asked_themselves() -> None:
    assert unsupported(accelerator(deviceClass="our-class", product="X", minMemory="1Gi")) == []
