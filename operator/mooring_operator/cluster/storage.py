"""What volumes can be had: which access mode the claims of a service ask for.

`ReadWriteOncePod` lets one pod use a volume, whatever happens to nodes; only CSI drivers have it. What stands decides
first: a claim template cannot be changed, and a mode that flipped with the weather would make each round ask for it.
"""

import time
from collections.abc import Mapping
from typing import Final

from ..api import names
from ..facts import Manifest, ObjectKey, Service
from . import kinds
from .errors import ForbiddenError, NotFoundError
from .kube import Kube

REMEMBER: Final = 30.0
"""Seconds for which a class is taken to be as it was."""
ONE_POD: Final = "ReadWriteOncePod"
ONE_NODE: Final = "ReadWriteOnce"
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"


class Storage:
    """Knows the storage classes, with few looks."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._modes: dict[str, tuple[float, str]] = {}

    async def access_mode(
        self, service: Service, children: Mapping[ObjectKey, Manifest], claims: Mapping[int, Manifest]
    ) -> str:
        """Return the access mode of the claim template: that which stands, or the best that the class can have."""
        standing = _mode_that_stands(service, children, claims)
        if standing or service.spec.state is None:
            return standing or ONE_NODE
        name = service.spec.state.volume.storage_class_name or ""
        until, mode = self._modes.get(name, (0.0, ""))
        if time.monotonic() >= until:
            mode = ONE_POD if await self._is_csi(name) else ONE_NODE
            self._modes[name] = (time.monotonic() + REMEMBER, mode)
        return mode

    async def _is_csi(self, name: str) -> bool:
        try:
            found = await self._kube.get(kinds.STORAGE_CLASS, None, name) if name else await self._default()
            if found is None:
                return False
            await self._kube.get(kinds.CSI_DRIVER, None, found["provisioner"], metadata_only=True)
        except (NotFoundError, ForbiddenError):
            return False  # in-tree, host paths, a class that is not there, or an installation that may not look
        return True

    async def _default(self) -> Manifest | None:
        """The class of claims that name none: of several the newest, as the API server chooses."""
        found = [
            item
            async for page in self._kube.pages(kinds.STORAGE_CLASS)
            for item in page
            if (item["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
        ]
        return max(found, key=lambda item: str(item["metadata"].get("creationTimestamp", "")), default=None)


def _mode_that_stands(service: Service, children: Mapping[ObjectKey, Manifest], claims: Mapping[int, Manifest]) -> str:
    live = children.get(ObjectKey(kinds.STATEFUL_SET.kind, service.name))
    templates = live["spec"].get("volumeClaimTemplates") or () if live is not None else ()
    ours = [template for template in templates if template["metadata"]["name"] == names.CLAIM_SESSIONS]
    modes = [mode for each in (*ours, *claims.values()) for mode in each["spec"].get("accessModes") or ()]
    return str(modes[0]) if modes else ""
