"""The Job that tries a new model on a CPU, before the only pod is taken down for it."""

import math

from ..api import names
from ..api.quantities import seconds
from ..facts import Cluster, Manifest, Service
from .metadata import metadata
from .pod import check_template, pod_template


def check_job(service: Service, cluster: Cluster) -> Manifest:
    """Return the check of the wanted template; its name and annotation tell which one that is."""
    template_hash = pod_template(service, cluster)["metadata"]["annotations"][names.ANNOTATION_TEMPLATE_HASH]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(
            service,
            f"{service.name}-check-{template_hash}",
            {names.ANNOTATION_TEMPLATE_HASH: template_hash},
            names.COMPONENT_CHECK,
        ),
        "spec": {
            # A model that does not parse does not parse the second time; what the network spoils, the fetcher retries.
            "backoffLimit": 0,
            # But a drained or preempted pod says nothing about the model.
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "activeDeadlineSeconds": math.ceil(seconds(service.spec.rollout.progress_deadline)),
            "template": check_template(service, cluster, template_hash),
        },
    }
