"""Whether it is the autoscaler that wants so few replicas.

It also writes /scale without having measured anything: when somebody applies a file that says `replicas: 1`, or drops
the field, it lifts the number to its minimum, and steps of its behaviour bound how far up it goes from there. Believed,
such a write would take most replicas of a service away in the middle of its load. So a number that the autoscaler wrote
counts as its wish only where the load that it has measured, by each of its metrics, would fit on so many replicas.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from ..api import names
from ..api.quantities import quantity
from ..facts import Manifest, ObjectKey, Service
from . import kinds
from .cache import Cache

TOLERANCE: Final = 0.1
"""Part by which the load may be above the target before an autoscaler acts: its own default."""
_KIND: Final = "HorizontalPodAutoscaler"


class Metric(NamedTuple):
    """One metric of an autoscaler, as it is asked for or as it was measured; two are the same by their first fields."""

    type: str
    name: str
    label: str
    """The selector of an external metric, the container of a resource: what tells two of one name apart."""
    value: Mapping[str, Any]


def scaled_by(
    service: Service, manager: str, children: Mapping[ObjectKey, Manifest], of_keda: Manifest | None = None
) -> str:
    """Return the manager that last wrote /scale; empty for an autoscaler that did not measure what it wrote.

    `of_keda` is the autoscaler that KEDA made, where it did: it writes under the same name.
    """
    if manager != names.AUTOSCALER_FIELD_MANAGER:
        return manager
    workload = children.get(ObjectKey("StatefulSet", service.name)) or {}
    # Not what the autoscaler says of replicas: that is the number that was written.
    counts = workload.get("status", {})
    return manager if _fits(service, children.get(ObjectKey(_KIND, service.name)) or of_keda, counts) else ""


def keda_autoscaler(cache: Cache, service: Service) -> Manifest | None:
    """Return the autoscaler that KEDA made from the service's ScaledObject. It has our label, by which we watch it:
    KEDA copies those of the ScaledObject.
    """
    name = f"{names.PREFIX_KEDA_AUTOSCALER}{service.name}"
    return cache.get(kinds.HORIZONTAL_POD_AUTOSCALER, service.namespace, name)


def measured_cpu(autoscaler: Manifest | None) -> int | None:
    """Return the share of the requested CPU that an autoscaler has measured, in percent; None: it has not."""
    for each in _metrics(((autoscaler or {}).get("status") or {}).get("currentMetrics"), "current"):
        if "averageUtilization" in each.value:
            return int(each.value["averageUtilization"])
    return None


def _fits(service: Service, autoscaler: Manifest | None, counts: Mapping[str, int]) -> bool:
    """Tell whether all that the autoscaler has measured fits on the spec's replicas."""
    status: dict[str, Any] = (autoscaler or {}).get("status") or {}
    active = [each for each in status.get("conditions") or () if each["type"] == "ScalingActive"]
    asked = list(_metrics((autoscaler or {}).get("spec", {}).get("metrics"), "target"))
    if not asked or not active or active[0]["status"] != "True":
        return False
    measured = list(_metrics(status.get("currentMetrics"), "current"))
    # With a metric that it could not read it never goes down: then this was not its wish.
    needs = [_need(each, _same(each, measured), counts) for each in asked]
    known = [need for need in needs if need is not None]
    return len(known) == len(needs) and max(known) <= service.spec.replicas


def _need(asked: Metric, measured: Metric | None, counts: Mapping[str, int]) -> int | None:
    """Return the replicas that one metric asks for; None for one that was not measured."""
    if measured is None:
        return None
    # A share of the CPU is measured on the pods that run; a sum from outside is divided by all that there are.
    for field, replicas in (
        ("averageUtilization", counts.get("readyReplicas", 0)),
        ("averageValue", counts.get("replicas", 0)),
    ):
        if field in asked.value and field in measured.value:
            load = replicas * float(quantity(measured.value[field])) / float(quantity(asked.value[field]))
            return math.ceil(load / (1.0 + TOLERANCE))
    return None


def _same(asked: Metric, measured: list[Metric]) -> Metric | None:
    # The autoscaler tells them in the order in which they are asked for; by name, a spec that was just changed is not
    # held against what was measured before it.
    return next((each for each in measured if each[:3] == asked[:3]), None)


def _metrics(metrics: list[Manifest] | None, value: str) -> Iterator[Metric]:
    """The metrics of a spec or of a status. One that could not be read has an empty type there."""
    for each in metrics or ():
        if resource := each.get("containerResource"):
            yield Metric(each["type"], resource["name"], resource["container"], resource.get(value) or {})
        elif external := each.get("external"):
            metric = external["metric"]
            label = str(sorted((metric.get("selector") or {}).get("matchLabels", {}).items()))
            yield Metric(each["type"], metric["name"], label, external.get(value) or {})
