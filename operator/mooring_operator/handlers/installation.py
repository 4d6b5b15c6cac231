"""What stands for every service, from the settings of the installation and from what the API server has."""

from dataclasses import replace

from ..api.v1alpha1 import Variant
from ..cluster.errors import NotFoundError
from ..cluster.kube import Kube
from ..facts import Cluster, Images
from ..settings import Settings

TOLERANCE_SINCE = (1, 37)


def installation(settings: Settings, hpa_tolerance: bool = True, dra: bool = True) -> Cluster:
    """Return the facts that the settings give; without a cluster to ask, it is taken to be a new one."""
    images: dict[Variant, str] = {
        "onnx": settings.runtime_image,
        "onnx-gpu": settings.runtime_image_onnx_gpu,
        "torch": settings.runtime_image_torch,
    }
    installed = {variant: image for variant, image in images.items() if image}
    return Cluster(
        images=Images(installed, settings.model_pull_policy),
        monitoring_namespace=settings.monitoring_namespace,
        hpa_tolerance=hpa_tolerance,
        dra=dra,
    )


def peer_key(settings: Settings) -> bytes:
    """Return the key from which the tokens of stateful services are derived; empty: this installation has none.

    Raises `OSError` when there should be one and it cannot be read.
    """
    return b"" if settings.peer_key_file is None else settings.peer_key_file.read_bytes().strip()


async def discover(settings: Settings, kube: Kube, has_peer_key: bool = True) -> Cluster:
    """Return the same with what this API server has. Raises `KubeError`."""
    version = await kube.read("/version")
    release = (int(version["major"]), int(version["minor"].rstrip("+")))
    try:
        await kube.read("/apis/resource.k8s.io/v1")
        dra = True
    except NotFoundError:
        dra = False
    return replace(installation(settings, release >= TOLERANCE_SINCE, dra), peer_key=has_peer_key)
