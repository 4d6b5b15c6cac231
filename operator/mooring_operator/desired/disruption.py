"""The PodDisruptionBudgets: of the pods that serve, and of the router."""

from ..api import names
from ..facts import Manifest, Service
from .metadata import metadata, pod_selector
from .router import router_name, router_selector


def disruption_budget(service: Service) -> Manifest:
    """Return the budget: one replica at a time, and never a drain that waits for a pod that does not work anyway."""
    return _budget(metadata(service), pod_selector(service))


def router_budget(service: Service) -> Manifest:
    """Return the budget of the router: the way to the sessions stays open."""
    name = router_name(service)
    return _budget(metadata(service, name, component=names.COMPONENT_ROUTER), router_selector(service))


def _budget(its_metadata: Manifest, selector: dict[str, str]) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": its_metadata,
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
