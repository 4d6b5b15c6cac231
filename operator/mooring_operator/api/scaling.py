"""Autoscaling: the targets, the bounds, and the behaviour, as in HorizontalPodAutoscaler."""

from typing import Annotated, Final, Literal

from pydantic import Field

from .fields import Bool, Int, Minutes, Percentage, Target
from .rules import ApiModel, Rule

_TARGETS: Final = ("latency", "queue", "concurrency", "cpu")
_NEED_MAXIMUM: Final = ("headroom", "loadTime", "behavior")


class Latency(ApiModel):
    """Latency target: a percentile of all requests within a duration."""

    percentile: Literal[90, 95, 99] = 95
    """Percentile that is held to the target: 90, 95 or 99."""
    target: Target
    """Latency that the percentile must not exceed, such as 80ms."""


class Queue(ApiModel):
    """Queue target."""

    target: Annotated[Int, Field(ge=1, le=100000)]
    """Queued requests of one replica that scaling holds."""


class Concurrency(ApiModel):
    """Concurrency target."""

    target: Annotated[Int, Field(ge=1, le=100000)]
    """Requests of one replica, in flight and queued, that scaling holds."""


class CpuTarget(ApiModel):
    """CPU target."""

    target: Annotated[Int, Field(ge=1, le=100)]
    """Percent of the requested CPU that scaling holds."""
    force: Bool = False
    """Let CPU count beside another target although requests share runs: the CPU is then busy at any load, and CPU
    asks for two to five times the replicas."""


class ScalingPolicy(ApiModel):
    """One limit on how fast the number of replicas may change."""

    type: Literal["Pods", "Percent"]
    """Whether `value` counts pods or percent of the present ones."""
    value: Annotated[Int, Field(ge=1, le=100000)]
    """Largest change in a period."""
    period_seconds: Annotated[Int, Field(ge=1, le=1800)]
    """Length of the period in seconds."""


class ScalingRules(ApiModel):
    """Behaviour of the autoscaler in one direction, as in HorizontalPodAutoscaler."""

    stabilization_window_seconds: Annotated[Int, Field(ge=0, le=3600)] | None = None
    """Seconds of past recommendations that are considered."""
    select_policy: Literal["Max", "Min", "Disabled"] | None = None
    """Which policy holds when several apply."""
    policies: Annotated[list[ScalingPolicy], Field(min_length=1, max_length=16)] | None = None
    """Limits on the speed of change."""
    tolerance: Percentage | None = None
    """Relative change below which nothing happens, such as 10%."""


class Behavior(ApiModel):
    """Behaviour of the autoscaler, as in HorizontalPodAutoscaler."""

    scale_up: ScalingRules | None = None
    """Behaviour when replicas are added."""
    scale_down: ScalingRules | None = None
    """Behaviour when replicas are removed."""


class Scaling(ApiModel):
    """Autoscaling: on if and only if `maxReplicas` is set."""

    min_replicas: Annotated[
        Int,
        Field(ge=0, le=1000),
        Rule(
            "self >= 1",
            "scaling to zero is not built yet: nothing would keep a request until a replica answers; write at least 1",
            lambda value: value >= 1,
        ),
    ] = 1
    """Fewest replicas, at least 1: nothing would hold a request until the first replica answers."""
    max_replicas: Annotated[Int, Field(ge=1, le=1000)] | None = None
    """Most replicas; turns the autoscaler on."""
    latency: Latency | None = None
    """Latency target."""
    queue: Queue | None = None
    """Queue target."""
    concurrency: Concurrency | None = None
    """Concurrency target."""
    cpu: CpuTarget | None = None
    """CPU target."""
    headroom: Percentage | None = None
    """Spare capacity over the measured arrival rate that is always kept, such as 50%."""
    load_time: Minutes | None = None
    """Time from a new replica's creation until it serves; measured when left out."""
    behavior: Behavior | None = None
    """Speed and damping of scaling."""
    backend: Literal["auto", "adapter", "keda", "prometheusAdapter"] = "auto"
    """Who serves the metrics."""

    RULES = (
        Rule(
            "!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "minReplicas must not be above maxReplicas",
            lambda scaling: scaling.max_replicas is None or scaling.min_replicas <= scaling.max_replicas,
            ".minReplicas",
        ),
        Rule(
            f"!has(self.maxReplicas) || {' || '.join(f'has(self.{name})' for name in _TARGETS)}",
            "maxReplicas turns the autoscaler on: say by what, with latency, queue, concurrency or cpu",
            lambda scaling: scaling.max_replicas is None or bool(scaling.targets()),
            ".maxReplicas",
        ),
        Rule(
            f"has(self.maxReplicas) || !({' || '.join(f'has(self.{name})' for name in _TARGETS + _NEED_MAXIMUM)}"
            " || self.minReplicas > 1 || self.backend != 'auto')",
            "set maxReplicas: it turns the autoscaler on, and without it nothing else of scaling has an effect",
            lambda scaling: scaling.max_replicas is not None or scaling.is_empty(),
            ".maxReplicas",
        ),
    )

    def targets(self) -> tuple[str, ...]:
        """Return the names of the targets that are set."""
        return tuple(name for name in _TARGETS if getattr(self, name) is not None)

    def external(self) -> bool:
        """Tell whether a target needs a server of external metrics; only cpu does without."""
        return self.targets() not in {(), ("cpu",)}

    def is_empty(self) -> bool:
        """Tell whether nothing is set, defaults aside."""
        return self == Scaling.model_construct()
