"""`InferenceService`, mooring.dev/v1alpha1: the one object that a user writes.

These models are the only source of the CRD (`make crds`). The docstring under a field is its description in the CRD,
in `kubectl explain` and in the reference. Rules that span fields stand in `RULES` of the object that they speak of.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from .fields import (
    Cpu,
    Days,
    Delay,
    LabelValue,
    Memory,
    Minutes,
    Name,
    Percentage,
    QualifiedName,
    ResourceName,
    Target,
    VolumeSize,
    matches,
)
from .names import NAME_MAX_LENGTH
from .rules import ApiModel, Rule

Int = Annotated[int, Strict()]
Bool = Annotated[bool, Strict()]
Format = Literal["onnx", "torchscript", "torch-export", "python"]
Variant = Literal["onnx", "onnx-gpu", "torch"]
SHA256_PATTERN = "^[a-f0-9]{64}$"
NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
URI_PATTERNS = {
    "oci": "^oci://[a-z0-9][-a-z0-9.]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?(@sha256:[a-f0-9]{64})?$",
    "pvc": "^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9_][-A-Za-z0-9_.]*)+$",
    "https": "^https://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[-A-Za-z0-9_.~%+=,]+)+([?][-A-Za-z0-9_.~%+=,&/:]*)?$",
    "s3": "^s3://[a-z0-9][-a-z0-9.]+(/[-A-Za-z0-9_.~%+=,]+)+$",
    "gs": "^gs://[a-z0-9][-a-z0-9._]+(/[-A-Za-z0-9_.~%+=,]+)+$",
    "hf": "^hf://[A-Za-z0-9][-A-Za-z0-9_.]*/[A-Za-z0-9][-A-Za-z0-9_.]*(@[A-Za-z0-9_.-]+)?(/[-A-Za-z0-9_.]+)*$",
}
URI_PATTERN = "|".join(f"({pattern})" for pattern in URI_PATTERNS.values())


class SecretReference(ApiModel):
    """A Secret of the service's own namespace."""

    secret_name: Name
    """Name of the Secret. Its keys `token`, or `username` and `password`, are mounted into the fetching container only."""


class Model(ApiModel):
    """Where the model comes from and what it is."""

    uri: Annotated[
        str,
        Field(min_length=1, max_length=2048),
        matches(
            URI_PATTERN,
            "write oci://registry/repository@sha256:..., pvc://claim/path, https://host/path, s3://, gs:// or hf://, "
            "without user names, passwords or '..'",
        ),
        Rule(
            "!self.contains('..')",
            "must not hold '..': name the file by its plain path",
            lambda value: ".." not in value,
        ),
    ]
    """Where the model is: `oci://` (an image volume), `pvc://claim/path`, `https://`; s3, gs and hf come later."""
    format: Format | None = None
    """Format of the model's file; inferred from its name when left out."""
    sha256: (
        Annotated[
            str,
            Field(max_length=64),
            matches(SHA256_PATTERN, "write the 64 lower-case hexadecimal digits of the file's SHA-256"),
        ]
        | None
    ) = None
    """SHA-256 of the model's file, checked before the first byte is served. Required for `https://`."""
    credentials: SecretReference | None = None
    """Secret with the credentials of an `https://` store; mounted, never read by the operator."""
    warmup: Annotated[Int, Field(ge=0, le=1000)] | None = None
    """Number of requests that the server sends to itself before it is ready."""

    RULES = (
        Rule(
            "!self.uri.startsWith('https://') || has(self.sha256)",
            "an https:// model needs sha256: without it a restarted pod may serve another file",
            lambda model: not model.uri.startswith("https://") or model.sha256 is not None,
            ".sha256",
        ),
        Rule(
            "!has(self.credentials) || self.uri.startsWith('https://')",
            "credentials are for https:// models: oci:// uses pod.imagePullSecrets, pvc:// needs none",
            lambda model: model.credentials is None or model.uri.startswith("https://"),
            ".credentials",
        ),
    )


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
    """How requests share a run of the model."""

    max_size: Annotated[Int, Field(ge=1, le=4096)]
    """Most requests of one run."""
    max_delay: Delay | None = None
    """Longest wait of a request for others to share its run."""


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
    policies: Annotated[list[ScalingPolicy], Field(max_length=16)] | None = None
    """Limits on the speed of change."""
    tolerance: Percentage | None = None
    """Relative change below which nothing happens."""


