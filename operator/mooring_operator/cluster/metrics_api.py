"""Who serves the external metrics of the cluster: whose APIService it is, and whether the API server reaches it.

A cluster has one. It is looked at and never written here: whoever has it keeps it.
"""

import logging
from typing import Any

from ..api import names
from ..facts import Manifest, MetricsApi, MetricsOwner
from .errors import KubeError, NotFoundError
from .kinds import API_SERVICE
from .kube import Kube

logger = logging.getLogger(__name__)

_PART_OF = "app.kubernetes.io/part-of"
_KEDA = "keda-operator"
_KEDA_SERVICES = frozenset({"keda-metrics-apiserver", "keda-operator-metrics-apiserver"})
"""KEDA's own manifests name its Service so, and its chart."""


async def find(kube: Kube, namespace: str) -> MetricsApi | None:
    """Return who serves external metrics, where `namespace` is that of our own adapter; None when nobody can tell."""
    try:
        return metrics_api(await kube.get(API_SERVICE, None, names.EXTERNAL_METRICS_API_SERVICE), namespace)
    except NotFoundError:
        return MetricsApi()
    except KubeError as error:
        logger.warning("cannot see who serves external metrics: %s", error)
        return None


def metrics_api(live: Manifest, namespace: str) -> MetricsApi:
    """Return who serves the metrics of an APIService."""
    # Without a Service the API server itself is asked, which has no such metrics: a leftover of somebody.
    service: dict[str, Any] = live["spec"].get("service") or {}
    server = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "the API server itself"
    return MetricsApi(_owner(live, service, namespace), server, _trouble(live))


def _owner(live: Manifest, service: Manifest, namespace: str) -> MetricsOwner:
    if (service.get("namespace"), service.get("name")) == (namespace, names.ADAPTER):
        return "mooring"
    labels = live["metadata"].get("labels") or {}
    if service.get("name") in _KEDA_SERVICES or labels.get(_PART_OF) == _KEDA:
        return "keda"
    return "other"


def _trouble(live: Manifest) -> str:
    for condition in (live.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Available" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason") or "it is not available")
    return ""
