"""The PodDisruptionBudget of the pods that serve."""

from ..facts import Manifest, Service
from .metadata import metadata, pod_selector


def disruption_budget(service: Service) -> Manifest:
    """Return the budget: one replica at a time, and never a drain that waits for a pod that does not work anyway."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(service),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": pod_selector(service)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
