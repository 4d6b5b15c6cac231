"""What the operator knows in one round, and what it decided: frozen, made by `cluster/`, read by the pure floors.

`Service` is what the user wants, `Cluster` what stands for all services, `Observed` what was seen of this one,
`Step` what this round does. Nothing here talks to anyone or decides anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Self

from .api import names
from .api.membership import Record, Report
from .api.v1alpha1 import InferenceServiceSpec, Variant

Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON. Whoever gets one treats it as read-only."""


class Key(NamedTuple):
    """Identity of a service in the cluster."""

    namespace: str
    name: str


class ObjectKey(NamedTuple):
    """A child within its service's namespace."""

    kind: str
    name: str


@dataclass(frozen=True)
class Service:
    """One InferenceService: its identity and its spec, already parsed."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: InferenceServiceSpec

    def owner_reference(self) -> Manifest:
        """Return the controller reference that every child carries: garbage collection is our only clean-up."""
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


@dataclass(frozen=True)
class Images:
    """The runtime's images by variant, and how they are pulled. A variant without an image is not installed."""

    by_variant: Mapping[Variant, str]
    pull_policy: str = "IfNotPresent"
    router: str = "envoyproxy/envoy:v1.40.2"
    """Envoy, of the routers in front of stateful services."""


MetricsOwner = Literal["nobody", "mooring", "keda", "other"]


@dataclass(frozen=True)
class MetricsApi:
    """Who serves the external metrics of this cluster, `external.metrics.k8s.io`. There can be only one."""

    owner: MetricsOwner = "nobody"
    server: str = ""
    """Namespace and name of its Service, such as keda/keda-metrics-apiserver."""
    trouble: str = ""
    """Why the API server cannot reach it; empty: it can."""


@dataclass(frozen=True)
class KedaAccess:
    """What KEDA shows to Prometheus: an object that the user has made. Only KEDA reads the secrets that it names."""

    name: str
    kind: str = "ClusterTriggerAuthentication"
    """Or TriggerAuthentication, which each namespace with such a service needs."""
    modes: str = "bearer"
    """KEDA's `authModes`, such as `tls,basic`; empty: none, as with the identity of a pod."""


@dataclass(frozen=True)
class Cluster:
    """What stands for every service: settings of the installation and what the API server knows."""

    images: Images
    monitoring_namespace: str = "monitoring"
    operator_namespace: str = "default"
    """Where the operator's own pods are, which talk to the peer port of replicas."""
    domain: str = ""
    """Domain of the cluster's Services, such as cluster.local; empty: not known."""
    ipv6: bool = False
    """Services have IPv6 addresses first."""
    peer_key: bool = True
    """The operator has a key for the peer tokens of stateful services."""
    hpa_tolerance: bool = True
    """`behavior.*.tolerance` exists (GA in Kubernetes 1.37)."""
    dra: bool = True
    """`resource.k8s.io/v1` is served."""
    metrics_api: MetricsApi | None = None
    """Who serves external metrics; None: it could not be seen yet."""
    keda: bool = False
    """KEDA's ScaledObject was served when the operator started."""
    service_monitors: bool = False
    """The ServiceMonitor of the Prometheus operator was served when the operator started."""
    monitor_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that ServiceMonitors need, so that the cluster's Prometheus takes them."""
    scrape_seconds: float = 15.0
    """Between two scrapes of a pod: the windows of the scaling rule count on it."""
    prometheus_url: str = ""
    """Where Prometheus answers queries; empty: nobody has told."""
    prometheus_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the series of this cluster have there, where it has those of several clusters."""
    prometheus_token: bool = False
    """The operator shows it a token."""
    keda_access: KedaAccess | None = None
    """None: KEDA asks it as anybody may."""


@dataclass(frozen=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True)
class Node:
    """A node as the scheduler sees it. `free` counts extended resources: allocatable less what its pods request."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    schedulable: bool
    allocatable: Mapping[str, int]
    free: Mapping[str, int]


@dataclass(frozen=True)
class Failure:
    """Why a container of a pod does not run: what it wrote before it ended, or what kubelet says."""

    reason: str
    message: str
    container: str
    permanent: bool
    """It will not mend by itself: it was tried at least twice, or its cause cannot change."""


@dataclass(frozen=True)
class Pod:
    """A pod of the service. `template_hash` is ours (annotation), not the ReplicaSet's."""

    name: str
    template_hash: str
    ready: bool
    scheduled: bool
    unschedulable: str = ""
    """The scheduler's message, when it found no node."""
    failure: Failure | None = None
    uid: str = ""
    node: str = ""
    """Where it runs; empty: nowhere yet."""
    ordinal: int | None = None
    """Its number; None: it is not of a StatefulSet."""


TOKEN_REFUSED: Final = "it refuses the operator's token"
"""How the reason begins for which a replica is silent that takes the operator for somebody else: it does not mend."""


