"""What tests of stateful services on a control plane ask for and wait for."""

from typing import Any, Final

from mooring_operator.api import names
from mooring_operator.api.membership import Record
from mooring_operator.cluster import kinds
from mooring_operator.facts import Manifest
from tests.support.world import World, condition, eventually

CLASS: Final = "mooring-test-grows"
"""A storage class whose volumes grow."""
STORAGE_CLASS: Final[Manifest] = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": CLASS},
    "provisioner": "mooring.test/volumes",
    "allowVolumeExpansion": True,
}
STATE: Final[dict[str, Any]] = {"volume": {"size": "1Gi", "storageClassName": CLASS}, "drainTimeout": "10m"}


async def record_of(world: World, name: str = "talk") -> Record | None:
    """The membership record that is kept."""
    found = await world.get(kinds.CONFIG_MAP, f"{name}-membership")
    return None if found is None else Record.parse(found["data"][names.MEMBERSHIP_KEY])


async def settled(world: World, size: int, name: str = "talk") -> Record:
    """Wait until the record is settled at a size; return it."""

    async def look() -> Record | None:
        record = await record_of(world, name)
        return record if record is not None and record.settled and record.size == size else None

    return await eventually(f"{name} is settled at {size}", look)


async def serving(world: World, name: str = "talk") -> Manifest:
    """Wait until a service is ready and nothing is under way; return it."""

    def is_ready(found: Manifest) -> bool:
        return (
            found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
            and condition(found, "Ready").get("status") == "True"
            and condition(found, "Reconciling").get("status") == "False"
        )

    return await world.becomes(kinds.INFERENCE_SERVICE, name, is_ready, "serves")


async def pods_of(world: World, name: str = "talk") -> dict[int, Manifest]:
    """The replicas by ordinal."""
    selector = f"{names.LABEL_SERVICE}={name},{names.LABEL_COMPONENT}={names.COMPONENT_SERVER}"
    pages = world.kube.pages(kinds.POD, selector, namespace=world.namespace)
    return {int(pod["metadata"]["labels"][names.LABEL_ORDINAL]): pod async for page in pages for pod in page}


def ready_of(pod: Manifest) -> bool:
    """Whether a pod says that it is ready."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def template_of(workload: Manifest) -> str:
    """The hash of the pod template that a workload has."""
    annotations = workload["spec"]["template"]["metadata"]["annotations"]
    return str(annotations[names.ANNOTATION_TEMPLATE_HASH])


async def said(world: World, name: str = "talk") -> set[tuple[str, str]]:
    """The Events of a service: type and reason."""
    pages = world.kube.pages(kinds.EVENT, namespace=world.namespace)
    found = [event async for page in pages for event in page]
    return {(event["type"], event["reason"]) for event in found if event["involvedObject"]["name"] == name}
