"""The HorizontalPodAutoscaler on CPU."""

import copy
from typing import Any

from ..api import names
from ..api.v1alpha1 import ScalingRules
from ..facts import Cluster, Manifest, Service
from .metadata import metadata

# Up as fast as the load asks for: a throttled scale-up costs more replica-hours later and misses the target meanwhile.
_UP: dict[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Percent", "value": 900, "periodSeconds": 15},
        {"type": "Pods", "value": 10, "periodSeconds": 15},
    ],
}
# Down slowly: a replica that goes takes its loaded model along.
_DOWN: dict[str, Any] = {"stabilizationWindowSeconds": 300}


def autoscaler(service: Service, cluster: Cluster) -> Manifest | None:
    """Return the autoscaler; None unless the service scales by CPU.

    It scales the Deployment, or, where there are sessions, the InferenceService itself: a StatefulSet that it made
    smaller would take replicas away before they have handed their sessions over.
    """
    scaling = service.spec.scaling
    if scaling is None or scaling.max_replicas is None or scaling.cpu is None:
        return None
    behavior = scaling.behavior
    if service.spec.state is None:
        target = {"apiVersion": "apps/v1", "kind": "Deployment"}
    else:
        target = {"apiVersion": names.API_VERSION, "kind": names.KIND}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(service),
        "spec": {
            "scaleTargetRef": {**target, "name": service.name},
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": [_cpu(scaling.cpu.target)],
            "behavior": {
                "scaleUp": _rules(_UP, behavior.scale_up if behavior else None, cluster),
                "scaleDown": _rules(_DOWN, behavior.scale_down if behavior else None, cluster),
            },
        },
    }


def _cpu(percent: int) -> Manifest:
    """Return the metric of the server's container alone: an injected sidecar without requests breaks the pod's."""
    target = {"type": "Utilization", "averageUtilization": percent}
    resource = {"name": "cpu", "container": names.CONTAINER_SERVER, "target": target}
    return {"type": "ContainerResource", "containerResource": resource}


def _rules(defaults: dict[str, Any], wanted: ScalingRules | None, cluster: Cluster) -> Manifest:
    """Return one direction's behaviour: what the user wrote, over our defaults."""
    rules = copy.deepcopy(defaults)
    if wanted is None:
        return rules
    written = wanted.model_dump(by_alias=True, exclude_none=True)
    percent = written.pop("tolerance", None)
    if percent is not None and cluster.hpa_tolerance:
        written["tolerance"] = f"{int(percent.removesuffix('%')) * 10}m"
    return {**rules, **written}