class Behavior(ApiModel):
    """Behaviour of the autoscaler, as in HorizontalPodAutoscaler."""

    scale_up: ScalingRules | None = None
    """Behaviour when replicas are added."""
    scale_down: ScalingRules | None = None
    """Behaviour when replicas are removed."""


class Scaling(ApiModel):
    """Autoscaling: on if and only if `maxReplicas` is set."""

    min_replicas: Annotated[Int, Field(ge=1, le=1000)] = 1
    """Fewest replicas. Zero is not supported."""
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
            "!has(self.maxReplicas) || has(self.latency) || has(self.queue) || has(self.concurrency) || has(self.cpu)",
            "maxReplicas turns the autoscaler on: say by what, with latency, queue, concurrency or cpu",
            lambda scaling: scaling.max_replicas is None or scaling.targets(),
            ".maxReplicas",
        ),
        Rule(
            "has(self.maxReplicas) || !(has(self.latency) || has(self.queue) || has(self.concurrency) || has(self.cpu))",
            "a target needs maxReplicas, which turns the autoscaler on",
            lambda scaling: scaling.max_replicas is not None or not scaling.targets(),
            ".maxReplicas",
        ),
    )

    def targets(self) -> tuple[str, ...]:
        """Return the names of the targets that are set."""
        return tuple(name for name in ("latency", "queue", "concurrency", "cpu") if getattr(self, name) is not None)


class Volume(ApiModel):
    """The volume that each replica keeps its sessions on."""

    size: VolumeSize
    """Size of the volume, such as 20Gi; it can only grow."""
    storage_class_name: Name | None = None
    """StorageClass of the volume; the cluster's default when left out. It cannot be changed."""

    RULES = (
        Rule(
            "has(self.storageClassName) == has(oldSelf.storageClassName) && "
            "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "the storage class of existing volumes cannot be changed: make a new service",
            path=".storageClassName",
        ),
    )


class Durability(ApiModel):
    """When a step is on disk."""

    mode: Literal["step", "interval"] = "step"
    """`step`: on disk before the reply leaves. `interval`: at least that often; a crash may lose what came since."""
    interval: Target | None = None
    """Longest time between two writes, with `mode: interval`."""

    RULES = (
        Rule(
            "(self.mode == 'interval') == has(self.interval)",
            "set interval with mode: interval, and only then",
            lambda durability: (durability.mode == "interval") == (durability.interval is not None),
            ".interval",
        ),
    )


class Retention(ApiModel):
    """What becomes of the volumes, as in StatefulSet."""

    when_deleted: Literal["Retain", "Delete"] = "Retain"
    """When the service is deleted."""
    when_scaled: Literal["Retain", "Delete"] = "Retain"
    """When a replica goes."""


class State(ApiModel):
    """Sessions: the presence of this field makes the service stateful. It can be neither added nor removed later."""

    volume: Volume
    """The volume of each replica."""
    durability: Durability = Field(default_factory=Durability)
    """When a step is on disk."""
    session_ttl: Annotated[Days, Field(alias="sessionTTL")] = "24h"
    """Time after its last step when a session ends."""
    state_version: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """Version of the state's meaning; a model of another version needs a converter."""
    retention: Retention = Field(default_factory=Retention)
    """What becomes of the volumes."""
    drain_timeout: Minutes = "10m"
    """How long a leaving replica may take to hand its sessions over."""
    max_session_bytes: Memory | None = None
    """Most bytes of one session's state."""
    max_sessions: Annotated[Int, Field(ge=1, le=100_000_000)] | None = None
    """Most sessions of one replica."""
    converter: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """File beside the model that converts states of an older version."""


class EnvVar(ApiModel):
    """One environment variable of the server."""

    name: Annotated[
        str,
        Field(max_length=256),
        matches(
            "^[A-Za-z_][A-Za-z0-9_]*$", "write a variable's name: letters, digits and '_', not beginning with a digit"
        ),
        Rule(
            "!self.startsWith('MOORING_')",
            "variables that begin with MOORING_ belong to Mooring: use the field that sets it",
            lambda value: not value.startswith("MOORING_"),
        ),
    ]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=4096)] = ""
    """Its value."""


