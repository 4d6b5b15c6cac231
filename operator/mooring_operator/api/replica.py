"""What one replica has: accelerators, CPU and memory; and how its requests share a run."""

from typing import Annotated

from pydantic import Field

from .fields import Cpu, Delay, Int, LabelValue, Memory, Name, ResourceName
from .rules import ApiModel, Rule


class Accelerator(ApiModel):
    """The accelerators of each replica: by a device plugin's resource name (`type`) or by DRA (`deviceClass`)."""

    type: ResourceName | None = None
    """Resource name of a device plugin: nvidia.com/gpu, nvidia.com/mig-1g.10gb, amd.com/gpu, google.com/tpu ..."""
    count: Annotated[Int, Field(ge=1, le=64)] = 1
    """Accelerators of one replica."""
    product: LabelValue | None = None
    """Product as the vendor's node label or the DRA attribute says it, such as NVIDIA-L40S."""
    min_memory: Memory | None = None
    """Least memory of one accelerator, such as 40Gi."""
    device_class: Name | None = None
    """DeviceClass of Dynamic Resource Allocation, such as gpu.nvidia.com; in place of `type`."""

    RULES = (
        Rule(
            "has(self.type) != has(self.deviceClass)",
            "set exactly one of type (device plugin) and deviceClass (DRA)",
            lambda accelerator: (accelerator.type is None) != (accelerator.device_class is None),
        ),
    )


class Resources(ApiModel):
    """CPU and memory of each replica; requests and limits are equal."""

    cpu: Cpu = "1"
    """CPU cores, such as 500m or 2."""
    memory: Memory = "1Gi"
    """Memory, such as 4Gi."""


class Batching(ApiModel):
    """How requests share a run of the model; left out, the server goes by what it measures and the model's own file."""

    max_size: Annotated[Int, Field(ge=1, le=4096)]
    """Most samples of one run, and so of one request; 1 lets none share."""
    max_delay: Delay | None = None
    """Longest wait of a request for others to share its run; when left out, as long as it pays."""
