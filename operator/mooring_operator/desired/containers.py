"""The containers: the server, the fetcher before it, and the check that stands in for the server."""

import math

from ..api import names
from ..api.quantities import quantity, seconds
from ..api.v1alpha1 import Variant
from ..api.variants import check_variant, variant
from ..facts import Cluster, Manifest, Service
from .accelerator import Scheduling
from .durations import duration
from .model import Delivery
from .sessions import sessions

DRAIN_SECONDS = 5
"""From SIGTERM until the server stops accepting: endpoints reach every proxy within a second or two, and a proxy that
still has the old ones finds a server that answers."""
FETCH_LIMITS = {"cpu": "1", "memory": "256Mi"}
TMP_VOLUME = "tmp"
SHM_VOLUME = "shm"


def server(service: Service, cluster: Cluster, delivery: Delivery, scheduling: Scheduling) -> Manifest:
    """Return the container that serves. Raises `ValueError` when its image is not installed."""
    limits = {**_limits(service), **scheduling.limits}
    resources: Manifest = _equal(limits)
    if scheduling.claims:
        resources["claims"] = scheduling.claims
    added = sessions(service)
    mounts = [delivery.mount(), _mount(TMP_VOLUME, "/tmp"), *added.mounts]
    if service.spec.accelerator is not None:
        mounts.append(_mount(SHM_VOLUME, "/dev/shm"))
    return {
        "name": names.CONTAINER_SERVER,
        "image": image(service, cluster, variant(service.spec)),
        "imagePullPolicy": cluster.images.pull_policy,
        "args": ["serve", *(service.spec.runtime.args or ())],
        "env": [*_env(service, {**_server_env(service, delivery), **added.env}), *_downward(added.downward)],
        "ports": [
            {"name": names.PORT_NAME_HTTP, "containerPort": names.HTTP_PORT, "protocol": "TCP"},
            {"name": names.PORT_NAME_GRPC, "containerPort": names.GRPC_PORT, "protocol": "TCP"},
            {"name": names.PORT_NAME_METRICS, "containerPort": names.METRICS_PORT, "protocol": "TCP"},
            *added.ports,
        ],
        "resources": resources,
        "volumeMounts": mounts,
        **_probes(service),
        **hardening(),
    }


def check(service: Service, cluster: Cluster, delivery: Delivery) -> Manifest:
    """Return the container that finds, digests and parses the model on a CPU, with the server's own variables."""
    return {
        "name": names.COMPONENT_CHECK,
        "image": image(service, cluster, check_variant(service.spec)),
        "imagePullPolicy": cluster.images.pull_policy,
        "args": ["check"],
        "env": _env(service, _server_env(service, delivery)),
        "resources": _equal(_limits(service)),
        "volumeMounts": [delivery.mount(), _mount(TMP_VOLUME, "/tmp")],
        **hardening(),
    }


def fetch(service: Service, cluster: Cluster, delivery: Delivery, chosen: Variant) -> Manifest | None:
    """Return the init container that fetches the model, of the same image as what follows; None where it is mounted."""
    if delivery.fetch_env is None:
        return None
    limits = {
        # Never more than the server: the larger of the two is what the scheduler must find.
        resource: min(FETCH_LIMITS[resource], given, key=quantity)
        for resource, given in _limits(service).items()
    }
    return {
        "name": names.CONTAINER_FETCH,
        "image": image(service, cluster, chosen),
        "imagePullPolicy": cluster.images.pull_policy,
        "args": ["fetch"],
        # The user's variables too: SSL_CERT_FILE names the authorities of a private store.
        "env": _env(service, delivery.fetch_env),
        "resources": _equal(limits),
        "volumeMounts": [*delivery.fetch_mounts, _mount(TMP_VOLUME, "/tmp")],
        **hardening(),
    }


