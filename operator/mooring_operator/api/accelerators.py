"""What each vendor's accelerators are called in a cluster: a table, and pure questions about it.

`accelerator.type` is the resource name of a device plugin and needs no entry here to be scheduled; what a vendor's
node labeller writes (product, memory) and which taints its nodes carry stands here. A vendor without a label for
something gets a message instead of a field that is silently ignored.

Sources: NVIDIA GPU feature discovery, AMD node labeller, Intel device plugins' NFD rules, GKE's and AWS' documents.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from .quantities import quantity
from .v1alpha1 import Accelerator


class Requirement(NamedTuple):
    """One requirement on a node's labels, as in node affinity."""

    key: str
    operator: Literal["In", "Gt"]
    values: tuple[str, ...]

    def met_by(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a node with these labels meets it, as the scheduler would."""
        value = labels.get(self.key)
        if value is None:
            return False
        if self.operator == "In":
            return value in self.values
        return re.fullmatch(r"[+-]?[0-9]+", value) is not None and int(value) > int(self.values[0])


@dataclass(frozen=True)
class Vendor:
    """How the nodes of one kind of accelerator can be recognized."""

    product_label: str = ""
    """Node label with the product; empty where the vendor's labeller writes none."""
    memory_label: str = ""
    """Node label with the memory of one accelerator in MiB, as a plain integer; empty where there is none."""
    taints: tuple[str, ...] = ()
    """Keys of the taints that such nodes usually carry, besides the resource name itself."""
    product_suffixes: tuple[str, ...] = ("",)
    """What the label may add to the product's name."""
    product_as_selector: bool = False
    """The product must stand in the pod's nodeSelector: the provider's admission and autoscaler read only that."""


class Device(NamedTuple):
    """How the devices of a DRA driver describe themselves."""

    product_attribute: str
    taints: tuple[str, ...]


class Unsupported(NamedTuple):
    """A field that this vendor's accelerators cannot honour."""

    field: str
    """Path in the spec."""
    message: str


RUNTIME_CLASSES: Final = frozenset({"nvidia", "nvidia-cdi", "nvidia-legacy", "amd", "habana"})
"""RuntimeClasses of the vendors' own container runtimes: nodes without the device do not have them."""

_NVIDIA: Final = "nvidia.com/gpu"
_MIG: Final = re.compile(
    r"nvidia\.com/mig-(?P<profile>(?:[0-9]+c\.)?[0-9]+g\.[0-9]+gb(?:\.[a-z]+)*?)(?P<shared>\.shared)?"
)
_INTEL: Final = Vendor(product_label="gpu.intel.com/product")
_NEURON: Final = Vendor(taints=("aws.amazon.com/neuron",))

_VENDORS: Final[Mapping[str, Vendor]] = {
    # Whole GPUs, and slices under the MIG strategy `single` (their product ends in -MIG-1g.10gb).
    _NVIDIA: Vendor(product_label=f"{_NVIDIA}.product", memory_label=f"{_NVIDIA}.memory"),
    # Time-sliced or MPS replicas under their own name. The labeller adds -SHARED only where they are not renamed;
    # both are taken, so that a product reads the same on either kind of cluster. The memory is the whole GPU's.
    f"{_NVIDIA}.shared": Vendor(
        product_label=f"{_NVIDIA}.product",
        memory_label=f"{_NVIDIA}.memory",
        taints=(_NVIDIA,),
        product_suffixes=("", "-SHARED"),
    ),
    # amd.com/gpu.vram is text (192G), which no affinity can compare.
    "amd.com/gpu": Vendor(product_label="amd.com/gpu.product-name"),
    "gpu.intel.com/i915": _INTEL,
    "gpu.intel.com/xe": _INTEL,
    "habana.ai/gaudi": Vendor(),
    "aws.amazon.com/neuron": _NEURON,
    "aws.amazon.com/neuroncore": _NEURON,
    "aws.amazon.com/neurondevice": _NEURON,
    "google.com/tpu": Vendor(product_label="cloud.google.com/gke-tpu-accelerator", product_as_selector=True),
}

_DEVICE_CLASSES: Final[Mapping[str, Device]] = {
    "gpu.nvidia.com": Device("productName", (_NVIDIA,)),
    "mig.nvidia.com": Device("productName", (_NVIDIA,)),
    "gpu.amd.com": Device("productName", ("amd.com/gpu",)),
    "gpu.intel.com": Device("model", ("gpu.intel.com/i915", "gpu.intel.com/xe")),
}
_OTHER_DEVICE: Final = Device("productName", ())


def vendor(resource: str) -> Vendor:
    """Return the entry for a device plugin's resource name; an unknown name has an empty one."""
    mig = _MIG.fullmatch(resource)
    if mig is None:
        return _VENDORS.get(resource, Vendor())
    # Under the MIG strategy `mixed` nvidia.com/gpu.* speaks of the whole GPU; each profile has labels of its own,
    # which keep the unshared name, and the product is the GPU's with the profile behind it.
    key = f"nvidia.com/mig-{mig['profile']}"
    suffix = f"-MIG-{mig['profile']}"
    suffixes = (suffix, f"{suffix}-SHARED") if mig["shared"] else (suffix,)
    return Vendor(f"{key}.product", f"{key}.memory", taints=(_NVIDIA,), product_suffixes=suffixes)


def runs_cuda(accelerator: Accelerator) -> bool:
    """Tell whether CUDA runs on it; a DeviceClass of the cluster's own is taken to hold NVIDIA's devices."""
    if accelerator.type is not None:
        return accelerator.type.startswith("nvidia.com/")
    return accelerator.device_class not in _DEVICE_CLASSES or "nvidia" in str(accelerator.device_class)


def device(device_class: str) -> Device:
    """Return how the devices of a DeviceClass describe themselves; a class of the cluster's own is taken as usual."""
    return _DEVICE_CLASSES.get(device_class, _OTHER_DEVICE)


def requirements(accelerator: Accelerator) -> tuple[Requirement, ...]:
    """Return what a node's labels must say; nothing for DRA, whose devices are not labels."""
    if accelerator.type is None:
        return ()
    entry, found = vendor(accelerator.type), []
    if accelerator.product is not None and entry.product_label:
        found.append(Requirement(entry.product_label, "In", _products(accelerator.product, entry)))
    if accelerator.min_memory is not None and entry.memory_label:
        # `Gt` is strict and knows integers only.
        least = math.ceil(quantity(accelerator.min_memory) / 2**20)
        found.append(Requirement(entry.memory_label, "Gt", (str(least - 1),)))
    return tuple(found)


def node_matches(accelerator: Accelerator, node_labels: Mapping[str, str]) -> bool:
    """Tell whether a node's labels admit the accelerator's product and memory."""
    return all(requirement.met_by(node_labels) for requirement in requirements(accelerator))


def tolerated_keys(accelerator: Accelerator) -> tuple[str, ...]:
    """Return the keys of the taints that the pods tolerate on account of the accelerator, sorted."""
    if accelerator.type is not None:
        return tuple(sorted({accelerator.type, *vendor(accelerator.type).taints}))
    return tuple(sorted(device(accelerator.device_class or "").taints))


def unsupported(accelerator: Accelerator) -> list[Unsupported]:
    """Return the fields that no label of this vendor's nodes can honour, each with what to write instead."""
    if accelerator.type is None:
        return []
    entry, found = vendor(accelerator.type), []
    if accelerator.product is not None and not entry.product_label:
        found.append(
            Unsupported(
                "spec.accelerator.product",
                f"nodes with {accelerator.type} carry no label with a product that we know: "
                "choose them by a label of theirs in spec.pod.nodeSelector",
            )
        )
    if accelerator.min_memory is not None and not entry.memory_label:
        remedy = (
            "name the product" if entry.product_label else "choose them by a label of theirs in spec.pod.nodeSelector"
        )
        found.append(
            Unsupported(
                "spec.accelerator.minMemory",
                f"nodes with {accelerator.type} carry no label with the memory that can be compared: {remedy} instead",
            )
        )
    return found


def _products(product: str, entry: Vendor) -> tuple[str, ...]:
    """Return the label's possible values; a product that is written with its suffix stands for itself."""
    if any(suffix and product.endswith(suffix) for suffix in entry.product_suffixes):
        return (product,)
    return tuple(product + suffix for suffix in entry.product_suffixes)
