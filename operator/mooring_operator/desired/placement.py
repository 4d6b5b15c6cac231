"""Where the pods may run: the user's wishes, the accelerator's needs, and the spread over zones and hosts."""

from ..api.accelerators import RUNTIME_CLASSES
from ..api.v1alpha1 import Toleration
from ..facts import Manifest, Service
from .accelerator import Scheduling
from .metadata import pod_selector

_ZONE = "topology.kubernetes.io/zone"
_HOST = "kubernetes.io/hostname"
_PER_ROLLOUT = "pod-template-hash"


def server_placement(service: Service, scheduling: Scheduling) -> Manifest:
    """Return the fields of the pod that say where a replica may run."""
    pod = service.spec.pod
    return _present(
        {
            "affinity": {**(scheduling.affinity or {}), **_apart(service)},
            "nodeSelector": {**(pod.node_selector or {}), **scheduling.node_selector},
            "priorityClassName": pod.priority_class_name,
            "resourceClaims": scheduling.resource_claims,
            "runtimeClassName": pod.runtime_class_name,
            "tolerations": _tolerations(service, scheduling.tolerations),
            "topologySpreadConstraints": _spread(service),
        }
    )


def check_placement(service: Service, scheduling: Scheduling) -> Manifest:
    """Return the fields of the pod that say where a check may run: anywhere that has a CPU, if it can.

    Two things tie it to the accelerators' nodes, so that it must tolerate their taints: a node selector of the
    user's, and a claim, whose volume may be attached to one node only. Then it had better be the node of the
    replicas, or it would wait for the volume until its deadline.
    """
    pod = service.spec.pod
    claim = service.spec.model.uri.startswith("pvc://")
    tied = claim or bool(pod.node_selector)
    return _present(
        {
            "affinity": _beside_replicas(service) if claim else None,
            "nodeSelector": dict(pod.node_selector or {}),
            "priorityClassName": pod.priority_class_name,
            # A vendor's container runtime stands on nodes with its devices only; a sandbox for untrusted models stays.
            "runtimeClassName": None if pod.runtime_class_name in RUNTIME_CLASSES else pod.runtime_class_name,
            "tolerations": _tolerations(service, scheduling.tolerations if tied else []),
        }
    )


def _beside_replicas(service: Service) -> Manifest:
    term = {"labelSelector": {"matchLabels": pod_selector(service)}, "topologyKey": _HOST}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _tolerations(service: Service, ours: list[Manifest]) -> list[Manifest]:
    theirs = [_toleration(toleration) for toleration in service.spec.pod.tolerations or ()]
    return [*ours, *(toleration for toleration in theirs if toleration not in ours)]


def _toleration(toleration: Toleration) -> Manifest:
    return toleration.model_dump(by_alias=True, exclude_none=True)


def _spread(service: Service) -> list[Manifest]:
    """Return the user's spread, or, unless they wrote an empty one, over zones as far as possible."""
    wanted = service.spec.pod.topology_spread
    if wanted is None:
        return [_constraint(service, _ZONE, 1, "ScheduleAnyway")]
    return [_constraint(service, one.topology_key, one.max_skew, one.when_unsatisfiable) for one in wanted]


def _apart(service: Service) -> Manifest:
    """Return the wish for a host of its own, beside the spread over zones.

    Not a second constraint of that spread: the scheduler leaves nodes without a zone, and so every node of a cluster
    that has none, out of the scores of all constraints.
    """
    if service.spec.pod.topology_spread is not None:
        return {}
    term = {
        "labelSelector": {"matchLabels": pod_selector(service)},
        **_per_rollout(service),
        "topologyKey": _HOST,
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _constraint(service: Service, key: str, skew: int, otherwise: str) -> Manifest:
    return {
        "topologyKey": key,
        "maxSkew": skew,
        "whenUnsatisfiable": otherwise,
        "labelSelector": {"matchLabels": pod_selector(service)},
        **_per_rollout(service),
    }


def _per_rollout(service: Service) -> Manifest:
    """Return what lets each rollout spread its own pods: with the old ones it would pack the new where the old are few.

    A StatefulSet's pods take each other's place one by one, and all of them count.
    """
    return {} if service.spec.state is not None else {"matchLabelKeys": [_PER_ROLLOUT]}


def _present(fields: Manifest) -> Manifest:
    """Return the fields that say something: an empty one would be dropped by the API server and look like drift."""
    return {key: value for key, value in fields.items() if value}
