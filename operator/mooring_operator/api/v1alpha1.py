"""`InferenceService`, mooring.dev/v1alpha1: the one object that a user writes.

These models are the only source of the CRD (`make crds`). The docstring under a field is its description in the CRD,
in `kubectl explain` and in the reference. Rules that span fields stand in `RULES` of the object that they speak of.
The nouns of the spec stand in modules of their own; whoever uses them imports them from here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from .fields import Bool, Int, ListMap, Minutes, matches
from .model import Format, Model, SecretReference
from .names import NAME_MAX_LENGTH
from .pod import ObjectName, Pod, Toleration, TopologySpread
from .replica import Accelerator, Batching, Resources
from .rules import ApiModel, Rule
from .runtime import EnvVar, Runtime, Variant
from .scaling import Behavior, Concurrency, CpuTarget, Latency, Queue, Scaling, ScalingPolicy, ScalingRules
from .state import Durability, Retention, State, Volume

__all__ = [
    "Accelerator",
    "Batching",
    "Behavior",
    "Concurrency",
    "Condition",
    "CpuTarget",
    "Durability",
    "EnvVar",
    "Format",
    "InferenceService",
    "InferenceServiceSpec",
    "InferenceServiceStatus",
    "Latency",
    "Model",
    "ObjectMeta",
    "ObjectName",
    "Pod",
    "Queue",
    "Resources",
    "Retention",
    "Rollout",
    "Runtime",
    "Scaling",
    "ScalingPolicy",
    "ScalingRules",
    "SecretReference",
    "SessionCounts",
    "State",
    "Toleration",
    "TopologySpread",
    "Variant",
    "Volume",
    "parse",
]

NAME_PATTERN: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"


class Rollout(ApiModel):
    """How a change reaches the replicas."""

    max_unavailable: Annotated[Int, Field(ge=0, le=1000)] | None = None
    """Most replicas that a rollout may take away at a time; 0 needs room for one more replica."""
    progress_deadline: Minutes = "10m"
    """Time without progress after which a rollout has failed."""


class InferenceServiceSpec(ApiModel):
    """What the user wants."""

    model: Model
    """Where the model comes from, what it is, and how it is checked."""
    replicas: Annotated[Int, Field(ge=1, le=1000)] = 1
    """Number of replicas; a stateless service with an autoscaler does not use it."""
    accelerator: Accelerator | None = None
    """Accelerators of each replica: by a device plugin's resource name (`type`) or by DRA (`deviceClass`)."""
    resources: Resources = Resources()
    """CPU and memory of each replica; requests and limits are equal."""
    batching: Batching | None = None
    """How requests share a run of the model."""
    scaling: Scaling | None = None
    """Autoscaling of the replicas: on if and only if `maxReplicas` is set."""
    state: State | None = None
    """Sessions that survive: its presence makes the service stateful, for life."""
    runtime: Runtime = Runtime()
    """The server that runs the model: its image, arguments and environment."""
    pod: Pod = Pod()
    """What the pods may be told besides: labels, scheduling, classes, pull secrets."""
    rollout: Rollout = Rollout()
    """How a change reaches the replicas."""
    suspend: Bool = False
    """The operator leaves the service as it stands; its pods go on."""

    RULES = (
        Rule(
            "has(self.state) == has(oldSelf.state)",
            "a service is stateful or stateless for life: make a new service under another name and move the clients",
            path=".state",
        ),
        Rule(
            "!has(self.model.format) || self.model.format == 'onnx' || self.runtime.allowUnsafeFormats",
            "this format runs code on load: use onnx, or set runtime.allowUnsafeFormats: true",
            lambda spec: spec.model.format in {None, "onnx"} or spec.runtime.allow_unsafe_formats,
            ".model.format",
        ),
        Rule(
            "!has(self.model.format) || !has(self.runtime.variant) || self.model.format == 'python' ||"
            " (self.model.format == 'onnx') == self.runtime.variant.startsWith('onnx')",
            "this variant cannot run the model's format: leave runtime.variant out, it follows from the format",
            lambda spec: (
                spec.model.format in {None, "python"}
                or spec.runtime.variant is None
                or (spec.model.format == "onnx") == spec.runtime.variant.startswith("onnx")
            ),
            ".runtime.variant",
        ),
        Rule(
            "!has(self.state) || !has(self.runtime.workers) || self.runtime.workers == 1",
            "the volume of a stateful replica belongs to one process: remove it, and use more replicas",
            lambda spec: spec.state is None or spec.runtime.workers in {None, 1},
            ".runtime.workers",
        ),
        Rule(
            "!has(self.state) || !has(self.rollout.maxUnavailable) || self.rollout.maxUnavailable == 1",
            "a stateful service replaces its replicas one at a time: remove it",
            lambda spec: spec.state is None or spec.rollout.max_unavailable in {None, 1},
            ".rollout.maxUnavailable",
        ),
        Rule(
            "!has(self.scaling) || !has(self.scaling.cpu) || self.scaling.cpu.force ||"
            " !(has(self.scaling.latency) || has(self.scaling.queue) || has(self.scaling.concurrency)) ||"
            " (has(self.batching) && self.batching.maxSize == 1)",
            "CPU is busy at any load where requests share runs, and beside another target it asks for two to five times"
            " the replicas: remove it, set batching.maxSize: 1, or set scaling.cpu.force: true",
            lambda spec: not _cpu_beside_others(spec),
            ".scaling.cpu",
        ),
    )


def _cpu_beside_others(spec: InferenceServiceSpec) -> bool:
    scaling, alone = spec.scaling, spec.batching is not None and spec.batching.max_size == 1
    return scaling is not None and scaling.cpu is not None and scaling.external() and not (scaling.cpu.force or alone)


