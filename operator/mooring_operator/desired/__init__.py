"""What a service becomes: pure, from spec, cluster and step to manifests. This page is the table of contents.

Nothing here reads a live object or changes its input, and the same input gives the same manifests, byte for byte:
what the operator applies again and again must never look different by itself.
"""

from ..api import names
from ..facts import Cluster, Manifest, ObjectKey, Service, Step
from .accelerator import claim_template
from .autoscaler import autoscaler
from .disruption import disruption_budget, router_budget
from .identity import service_account
from .jobs import check_job
from .metadata import pod_selector
from .network import client_service, url
from .peers import peers_service, ready_service
from .pod import pod_template
from .policies import network_policy, router_policy
from .router import router_account, router_config, router_deployment
from .scaledobject import scaled_object
from .servicemonitor import service_monitor
from .statefulset import stateful_set
from .text import text
from .workload import deployment

__all__ = ["KEPT_KINDS", "children", "held", "pod_selector", "template_hash", "text", "url", "workload_kind"]

KEPT_KINDS = frozenset({"ResourceClaimTemplate"})
"""Kinds that are never pruned: the pods of an earlier template, kept or put back, are made from their own claim
template, which nothing in the present spec names any more. They go with the service."""


def children(service: Service, cluster: Cluster, step: Step) -> list[Manifest]:
    """Return all children of a service, in the order in which they should be applied: what pods need comes first.

    Raises `ValueError` where the spec asks for what is not installed or not built; validation tells the user before.
    """
    if service.spec.state is None:
        found = [
            service_account(service, step),
            network_policy(service, cluster, step),
            claim_template(service, cluster),
            client_service(service),
            disruption_budget(service),
            None if step.hold else deployment(service, cluster, step),
            autoscaler(service, cluster, step),
            scaled_object(service, cluster, step),
            service_monitor(service, cluster),
            check_job(service, cluster) if step.check else None,
        ]
    else:
        found = [
            service_account(service, step),
            network_policy(service, cluster, step),
            claim_template(service, cluster),
            peers_service(service),
            ready_service(service),
            disruption_budget(service),
            None if step.hold else stateful_set(service, cluster, step),
            *_router(service, cluster, step),
            client_service(service),
            autoscaler(service, cluster, step),
            scaled_object(service, cluster, step),
            service_monitor(service, cluster),
        ]
    return [child for child in found if child is not None]


def held(service: Service, step: Step) -> set[ObjectKey]:
    """Return the children that this step leaves as they stand: neither applied nor pruned."""
    return {ObjectKey(workload_kind(service), service.name)} if step.hold else set()


def workload_kind(service: Service) -> str:
    """Return the kind that the pods of the service are made by."""
    return "Deployment" if service.spec.state is None else "StatefulSet"


def _router(service: Service, cluster: Cluster, step: Step) -> list[Manifest]:
    return [
        router_account(service),
        router_policy(service, cluster),
        router_budget(service),
        router_config(service, cluster, step),
        router_deployment(service, cluster, step),
    ]


def template_hash(service: Service, cluster: Cluster) -> str:
    """Return the digest of the pod template that the spec asks for; it depends neither on the step nor on replicas."""
    value: str = pod_template(service, cluster)["metadata"]["annotations"][names.ANNOTATION_TEMPLATE_HASH]
    return value
