"""What stands for every service, from the settings of the installation and from what the API server has."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..api.v1alpha1 import Variant
from ..cluster import metrics_api
from ..cluster.errors import NotFoundError
from ..cluster.kube import Kube
from ..facts import Cluster, Images, KedaAccess
from ..settings import Settings

TOLERANCE_SINCE = (1, 37)
_RESOLVERS = Path("/etc/resolv.conf")


def installation(settings: Settings, hpa_tolerance: bool = True, dra: bool = True, ipv6: bool = False) -> Cluster:
    """Return the facts that the settings give; without a cluster to ask, it is taken to be a new one."""
    images: dict[Variant, str] = {
        "onnx": settings.runtime_image,
        "onnx-gpu": settings.runtime_image_onnx_gpu,
        "torch": settings.runtime_image_torch,
    }
    installed = {variant: image for variant, image in images.items() if image}
    return Cluster(
        images=Images(installed, settings.model_pull_policy, settings.router_image),
        monitoring_namespace=settings.monitoring_namespace,
        operator_namespace=settings.namespace,
        domain=settings.cluster_domain,
        ipv6=ipv6,
        hpa_tolerance=hpa_tolerance,
        dra=dra,
        monitor_labels=settings.monitor_labels,
        scrape_seconds=settings.scrape_seconds,
        prometheus_url=settings.prometheus_url,
        prometheus_labels=settings.prometheus_labels,
        prometheus_token=settings.prometheus_token_file is not None,
        keda_access=_keda_access(settings),
    )


def _keda_access(settings: Settings) -> KedaAccess | None:
    if not settings.keda_authentication:
        return None
    return KedaAccess(settings.keda_authentication, settings.keda_authentication_kind, settings.keda_auth_modes)


async def discover(settings: Settings, kube: Kube) -> Cluster:
    """Return the same with what this API server has. Raises `KubeError`."""
    version = await kube.read("/version")
    release = (int(version["major"]), int(version["minor"].rstrip("+")))
    try:
        await kube.read("/apis/resource.k8s.io/v1")
        dra = True
    except NotFoundError:
        dra = False
    settings = _with_domain(settings)
    found = installation(settings, release >= TOLERANCE_SINCE, dra, has_ipv6(os.environ))
    return replace(found, metrics_api=await metrics_api.find(kube, settings.namespace))


def _with_domain(settings: Settings) -> Settings:
    """Return the settings with the cluster's domain, if it can be known."""
    if settings.cluster_domain or not _RESOLVERS.exists():
        return settings
    return settings.model_copy(update={"cluster_domain": cluster_domain(_RESOLVERS.read_text())})


def cluster_domain(resolvers: str) -> str:
    """Return the domain of the cluster's Services, from a pod's /etc/resolv.conf; empty where that is no pod's."""
    # The last line counts, as for the resolver itself.
    searches = [words[1:] for words in map(str.split, resolvers.splitlines()) if words[:1] == ["search"]]
    names = [name.rstrip(".") for name in searches[-1]] if searches else []
    found = [name.removeprefix("svc.") for name in names if name.startswith("svc.")]
    return found[0] if found and found[0] in names else ""


def has_ipv6(environment: Mapping[str, str]) -> bool:
    """Tell whether the cluster's Services have IPv6 addresses first, as the one of the API server has."""
    return ":" in environment.get("KUBERNETES_SERVICE_HOST", "")