class Runtime(ApiModel):
    """The server that runs the model."""

    image: (
        Annotated[
            str,
            Field(min_length=1, max_length=512),
            matches(
                "^[a-z0-9][-A-Za-z0-9._:/@]*$", "write an image reference such as registry.example/mooring-runtime:1.0"
            ),
        ]
        | None
    ) = None
    """Image in place of Mooring's own; it must speak to the same variables, ports and probes."""
    variant: Variant | None = None
    """Variant of Mooring's image; follows from the format and the accelerator when left out."""
    args: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=64)] | None = None
    """Further arguments of the server."""
    env: (
        Annotated[
            list[EnvVar],
            Field(
                max_length=64,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            ),
        ]
        | None
    ) = None
    """Further environment variables of the server."""
    workers: Annotated[Int, Field(ge=1, le=64)] | None = None
    """Server processes of one replica."""
    queue: Annotated[Int, Field(ge=1, le=1_000_000)] | None = None
    """Most requests of one replica, in flight and queued; further ones get 503."""
    allow_unsafe_formats: Bool = False
    """Allow formats that run code on load (torchscript, torch-export, python)."""

    RULES = (
        Rule(
            "!(has(self.image) && has(self.variant))",
            "set image or variant, not both: variant chooses among Mooring's own images",
            lambda runtime: runtime.image is None or runtime.variant is None,
            ".variant",
        ),
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

    labels: Annotated[dict[QualifiedName, LabelValue], Field(max_length=32)] | None = None
    """Labels of the pods."""
    annotations: Annotated[dict[QualifiedName, Annotated[str, Field(max_length=4096)]], Field(max_length=32)] | None = (
        None
    )
    """Annotations of the pods."""
    node_selector: Annotated[dict[QualifiedName, LabelValue], Field(max_length=32)] | None = None
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = None
    """Taints that the pods tolerate."""
    image_pull_secrets: Annotated[list[ObjectName], Field(max_length=16)] | None = None
    """Secrets for pulling the images and an oci:// model."""
    service_account_name: Name | None = None
    """ServiceAccount in place of the service's own."""
    priority_class_name: Name | None = None
    """PriorityClass of the pods."""
    runtime_class_name: Name | None = None
    """RuntimeClass of the pods, such as gvisor or nvidia."""
    topology_spread: Annotated[list[TopologySpread], Field(max_length=8)] | None = None
    """How the pods spread; over zones and hosts, as far as possible, when left out."""


class Rollout(ApiModel):
    """How a change reaches the replicas."""

    max_unavailable: Annotated[Int, Field(ge=0, le=1000)] | None = None
    """Most replicas that a rollout may take away at a time; 0 needs room for one more replica."""
    progress_deadline: Minutes = "10m"
    """Time without progress after which a rollout has failed."""


class InferenceServiceSpec(ApiModel):
    """What the user wants."""

    model: Model
    """The model."""
    replicas: Annotated[Int, Field(ge=1, le=1000)] = 1
    """Number of replicas; a stateless service with an autoscaler does not use it."""
    accelerator: Accelerator | None = None
    """Accelerators of each replica."""
    resources: Resources = Field(default_factory=Resources)
    """CPU and memory of each replica."""
    batching: Batching | None = None
    """How requests share a run."""
    scaling: Scaling | None = None
    """Autoscaling."""
    state: State | None = None
    """Sessions."""
    runtime: Runtime = Field(default_factory=Runtime)
    """The server."""
    pod: Pod = Field(default_factory=Pod)
    """What the pods may be told besides."""
    rollout: Rollout = Field(default_factory=Rollout)
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
    )


class ObjectMeta(ApiModel):
    """The part of the metadata that the rules read; the API server owns the rest."""

    name: str
    """Name of the service and of its model."""


class InferenceService(ApiModel):
    """A machine-learning model that answers."""

    metadata: ObjectMeta
    spec: InferenceServiceSpec
    """What the user wants."""

    RULES = (
        Rule(
            f"self.metadata.name.matches('{NAME_PATTERN}') && self.metadata.name.size() <= {NAME_MAX_LENGTH}",
            f"metadata.name: at most {NAME_MAX_LENGTH} lower-case letters, digits and '-', beginning with a letter",
            lambda service: (
                matches(NAME_PATTERN, "").holds(service.metadata.name) and len(service.metadata.name) <= NAME_MAX_LENGTH
            ),
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
    conditions: (
        Annotated[
            list[Condition],
            Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
        ]
        | None
    ) = None
    """Observed facts."""


def parse(obj: dict[str, Any]) -> InferenceService:
    """Return a live or written object as a service. Raises `pydantic.ValidationError`.

    What the API server adds (status, managed fields, other metadata) is left aside.
    """
    return InferenceService.model_validate({"metadata": {"name": obj["metadata"]["name"]}, "spec": obj.get("spec", {})})
