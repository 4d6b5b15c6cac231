"""The HorizontalPodAutoscaler: every target that the user wrote, to be read in `kubectl describe hpa`."""

import copy
from typing import Any

from ..api import names
from ..api.v1alpha1 import ScalingRules
from ..facts import Cluster, Manifest, Scaler, Service, Step
from ..scaling.wishes import External, externals
from .metadata import metadata

_UP: dict[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Percent", "value": 900, "periodSeconds": 15},
        {"type": "Pods", "value": 10, "periodSeconds": 15},
    ],
}
"""As fast as the load asks for: a throttled scale-up costs more replica-hours later and misses the target meanwhile."""
_DOWN: dict[str, Any] = {
    "stabilizationWindowSeconds": 300,
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}
"""Slowly, then at once: a replica that goes takes its loaded model along, and the window has seen all of a lull."""


def autoscaler(service: Service, cluster: Cluster, step: Step) -> Manifest | None:
    """Return the autoscaler; None where none is on, KEDA makes it, or another one has to go first.

    It scales the Deployment, or, where there are sessions, the InferenceService itself: a StatefulSet that it made
    smaller would take replicas away before they have handed their sessions over.
    """
    scaling, scaler = service.spec.scaling, step.scaler
    if scaling is None or scaling.max_replicas is None or scaler.keda or scaler.waits:
        return None
    metrics = [_external(service, each) for each in externals(service, scaler)]
    if scaling.cpu is not None:
        metrics.append(_cpu(scaling.cpu.target))
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(service, annotations=marks(scaler)),
        "spec": {
            "scaleTargetRef": target(service),
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": metrics,
            "behavior": behavior(service, cluster, scaler),
        },
    }


def target(service: Service) -> Manifest:
    """Return what the autoscaler writes the number of replicas of."""
    if service.spec.state is None:
        return {"apiVersion": "apps/v1", "kind": "Deployment", "name": service.name}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": service.name}


def marks(scaler: Scaler) -> dict[str, str]:
    """Return the annotations by which the next round knows what stands for the rule, also after a restart."""
    return {} if scaler.concurrency is None else {names.ANNOTATION_CONCURRENCY: f"{scaler.concurrency:g}"}


def behavior(service: Service, cluster: Cluster, scaler: Scaler) -> Manifest:
    """Return speed and damping: what the user wrote, over our defaults."""
    scaling = service.spec.scaling
    wanted = scaling.behavior if scaling is not None else None
    # The rule's count is a whole number and means just that. With the usual tenth, a fleet of ten would never get its
    # eleventh replica. The other metrics are noisy, and there the tenth is what keeps the count still.
    exact = scaling is not None and scaling.latency is not None and scaler.concurrency is None
    given = {"tolerance": "0"} if exact and cluster.hpa_tolerance else {}
    return {
        "scaleUp": _rules({**_UP, **given}, wanted.scale_up if wanted else None, cluster),
        "scaleDown": _rules({**_DOWN, **given}, wanted.scale_down if wanted else None, cluster),
    }


def _external(service: Service, external: External) -> Manifest:
    # The namespace is that of the autoscaler: it is part of the request, and needs no label.
    selector = {"matchLabels": {names.METRIC_LABEL_SERVICE: service.name}}
    value = {"type": "AverageValue", "averageValue": milli(external.per_replica)}
    return {
        "type": "External",
        "external": {"metric": {"name": external.metric, "selector": selector}, "target": value},
    }


def milli(value: float) -> str:
    """Return a number as a quantity in the form that the API server keeps: `4`, `500m`."""
    thousandths = round(value * 1000)
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


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