class ObjectMeta(ApiModel):
    """The part of the metadata that the rules read; the API server owns the rest."""

    name: str
    """Name of the service and of its model."""


class InferenceService(ApiModel):
    """A machine-learning model that answers requests: its pods, their traffic and their scaling follow from this."""

    metadata: ObjectMeta
    """Name and labels."""
    spec: InferenceServiceSpec
    """What the user wants."""

    RULES = (
        Rule(
            f"self.metadata.name.matches('{NAME_PATTERN}') && self.metadata.name.size() <= {NAME_MAX_LENGTH}",
            f"write at most {NAME_MAX_LENGTH} lower-case letters, digits and '-', beginning with a letter",
            lambda service: (
                matches(NAME_PATTERN, "").holds(service.metadata.name) and len(service.metadata.name) <= NAME_MAX_LENGTH
            ),
            ".metadata.name",
        ),
    )


class Condition(ApiModel):
    """One observed fact, as in KEP-1623."""

    type: Annotated[str, Field(max_length=316)]
    """Kind of the fact."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: Annotated[Int, Field(ge=0)]
    """Generation of the spec that it speaks of."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` changed last."""
    reason: Annotated[str, Field(max_length=1024)]
    """Cause, in one word for programs."""
    message: Annotated[str, Field(max_length=32768)]
    """Cause and remedy, in words for people."""


class SessionCounts(ApiModel):
    """Live sessions of a stateful service, as its replicas report them."""

    active: Annotated[Int, Field(ge=0)] | None = None
    """Sessions at all replicas that answer."""
    draining: Annotated[Int, Field(ge=0)] | None = None
    """Those of them that are on their way to another replica."""
    at_risk: Annotated[Int, Field(ge=0)] | None = None
    """Sessions that no replica can answer for, on lost nodes and removed replicas; left out where nobody can know."""


class MetricStatus(ApiModel):
    """One metric that the autoscaler goes by, as the operator last saw it."""

    name: Annotated[str, Field(max_length=63)]
    """Name of the metric, as in the HorizontalPodAutoscaler."""
    healthy: Bool
    """The autoscaler can go by it. Where it cannot, it keeps the replicas."""
    reason: Annotated[str, Field(max_length=63)]
    """OK, or what is the matter."""
    message: Annotated[str, Field(max_length=4096)] | None = None
    """The same in words, with what to do."""
    value: Annotated[str, Field(max_length=20)] | None = None
    """Last value over all replicas, as a quantity; of the CPU a share of what was requested."""
    replicas: Annotated[Int, Field(ge=0)] | None = None
    """Replicas that this metric alone asks for."""
    series: Annotated[Int, Field(ge=0)] | None = None
    """Replicas whose series it was made from."""
    age: Annotated[str, Field(max_length=20)] | None = None
    """Age of the newest sample at that time, such as 8s."""


class AutoscalingStatus(ApiModel):
    """What the autoscaler goes by. Numbers are rounded, and written at most once a minute."""

    backend: Literal["adapter", "keda", "prometheusAdapter"] | None = None
    """Who serves the metrics; left out where only the CPU counts."""
    wanted: Annotated[Int, Field(ge=0)] | None = None
    """Replicas that the metrics ask for, before minReplicas and maxReplicas."""
    held_by: Annotated[str, Field(max_length=63)] | None = None
    """The metric that asks for the most."""
    capacity: Annotated[str, Field(max_length=20)] | None = None
    """Requests a second that one replica holds at the latency target, as a quantity."""
    planned: Annotated[str, Field(max_length=20)] | None = None
    """Requests a second that replicas are wanted for."""
    backlog: Annotated[str, Field(max_length=20)] | None = None
    """Requests a second besides, to work off the queue."""
    plan: Annotated[str, Field(max_length=20)] | None = None
    """What made the plan: rate (present arrivals), rise (what the last hour taught) or headroom."""
    learning: Bool | None = None
    """Too little of the last hour is known to expect a rise."""
    metrics: Annotated[list[MetricStatus], Field(max_length=8), ListMap("name")] | None = None
    """Each metric."""


class InferenceServiceStatus(ApiModel):
    """What the operator sees."""

    observed_generation: Annotated[Int, Field(ge=0)] | None = None
    """Generation of the spec that the status speaks of."""
    replicas: Annotated[Int, Field(ge=0)] | None = None
    """Pods that exist."""
    ready_replicas: Annotated[Int, Field(ge=0)] | None = None
    """Pods that answer."""
    selector: str | None = None
    """Label selector of the pods, for the autoscaler."""
    url: str | None = None
    """Address inside the cluster."""
    model_revision: str | None = None
    """Digest of the pod template that serves: it changes with the model and its settings."""
    sessions: SessionCounts | None = None
    """Sessions, of a stateful service."""
    durable: Bool | None = None
    """Of a stateful service: each step that was answered is on its replica's volume."""
    autoscaling: AutoscalingStatus | None = None
    """What the autoscaler goes by, of a service that has one."""
    conditions: Annotated[list[Condition], Field(max_length=32), ListMap("type")] | None = None
    """Observed facts."""


def parse(obj: Mapping[str, Any]) -> InferenceService:
    """Return a live or written object as a service. Raises `pydantic.ValidationError`.

    What the API server adds (status, managed fields, other metadata) is left aside. Fields have their written names
    only, not those of the attributes here.
    """
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        metadata = {key: value for key, value in metadata.items() if key == "name"}
    return InferenceService.model_validate(
        {"metadata": metadata, "spec": obj.get("spec")}, by_alias=True, by_name=False
    )
