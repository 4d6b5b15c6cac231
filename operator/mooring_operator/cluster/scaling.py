"""Whether it is the autoscaler that wants so few replicas. Pure.

It also writes /scale without having measured anything: when somebody applies a file that says `replicas: 1`, or drops
the field, it lifts the number to its minimum, and steps of its behaviour bound how far up it goes from there. Believed,
such a write would take most replicas of a service away in the middle of its load. So a number that the autoscaler wrote
counts as its wish only where the load that it has measured would fit on so many replicas.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from ..api import names
from ..facts import Manifest, ObjectKey, Service

TOLERANCE: Final = 0.1
"""Part by which the load may be above the target before an autoscaler acts: its own default."""


def scaled_by(service: Service, manager: str, children: Mapping[ObjectKey, Manifest]) -> str:
    """Return the manager that last wrote /scale; empty for an autoscaler that did not measure what it wrote."""
    if manager != names.AUTOSCALER_FIELD_MANAGER:
        return manager
    autoscaler = children.get(ObjectKey("HorizontalPodAutoscaler", service.name))
    workload = children.get(ObjectKey("StatefulSet", service.name)) or {}
    # Not what the autoscaler says of replicas: that is the number that was written.
    running = workload.get("status", {}).get("readyReplicas", 0)
    return manager if _fits(service, autoscaler, running) else ""


def _fits(service: Service, autoscaler: Manifest | None, running: int) -> bool:
    """Tell whether the load that the autoscaler has measured, over as many pods as run, fits on the spec's replicas."""
    status: dict[str, Any] = (autoscaler or {}).get("status") or {}
    active = [each for each in status.get("conditions") or () if each["type"] == "ScalingActive"]
    cpu = service.spec.scaling.cpu if service.spec.scaling is not None else None
    if cpu is None or not active or active[0]["status"] != "True":
        return False
    measured = [
        resource["current"]["averageUtilization"]
        for each in status.get("currentMetrics") or ()
        if (resource := each.get("containerResource")) and "averageUtilization" in resource.get("current", {})
    ]
    if not measured:
        return False
    load: float = running * max(measured) / cpu.target
    return math.ceil(load / (1.0 + TOLERANCE)) <= service.spec.replicas
