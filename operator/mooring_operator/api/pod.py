"""What the pods may be told besides: an allow-list, never host paths, privileges or foreign volumes."""

import re
from typing import Annotated, Literal

from pydantic import Field

from .fields import Annotations, Int, Labels, LabelValue, ListMap, Name, QualifiedName
from .rules import ApiModel, Rule

_OWN_LABELS = (
    "^(app[.]kubernetes[.]io/(name|instance|component|managed-by)|(.*[.])?mooring[.]dev/.*|pod-template-hash)$"
)
_OWN_ANNOTATIONS = "^(.*[.])?mooring[.]dev/.*$"


def _not_ours(pattern: str, message: str) -> Rule:
    """Return the rule that no key of a map is one that Mooring sets: two writers would undo each other for ever."""
    compiled = re.compile(pattern)
    return Rule(
        f"self.all(key, !key.matches('{pattern}'))",
        message,
        lambda mapping: all(compiled.fullmatch(key) is None for key in mapping),
    )


class Toleration(ApiModel):
    """A toleration of the pods, as in Pod."""

    key: QualifiedName | None = None
    """Key of the taint; all keys when left out with `operator: Exists`."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How the taint's value is compared."""
    value: LabelValue | None = None
    """Value of the taint, with `operator: Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; all effects when left out."""
    toleration_seconds: Annotated[Int, Field(ge=0, le=86400)] | None = None
    """How long a NoExecute taint is tolerated; for ever when left out."""

    RULES = (
        Rule(
            "has(self.key) || self.operator == 'Exists'",
            "a toleration without a key needs operator: Exists",
            lambda toleration: toleration.key is not None or toleration.operator == "Exists",
            ".operator",
        ),
        Rule(
            "!has(self.value) || self.operator == 'Equal'",
            "a value needs operator: Equal",
            lambda toleration: toleration.value is None or toleration.operator == "Equal",
            ".value",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds needs effect: NoExecute",
            lambda toleration: toleration.toleration_seconds is None or toleration.effect == "NoExecute",
            ".tolerationSeconds",
        ),
    )


class TopologySpread(ApiModel):
    """How the pods spread over the cluster."""

    topology_key: QualifiedName
    """Node label whose values are the places, such as topology.kubernetes.io/zone."""
    max_skew: Annotated[Int, Field(ge=1, le=1000)] = 1
    """Largest difference between two places."""
    when_unsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"] = "ScheduleAnyway"
    """What happens to a pod that would break it."""


class ObjectName(ApiModel):
    """An object of the service's own namespace."""

    name: Name
    """Its name."""


class Pod(ApiModel):
    """What the pods may be told besides; an allow-list."""

    labels: (
        Annotated[
            Labels, _not_ours(_OWN_LABELS, "app.kubernetes.io/ and mooring.dev/ labels belong to Mooring: use others")
        ]
        | None
    ) = None
    """Labels of the pods."""
    annotations: (
        Annotated[Annotations, _not_ours(_OWN_ANNOTATIONS, "mooring.dev/ annotations belong to Mooring: use others")]
        | None
    ) = None
    """Annotations of the pods."""
    node_selector: Labels | None = None
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = None
    """Taints that the pods tolerate."""
    image_pull_secrets: Annotated[list[ObjectName], Field(max_length=16), ListMap("name")] | None = None
    """Secrets for pulling the images and an oci:// model."""
    service_account_name: Name | None = None
    """ServiceAccount in place of the service's own."""
    priority_class_name: Name | None = None
    """PriorityClass of the pods."""
    runtime_class_name: Name | None = None
    """RuntimeClass of the pods, such as gvisor or nvidia."""
    topology_spread: (
        Annotated[list[TopologySpread], Field(max_length=8), ListMap("topologyKey", "whenUnsatisfiable")] | None
    ) = None
    """How the pods spread; over zones and hosts, as far as possible, when left out."""
