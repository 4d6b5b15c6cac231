"""The StatefulSet of a service with sessions: a volume for each replica, and a name that stays."""

from ..api import names
from ..facts import Cluster, Manifest, Service, Step
from .metadata import labels, metadata, pod_selector
from .peers import peers_name
from .pod import pod_template
from .workload import REVISIONS, kept_template


def stateful_set(service: Service, cluster: Cluster, step: Step) -> Manifest:
    """Return the StatefulSet with the wanted template, or with the one that the step puts in its place.

    Raises `ValueError` where the service has no `state`.
    """
    state = service.spec.state
    if state is None:
        raise ValueError(f"spec.state: service {service.name!r} keeps no sessions")
    template = pod_template(service, cluster) if step.template is None else kept_template(step.template)
    template_hash = template["metadata"].get("annotations", {}).get(names.ANNOTATION_TEMPLATE_HASH, "")
    spec: Manifest = {
        "serviceName": peers_name(service),
        "selector": {"matchLabels": pod_selector(service)},
        "template": template,
        # One after another, a replica that does not come up would keep all others from coming back.
        "podManagementPolicy": "Parallel",
        # A rollout is ours: one replica at a time, and no second one while a session of the first waits.
        "updateStrategy": {"type": "OnDelete"},
        "persistentVolumeClaimRetentionPolicy": {
            "whenDeleted": state.retention.when_deleted,
            "whenScaled": state.retention.when_scaled,
        },
        "revisionHistoryLimit": REVISIONS,
        "minReadySeconds": 0,
        "volumeClaimTemplates": [_claim_template(service, step)],
    }
    if step.replicas is not None:
        spec["replicas"] = step.replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(service, annotations={names.ANNOTATION_TEMPLATE_HASH: template_hash}),
        "spec": spec,
    }


def _claim_template(service: Service, step: Step) -> Manifest:
    """Return the claim of each replica's volume. Nothing in it may change while the StatefulSet stands."""
    state = service.spec.state
    assert state is not None
    spec: Manifest = {
        "accessModes": [step.access_mode],
        "resources": {"requests": {"storage": step.volume_size or str(state.volume.size)}},
        "volumeMode": "Filesystem",
    }
    if state.volume.storage_class_name is not None:
        spec["storageClassName"] = state.volume.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": names.CLAIM_SESSIONS, "labels": labels(service, names.COMPONENT_SERVER)},
        "spec": spec,
    }
