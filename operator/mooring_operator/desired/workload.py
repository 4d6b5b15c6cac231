"""The Deployment of a stateless service."""

import copy
import math

from ..api import names
from ..api.quantities import seconds
from ..facts import Cluster, Manifest, Service, Step
from .metadata import metadata, pod_selector
from .pod import pod_template

REVISIONS = 10
"""ReplicaSets that are kept: the last good template must still be there when a new one fails."""


def deployment(service: Service, cluster: Cluster, step: Step) -> Manifest:
    """Return the Deployment with the wanted template, or with the one that the step puts in its place."""
    template = pod_template(service, cluster) if step.template is None else kept_template(step.template)
    template_hash = template["metadata"].get("annotations", {}).get(names.ANNOTATION_TEMPLATE_HASH, "")
    spec: Manifest = {
        "selector": {"matchLabels": pod_selector(service)},
        "template": template,
        "strategy": _strategy(service, step),
        "progressDeadlineSeconds": math.ceil(seconds(service.spec.rollout.progress_deadline)),
        "revisionHistoryLimit": REVISIONS,
        "minReadySeconds": 0,
    }
    if step.replicas is not None:
        spec["replicas"] = step.replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(service, annotations={names.ANNOTATION_TEMPLATE_HASH: template_hash}),
        "spec": spec,
    }


def kept_template(template: Manifest) -> Manifest:
    """Return a copy of a ReplicaSet's or ControllerRevision's template without what their controllers put into it."""
    kept = copy.deepcopy(template)
    # With it every new ReplicaSet would carry the old one's hash, and select the old one's pods.
    kept.get("metadata", {}).get("labels", {}).pop("pod-template-hash", None)
    # A revision of a StatefulSet is a patch, and says so in the template.
    kept.pop("$patch", None)
    return kept


def _strategy(service: Service, step: Step) -> Manifest:
    """Return the strategy, always written out: what the API server defaults it will not let us take away later."""
    most = service.spec.rollout.max_unavailable
    if step.surge:
        rolling = {"maxSurge": 1, "maxUnavailable": most or 0}
    else:
        rolling = {"maxSurge": 0, "maxUnavailable": max(1, most or 1)}
    return {"type": "RollingUpdate", "rollingUpdate": rolling}
