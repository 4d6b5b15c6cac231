"""What a test of the running operator does: make services, disturb their children, wait for what must follow."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.cluster.errors import NotFoundError
from mooring_operator.cluster.kinds import Kind
from mooring_operator.cluster.kube import Call, Kube
from mooring_operator.facts import Manifest

T = TypeVar("T")
PATIENCE = 40.0
"""Seconds. No claim of the operator's: the machine may be busy with other tests. Who claims a time measures it."""
MERGE = "application/merge-patch+json"


async def eventually(what: str, look: Callable[[], Awaitable[T | None]], patience: float = PATIENCE) -> T:
    """Return the first answer that is neither None nor False; fail when none comes in time."""
    deadline = time.monotonic() + patience
    while True:
        found = await look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience} s: {what}")
        await asyncio.sleep(0.03)


@dataclass(frozen=True)
class World:
    """One namespace of a cluster, seen by the administrator."""

    kube: Kube
    namespace: str

    async def make(self, name: str, **spec: Any) -> Manifest:
        """Create a service; fields of its spec by name, the model is on a claim."""
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"model": {"uri": "pvc://models/model.onnx"}, **spec},
        }
        return await self.kube.create(kinds.INFERENCE_SERVICE, manifest)

    async def change(self, name: str, **spec: Any) -> Manifest:
        """Change fields of a service's spec; None removes one."""
        return await self.patch(kinds.INFERENCE_SERVICE, name, {"spec": spec})

    async def patch(self, kind: Kind, name: str, patch: Manifest, manager: str = "someone") -> Manifest:
        """Merge a patch into an object, as someone who is not the operator."""
        path, query = kind.path(self.namespace, name), (("fieldManager", manager),)
        return await self.kube.call(Call("patch", "PATCH", path, query, patch, MERGE))

    async def get(self, kind: Kind, name: str) -> Manifest | None:
        """Return an object, or None."""
        try:
            return await self.kube.get(kind, self.namespace, name)
        except NotFoundError:
            return None

    async def appears(self, kind: Kind, name: str, patience: float = PATIENCE) -> Manifest:
        """Wait for an object."""
        return await eventually(f"{kind.kind} {name} appears", lambda: self.get(kind, name), patience)

    async def vanishes(self, kind: Kind, name: str) -> None:
        """Wait until there is no such object."""

        async def gone() -> bool:
            return await self.get(kind, name) is None

        await eventually(f"{kind.kind} {name} vanishes", gone)

    async def becomes(
        self, kind: Kind, name: str, holds: Callable[[Manifest], bool], what: str, patience: float = PATIENCE
    ) -> Manifest:
        """Wait until an object is as it should be; return it."""

        async def look() -> Manifest | None:
            found = await self.get(kind, name)
            return found if found is not None and holds(found) else None

        return await eventually(f"{kind.kind} {name}: {what}", look, patience)

    async def delete(self, kind: Kind, name: str) -> None:
        """Delete an object that exists."""
        found = await self.kube.get(kind, self.namespace, name)
        await self.kube.delete(kind, self.namespace, name, found["metadata"]["uid"])

    async def settled(self, name: str) -> Manifest:
        """Wait until the status of a service speaks of its present spec; return the service."""

        def told(service: Manifest) -> bool:
            return bool(service.get("status", {}).get("observedGeneration") == service["metadata"]["generation"])

        return await self.becomes(kinds.INFERENCE_SERVICE, name, told, "has a status of its present generation")


def condition(service: Manifest, kind: str) -> Manifest:
    """Return a condition of a service; empty when there is none."""
    found = [each for each in service.get("status", {}).get("conditions", ()) if each["type"] == kind]
    return found[0] if found else {}
