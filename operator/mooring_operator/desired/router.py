"""The router in front of a stateful service: two Envoys, their files, and what they run under."""

import json

from ..api import names
from ..facts import Cluster, Manifest, Service, Step
from . import envoy
from .containers import hardening
from .metadata import digest, labels, metadata
from .peers import ready_host, replica_host
from .pod import pod_security

REPLICAS = 2
FOLDER = "/etc/envoy"
LEAST_ORDINALS = 8
READABLE_BYTES = 2**17
"""Files up to this size have a line for each value, for people; a ConfigMap holds 1 MiB in all."""
ANNOTATION_BOOTSTRAP = f"{names.GROUP}/bootstrap-hash"
_VOLUME = "config"
_GRACE_SECONDS = envoy.DRAIN_SECONDS + 15


def router_name(service: Service) -> str:
    """Return the name of all of its children."""
    return service.name + names.SUFFIX_ROUTER


def router_selector(service: Service) -> dict[str, str]:
    """Return the labels that select its pods."""
    return {names.LABEL_SERVICE: service.name, names.LABEL_COMPONENT: names.COMPONENT_ROUTER}


def router_account(service: Service) -> Manifest:
    """Return its own ServiceAccount: that of the models may stand for rights in a cloud, which no router needs."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(service),
        "automountServiceAccountToken": False,
    }


def router_config(service: Service, cluster: Cluster, step: Step) -> Manifest:
    """Return the ConfigMap with Envoy's files."""
    files = envoy.files(_router(service, cluster, step))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(service),
        "data": {name: _text(document) for name, document in files.items()},
    }


def router_deployment(service: Service, cluster: Cluster, step: Step) -> Manifest:
    """Return the Deployment. It changes with Envoy's image and bootstrap only, never with the number of replicas."""
    router = _router(service, cluster, step)
    pod = service.spec.pod
    spec: Manifest = {
        **pod_security(),
        "serviceAccountName": router_name(service),
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "affinity": _apart(service),
        "containers": [_container(router, cluster)],
        "volumes": [{"name": _VOLUME, "configMap": {"name": router_name(service), "defaultMode": 0o444}}],
    }
    if pod.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret.name} for secret in pod.image_pull_secrets]
    if pod.priority_class_name is not None:
        spec["priorityClassName"] = pod.priority_class_name
    if pod.tolerations:
        spec["tolerations"] = [each.model_dump(by_alias=True, exclude_none=True) for each in pod.tolerations]
    bootstrap = digest(envoy.files(router)[envoy.BOOTSTRAP])
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(service),
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": router_selector(service)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 2,
            "template": {
                "metadata": {
                    "labels": labels(service, names.COMPONENT_ROUTER),
                    "annotations": {**(pod.annotations or {}), ANNOTATION_BOOTSTRAP: bootstrap},
                },
                "spec": spec,
            },
        },
    }


def ordinals(service: Service, step: Step) -> int:
    """Return how many replicas the router knows by name: more than there are, so that a resize changes nothing here."""
    scaling = service.spec.scaling
    most = scaling.max_replicas if scaling is not None else None
    there = max(step.replicas or 1, service.spec.replicas if most is None else most)
    if most is not None:
        return there
    return max(LEAST_ORDINALS, 1 << (there - 1).bit_length())


def _router(service: Service, cluster: Cluster, step: Step) -> envoy.Router:
    anywhere = "::" if cluster.ipv6 else "0.0.0.0"
    return envoy.Router(
        service=service.name,
        replicas=tuple(replica_host(service, cluster, ordinal) for ordinal in range(ordinals(service, step))),
        ready=ready_host(service, cluster),
        listen=envoy.Address(anywhere, names.HTTP_PORT),
        status=envoy.Address(anywhere, names.METRICS_PORT),
        folder=FOLDER,
    )


def _container(router: envoy.Router, cluster: Cluster) -> Manifest:
    return {
        "name": names.CONTAINER_ROUTER,
        "image": cluster.images.router,
        "imagePullPolicy": cluster.images.pull_policy,
        # Not the image's own entry point, which changes users first.
        "command": ["envoy"],
        "args": envoy.arguments(router),
        "ports": [
            {"name": names.PORT_NAME_HTTP, "containerPort": router.listen.port, "protocol": "TCP"},
            {"name": names.PORT_NAME_METRICS, "containerPort": router.status.port, "protocol": "TCP"},
        ],
        "resources": {
            "limits": {"cpu": str(envoy.THREADS), "memory": "512Mi"},
            "requests": {"cpu": "250m", "memory": "256Mi"},
        },
        "volumeMounts": [{"name": _VOLUME, "mountPath": FOLDER, "readOnly": True}],
        "startupProbe": _probe(envoy.READY_PATH, names.PORT_NAME_HTTP, period=1, failures=120),
        "readinessProbe": _probe(envoy.READY_PATH, names.PORT_NAME_HTTP, period=5, failures=2),
        "livenessProbe": _probe(envoy.LIVE_PATH, names.PORT_NAME_METRICS, period=10, failures=6),
        "lifecycle": {"preStop": {"exec": {"command": envoy.drain(router)}}},
        **hardening(),
    }


def _probe(path: str, port: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _apart(service: Service) -> Manifest:
    """Return the wish for another host than the other router's."""
    term = {
        "labelSelector": {"matchLabels": router_selector(service)},
        "matchLabelKeys": ["pod-template-hash"],
        "topologyKey": "kubernetes.io/hostname",
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _text(document: envoy.Document) -> str:
    text = json.dumps(document, indent=1)
    return (text if len(text) <= READABLE_BYTES else json.dumps(document, separators=(",", ":"))) + "\n"


def _metadata(service: Service) -> Manifest:
    return metadata(service, router_name(service), component=names.COMPONENT_ROUTER)