def image(service: Service, cluster: Cluster, wanted: Variant) -> str:
    """Return the runtime's image: the user's own, or that of a variant; failing that, of the service's own variant.

    Raises `ValueError` when neither is installed.
    """
    if service.spec.runtime.image is not None:
        return service.spec.runtime.image
    own = variant(service.spec)
    for candidate in (wanted, own):
        if candidate in cluster.images.by_variant:
            return cluster.images.by_variant[candidate]
    raise ValueError(
        f"spec.runtime.variant: the runtime image {own!r} is not installed: "
        "ask whoever installed Mooring for it, or set spec.runtime.image"
    )


def _server_env(service: Service, delivery: Delivery) -> dict[str, str]:
    spec = service.spec
    env = {
        names.ENV_SERVICE: service.name,
        names.ENV_NAMESPACE: service.namespace,
        names.ENV_MODEL_NAME: service.name,
        names.ENV_MODEL_PATH: delivery.path,
        names.ENV_HTTP_PORT: str(names.HTTP_PORT),
        names.ENV_GRPC_PORT: str(names.GRPC_PORT),
        names.ENV_METRICS_PORT: str(names.METRICS_PORT),
        names.ENV_DRAIN_SECONDS: str(DRAIN_SECONDS),
    }
    asked: dict[str, str | int | None] = {
        names.ENV_MODEL_FORMAT: spec.model.format,
        names.ENV_MODEL_SHA256: delivery.sha256,
        names.ENV_WARMUP: spec.model.warmup,
        names.ENV_QUEUE: spec.runtime.queue,
        names.ENV_WORKERS: spec.runtime.workers,
        names.ENV_BATCH_MAX_SIZE: spec.batching.max_size if spec.batching else None,
        names.ENV_BATCH_MAX_DELAY: duration(spec.batching.max_delay)
        if spec.batching and spec.batching.max_delay
        else None,
        names.ENV_LATENCY_TARGET: duration(spec.scaling.latency.target)
        if spec.scaling and spec.scaling.latency
        else None,
        names.ENV_ALLOW_UNSAFE_FORMATS: "true" if spec.runtime.allow_unsafe_formats else None,
    }
    # What the spec leaves open is not written: the server's own default then follows its version.
    return env | {name: str(value) for name, value in asked.items() if value is not None}


def _env(service: Service, ours: dict[str, str]) -> list[Manifest]:
    """Return our variables, sorted, then the user's, sorted; the schema keeps their names apart."""
    theirs = sorted(service.spec.runtime.env or (), key=lambda variable: variable.name)
    return [{"name": name, "value": ours[name]} for name in sorted(ours)] + [
        {"name": variable.name, "value": variable.value} for variable in theirs
    ]


def _downward(fields: dict[str, str]) -> list[Manifest]:
    """Return variables that kubelet fills from fields of the pod."""
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": fields[name]}}} for name in sorted(fields)]


def _limits(service: Service) -> dict[str, str]:
    return {"cpu": str(service.spec.resources.cpu), "memory": str(service.spec.resources.memory)}


def _equal(limits: dict[str, str]) -> Manifest:
    """Return requests equal to limits: the pod is Guaranteed, the last to be evicted when memory runs out."""
    return {"limits": limits, "requests": dict(limits)}


def hardening() -> Manifest:
    """Return what Pod Security `restricted` asks of a container, and where its last word goes."""
    return {
        "terminationMessagePath": names.TERMINATION_LOG,
        # Not FallbackToLogsOnError: the tail of a log is no reason, and may hold what a status must not show.
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def _mount(volume: str, path: str) -> Manifest:
    return {"name": volume, "mountPath": path}


def _probes(service: Service) -> Manifest:
    """Return the probes. Until the first success of the start-up probe the other two rest."""
    # A second between looks at a start: half of it is what a new replica waits on average. The budget is the
    # rollout's own: a model that is still loading when that ends has failed in any case.
    budget = math.ceil(seconds(service.spec.rollout.progress_deadline))
    return {
        "startupProbe": _probe(names.PATH_READY, period=1, timeout=2, failures=budget),
        "readinessProbe": _probe(names.PATH_READY, period=5, timeout=3, failures=3),
        "livenessProbe": _probe(names.PATH_LIVE, period=10, timeout=5, failures=3),
    }


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": names.PORT_NAME_HTTP},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }
