"""Kinds that come and go with the cluster's other parts: KEDA, the Prometheus operator.

The watches and the cache are made for the kinds that were served at the start. One that is taken away later would let
each round fail at it, and one that comes would be missed. Both are rare, so the operator ends, in order, and the next
one looks anew; the lease is given back, and another replica leads within a second.
"""

import asyncio
import logging
from collections.abc import Collection

from ..cluster.errors import KubeError, NotFoundError
from ..cluster.kinds import OPTIONAL, Kind
from ..cluster.kube import Kube

logger = logging.getLogger(__name__)

TWICE = 2
"""Looks in a row that must see the same change: an API server that starts does not serve all kinds at once."""


async def until_changed(kube: Kube, known: Collection[Kind], period: float) -> None:
    """Return when the optional kinds that the API server has are no more those of `known`, looking each `period` s."""
    seen = 0
    while seen < TWICE:
        await asyncio.sleep(period)
        changed = [kind.kind for kind in OPTIONAL if await _served(kube, kind) is (kind not in known)]
        seen = seen + 1 if changed else 0
    logger.warning("the cluster has other kinds than before (%s): ends, to start anew with them", ", ".join(changed))


async def _served(kube: Kube, kind: Kind) -> bool | None:
    """Tell whether the API server has a kind; None when that cannot be seen."""
    try:
        found = await kube.read(f"/apis/{kind.group}/{kind.version}")
    except NotFoundError:
        return False
    except KubeError:
        return None
    return any(resource["name"] == kind.plural for resource in found.get("resources", ()))
