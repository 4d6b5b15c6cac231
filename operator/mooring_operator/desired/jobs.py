"""The Job that tries a new model on a CPU, before the only pod is taken down for it."""

import math

from ..api import names
from ..api.quantities import seconds
from ..facts import Cluster, Manifest, Service
from .metadata import digest, metadata
from .pod import check_template, pod_template


def check_job(service: Service, cluster: Cluster) -> Manifest:
    """Return the check of the wanted template; its annotation tells which one that is.

    A Job's template is immutable. So its name changes with its contents: after an upgrade of the operator in the
    middle of a check another Job takes its place, where an apply would be refused for ever.
    """
    template_hash = pod_template(service, cluster)["metadata"]["annotations"][names.ANNOTATION_TEMPLATE_HASH]
    spec = {
        # A model that does not parse does not parse the second time; what the network spoils, the fetcher retries.
        "backoffLimit": 0,
        # But a drained or preempted pod says nothing about the model.
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "activeDeadlineSeconds": math.ceil(seconds(service.spec.rollout.progress_deadline)),
        "template": check_template(service, cluster, template_hash),
    }
    annotations = {names.ANNOTATION_TEMPLATE_HASH: template_hash}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(service, f"{service.name}-check-{digest(spec)}", annotations, names.COMPONENT_CHECK),
        "spec": spec,
    }