@dataclass(frozen=True)
class Members:
    """The replicas of a stateful service, beyond their pods."""

    record: Record | None = None
    """The membership record that is kept; None: there is none yet."""
    version: str = ""
    """resourceVersion of the ConfigMap that keeps it: writing another one compares it. Empty: there is no ConfigMap."""
    resized: datetime | None = None
    """When a record last gave another size; the drain's time runs from then."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Annotations of the ConfigMap by which the plan remembers: those of `names.MEMBERSHIP_NOTES`."""
    reports: Mapping[int, Report] = field(default_factory=dict)
    """What each replica that answers says of itself in this round."""
    silent: Mapping[int, str] = field(default_factory=dict)
    """Ordinals that have a pod and gave no report, and why."""
    access_mode: str = "ReadWriteOnce"
    """What new volumes are asked for: that of the live StatefulSet, or else ReadWriteOncePod, where a CSI driver makes
    them."""
    claims: Mapping[int, Manifest] = field(default_factory=dict)
    """PersistentVolumeClaims by ordinal, also those of ordinals that have no pod."""
    going: frozenset[int] = frozenset()
    """Ordinals whose claim is being deleted: it goes, with all sessions on it, as soon as no pod uses it any more."""
    revisions: tuple[Manifest, ...] = ()
    """ControllerRevisions of the StatefulSet: its earlier pod templates. Looked up only while one may be needed."""
    lost_nodes: Mapping[str, str] = field(default_factory=dict)
    """Nodes that run a pod of the service and are not ready or gone, and what is known of them."""
    ending: tuple[Pod, ...] = ()
    """Its pods that are being deleted and still exist. On a lost node one stays so until somebody acts."""
    router: tuple[Pod, ...] = ()
    """Pods of the router that are not being deleted."""
    scaled_by: str = ""
    """Field manager that last wrote `spec.replicas` through `/scale`; empty: it was written otherwise, or by an
    autoscaler that did not measure what it wrote (it lifts a number to its minimum unasked)."""
    abandon: str = ""
    """Id of the store that a person has given up, by annotation."""


@dataclass(frozen=True)
class MissingClass:
    """A cluster-wide object that the spec names and the cluster does not have."""

    field: str
    """Path in the spec, such as `spec.pod.priorityClassName`."""
    kind: str
    name: str


@dataclass(frozen=True)
class Observed:
    """What was seen of one service in this round."""

    now: datetime
    status: Mapping[str, Any]
    """The service's present status, as last written."""
    children: Mapping[ObjectKey, Manifest] = field(default_factory=dict)
    """Live children that carry our controller reference."""
    foreign: Mapping[ObjectKey, str] = field(default_factory=dict)
    """Live objects that have the name of a child and are not ours; the value says whose they are."""
    pods: tuple[Pod, ...] = ()
    """Pods that are not being deleted."""
    replica_sets: tuple[Manifest, ...] = ()
    """ReplicaSets of the Deployment: they hold its earlier pod templates."""
    nodes: tuple[Node, ...] = ()
    """All nodes; filled only for services with an accelerator."""
    missing: tuple[MissingClass, ...] = ()
    members: Members | None = None
    """Of a stateful service."""
    keda_autoscaler: Manifest | None = None
    """The HorizontalPodAutoscaler that KEDA made from the service's ScaledObject."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a spec: where, what was found, what to do. Never a secret value."""

    field: str
    message: str
    reason: str = "InvalidSpec"

    @classmethod
    def name_taken(cls, service: Service, key: ObjectKey, owner: str) -> Self:
        """Return what is wrong when an object of somebody else has the name that a child would have."""
        return cls(
            "metadata.name",
            f"{key.kind} {key.name!r} exists in namespace {service.namespace!r} and belongs to {owner}: "
            "delete or rename it, or make this service under another name",
            "NameTaken",
        )


@dataclass(frozen=True)
class Moves:
    """What this round does for the sessions of a stateful service. Each part may be repeated without harm."""

    record: Record | None = None
    """Keep this record in place of the one that was observed, before anything else; others do not hear of it before it
    is kept."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Annotations that the ConfigMap must carry, of those in `names.MEMBERSHIP_NOTES`; written with the record, or
    alone where only they differ. Nothing to write where there is no record at all."""
    tell: tuple[int, ...] = ()
    """Ordinals that are to be sent the record that is kept."""
    evict: Pod | None = None
    """The one pod to evict, so that it comes back with the StatefulSet's template."""
    grow: Mapping[str, str] = field(default_factory=dict)
    """Claims to expand, and to what size."""
    recreate: bool = False
    """Delete the StatefulSet and leave its pods, then apply it: its claim template cannot be changed otherwise."""


@dataclass(frozen=True)
class Scaler:
    """Which autoscaler a service has in this round, and by what it holds the latency target."""

    keda: bool = False
    """A ScaledObject, from which KEDA makes the HorizontalPodAutoscaler; else one of our own."""
    concurrency: float | None = None
    """Requests that one replica is taken to hold at the latency target: there is no batch curve, and `mooring_load`
    stands for the rule. None: `mooring_desired_replicas` does."""
    waits: str = ""
    """What of the other kind is still there: neither is applied before it is gone, for two would pull at one count."""


@dataclass(frozen=True)
class Step:
    """What this round does with the workload. The other children are applied in every round."""

    surge: bool = True
    """A rollout may make one pod more than wanted; else it takes one away first."""
    replicas: int | None = None
    """Replicas to write; None leaves them to the autoscaler."""
    hold: bool = False
    """Leave the Deployment as it stands."""
    template: Manifest | None = None
    """Pod template in place of the rendered one: the last good one, taken from its ReplicaSet."""
    check: bool = False
    """Run the Job that tries the new model on a CPU before the only pod is swapped."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """Annotations that the Deployment or StatefulSet must carry, of those in `names.ROLLOUT_MARKS`: what was found
    good, what failed and why. A StatefulSet that is made anew gets them, too, in the same round."""
    stalled: bool = False
    """Nothing goes on until the spec or the cluster changes."""
    reason: str = ""
    """Reason for the status; empty when there is nothing to say."""
    message: str = ""
    volume_size: str | None = None
    """Size in the claim template in place of the spec's: that of a live StatefulSet cannot be changed, and this round
    does not make it anew."""
    access_mode: str = "ReadWriteOnce"
    """Access mode in the claim template: that of `Members`. It cannot be changed either."""
    moves: Moves | None = None
    """Of a stateful service."""
    scaler: Scaler = Scaler()
