"""What stands for every service, from the settings of the installation and from what the API server has."""

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


async def discover(settings: Settings, kube: Kube) -> Cluster:
    """Return the same with what this API server has. Raises `KubeError`."""
    version = await kube.read("/version")
    release = (int(version["major"]), int(version["minor"].rstrip("+")))
    try:
        await kube.read("/apis/resource.k8s.io/v1")
        dra = True
    except NotFoundError:
        dra = False
    return installation(settings, release >= TOLERANCE_SINCE, dra)
