"""The earlier pod templates of a workload, as its controller keeps them."""

from ..api import names
from ..facts import Manifest, Service
from .kinds import Kind
from .kube import Kube
from .ownership import controller_of


async def earlier_templates(
    kube: Kube, service: Service, workload: Manifest | None, kind: Kind
) -> tuple[Manifest, ...]:
    """Return the objects of `kind` that keep them, while one may be needed: to go back to, or to stay with.

    Each holds a whole pod template, so in the common case nothing is asked. Raises `KubeError`.
    """
    if workload is None:
        return ()
    annotations = workload["metadata"]["annotations"]
    good = annotations.get(names.ANNOTATION_GOOD_TEMPLATE)
    present = workload["spec"]["template"]["metadata"]["annotations"].get(names.ANNOTATION_TEMPLATE_HASH)
    if good is None or (good == present and names.ANNOTATION_FAILED_TEMPLATE not in annotations):
        return ()
    selector = f"{names.MANAGED_SELECTOR},{names.LABEL_SERVICE}={service.name}"
    pages = kube.pages(kind, selector, namespace=service.namespace)
    uid = workload["metadata"]["uid"]
    return tuple([found async for page in pages for found in page if controller_of(found).get("uid") == uid])
