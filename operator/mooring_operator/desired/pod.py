"""The pods: the template of those that serve, and of the one that checks; both pass Pod Security `restricted`."""

from ..api import names
from ..api.quantities import quantity
from ..api.v1alpha1 import Variant
from ..api.variants import check_variant, variant
from ..facts import Cluster, Manifest, Service
from .accelerator import scheduling
from .containers import SHM_VOLUME, TMP_VOLUME, check, fetch, server
from .metadata import digest, labels
from .model import Delivery, delivery
from .placement import check_placement, server_placement
from .sessions import GRACE_SECONDS as SESSIONS_GRACE_SECONDS
from .sessions import sessions

USER = 65532
GRACE_SECONDS = 30
"""From SIGTERM until SIGKILL: the server's drain, and the rest for what is in flight."""
NEVER_READY = f"{names.GROUP}/serves"
"""Readiness gate of a pod that checks; nobody ever sets it."""


def pod_template(service: Service, cluster: Cluster) -> Manifest:
    """Return the pod template as the spec asks for it, with its own hash in its annotation.

    Raises `ValueError` where the spec asks for what is not installed or not built.
    """
    model, devices, added = delivery(service, cluster), scheduling(service), sessions(service)
    volumes = [*_volumes(model), *added.volumes]
    if service.spec.accelerator is not None:
        # Workers exchange tensors here; the runtime's default of 64 MiB ends in a bus error. What is written counts
        # against the memory limit, so it may not be all of that.
        half = int(quantity(service.spec.resources.memory)) // 2**21
        volumes.append({"name": SHM_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": f"{max(half, 1)}Mi"}})
    template: Manifest = {
        # The user's first: they never override ours, which selectors and policies rest on.
        "metadata": {
            "labels": {**(service.spec.pod.labels or {}), **labels(service, names.COMPONENT_SERVER)},
            # But of these, which say when a node may be emptied, theirs win.
            "annotations": {**added.annotations, **(service.spec.pod.annotations or {})},
        },
        "spec": {
            **_common(service, cluster, model, variant(service.spec)),
            **server_placement(service, devices),
            "containers": [server(service, cluster, model, devices)],
            "volumes": volumes,
        },
    }
    template["metadata"]["annotations"][names.ANNOTATION_TEMPLATE_HASH] = digest(template)
    return template


def check_template(service: Service, cluster: Cluster, template_hash: str) -> Manifest:
    """Return the template of the pod that tries the model on a CPU: same model, no accelerator, no traffic.

    Its annotation tells which template it tries, so that why it failed is found by that. It is never ready, or a
    container without a readiness probe would count as a replica that serves, and it carries none of the user's
    labels, by which a Service of their own may select.
    """
    model = delivery(service, cluster)
    return {
        "metadata": {
            "labels": labels(service, names.COMPONENT_CHECK),
            "annotations": {**(service.spec.pod.annotations or {}), names.ANNOTATION_TEMPLATE_HASH: template_hash},
        },
        "spec": {
            **_common(service, cluster, model, check_variant(service.spec)),
            **check_placement(service, scheduling(service)),
            "containers": [check(service, cluster, model)],
            "readinessGates": [{"conditionType": NEVER_READY}],
            "restartPolicy": "Never",
            "volumes": _volumes(model),
        },
    }


def pod_security() -> Manifest:
    """Return what Pod Security `restricted` asks of a pod, and that it knows nothing of the cluster."""
    return {
        "automountServiceAccountToken": False,
        # Variables for every Service of the namespace slow the start and can collide with the user's own.
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            # Else each start changes the owner of every file of a large volume.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def service_account_name(service: Service) -> str:
    """Return the ServiceAccount of the pods: the user's, or the service's own."""
    return service.spec.pod.service_account_name or service.name


def _volumes(model: Delivery) -> list[Manifest]:
    return [model.volume, *model.fetch_volumes, {"name": TMP_VOLUME, "emptyDir": {}}]


def _common(service: Service, cluster: Cluster, model: Delivery, chosen: Variant) -> Manifest:
    """Return what the pods that serve and the pod that checks have in common."""
    spec: Manifest = {
        **pod_security(),
        "serviceAccountName": service_account_name(service),
        "terminationGracePeriodSeconds": GRACE_SECONDS if service.spec.state is None else SESSIONS_GRACE_SECONDS,
    }
    fetcher = fetch(service, cluster, model, chosen)
    if fetcher is not None:
        spec["initContainers"] = [fetcher]
    if service.spec.pod.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret.name} for secret in service.spec.pod.image_pull_secrets]
    return spec
