"""Accelerators in the pod: limits, node affinity, tolerations, and the claim template of DRA.

What the vendors call things stands in `api/accelerators.py`; here it becomes manifests.
"""

import json
from dataclasses import dataclass, field

from ..api.accelerators import device, requirements, tolerated_keys, vendor
from ..api.v1alpha1 import Accelerator
from ..facts import Cluster, Manifest, Service
from .metadata import digest, metadata

CLAIM = "accelerator"
"""Name of the claim within the pod, and of its only request."""


@dataclass(frozen=True)
class Scheduling:
    """What an accelerator adds to the pod."""

    limits: dict[str, str] = field(default_factory=dict)
    """Extended resources of the server: requests are the same, as the API server demands."""
    claims: list[Manifest] = field(default_factory=list)
    """The server's `resources.claims`."""
    resource_claims: list[Manifest] = field(default_factory=list)
    """The pod's `resourceClaims`."""
    tolerations: list[Manifest] = field(default_factory=list)
    affinity: Manifest | None = None
    node_selector: dict[str, str] = field(default_factory=dict)


def scheduling(service: Service) -> Scheduling:
    """Return what the service's accelerator adds to its pods."""
    accelerator = service.spec.accelerator
    if accelerator is None:
        return Scheduling()
    # Without an effect, so that NoSchedule and NoExecute are tolerated alike. The admission plugin that would add
    # such tolerations by itself is often off.
    tolerations: list[Manifest] = [{"key": key, "operator": "Exists"} for key in tolerated_keys(accelerator)]
    if accelerator.type is None:
        return Scheduling(
            claims=[{"name": CLAIM}],
            resource_claims=[{"name": CLAIM, "resourceClaimTemplateName": claim_template_name(service)}],
            tolerations=tolerations,
        )
    return Scheduling(
        limits={accelerator.type: str(accelerator.count)},
        tolerations=tolerations,
        affinity=_affinity(accelerator),
        node_selector=_node_selector(accelerator),
    )


def claim_template(service: Service, cluster: Cluster) -> Manifest | None:
    """Return the ResourceClaimTemplate of a DRA accelerator, each replica's claim is made from; None without one.

    Raises `ValueError` where the cluster has no DRA.
    """
    accelerator = service.spec.accelerator
    if accelerator is None or accelerator.type is not None:
        return None
    if not cluster.dra:
        raise ValueError(
            "spec.accelerator.deviceClass: this cluster does not serve resource.k8s.io/v1: use spec.accelerator.type"
        )
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": metadata(service, claim_template_name(service)),
        "spec": _claim_spec(accelerator),
    }


def claim_template_name(service: Service) -> str:
    """Return the template's name, which changes with its contents: its spec is immutable once it stands."""
    accelerator = service.spec.accelerator
    assert accelerator is not None
    return f"{service.name}-{digest(_claim_spec(accelerator), 8)}"


def _claim_spec(accelerator: Accelerator) -> Manifest:
    request: Manifest = {
        "deviceClassName": accelerator.device_class,
        "allocationMode": "ExactCount",
        "count": accelerator.count,
    }
    selectors = [{"cel": {"expression": expression}} for expression in _expressions(accelerator)]
    if selectors:
        request["selectors"] = selectors
    return {"spec": {"devices": {"requests": [{"name": CLAIM, "exactly": request}]}}}


def _expressions(accelerator: Accelerator) -> list[str]:
    """Return the CEL expressions that a device must satisfy.

    Each asks first whether the device says anything at all: without, one device of another kind behind the class
    makes the evaluation fail and the pod unschedulable on every node. JSON strings are CEL strings.
    """
    expressions = []
    if accelerator.product is not None:
        attributes = "device.attributes[device.driver]"
        name = device(accelerator.device_class or "").product_attribute
        # Drivers write blanks (NVIDIA L40S) where the node labels, and so `product`, have dashes.
        expressions.append(
            f"{json.dumps(name)} in {attributes} && "
            f'{attributes}.{name}.replace(" ", "-") == {json.dumps(accelerator.product)}'
        )
    if accelerator.min_memory is not None:
        capacity = "device.capacity[device.driver]"
        least = json.dumps(str(accelerator.min_memory))
        expressions.append(f'"memory" in {capacity} && {capacity}.memory.compareTo(quantity({least})) >= 0')
    return expressions


def _affinity(accelerator: Accelerator) -> Manifest | None:
    expressions = [
        {"key": needed.key, "operator": needed.operator, "values": list(needed.values)}
        for needed in requirements(accelerator)
    ]
    if not expressions:
        return None
    terms = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _node_selector(accelerator: Accelerator) -> dict[str, str]:
    entry = vendor(accelerator.type or "")
    if accelerator.product is None or not entry.product_as_selector:
        return {}
    return {entry.product_label: accelerator.product}
