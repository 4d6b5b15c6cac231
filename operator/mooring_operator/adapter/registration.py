"""The APIService that says who serves external metrics: made when there is none, kept when it is ours, else left alone.

There is one in a cluster. KEDA, prometheus-adapter and others make the same, and whoever takes it over blinds the
autoscalers of the one before. So it is never taken from anybody; when it becomes free, it is made within half a minute.
It is no part of the chart: where another one stands, Helm would refuse the whole release, and Argo CD overwrite it.
"""

import base64
import binascii
import logging
from typing import Any

from ..api import names
from ..cluster.errors import ConflictError, NotFoundError
from ..cluster.kinds import API_SERVICE
from ..cluster.kube import Kube
from ..facts import Manifest
from . import metrics
from .certificates import ABSENT, Owner

logger = logging.getLogger(__name__)


class Registration:
    """The APIService of external metrics, as this adapter wants it."""

    def __init__(self, kube: Kube, namespace: str, owner: Owner) -> None:
        self._kube = kube
        self._service = {"name": names.ADAPTER, "namespace": namespace, "port": 443}
        self._owner = owner
        self._foreign = ""

    async def trusted(self) -> str:
        """Return the bundle (PEM) by which the API server knows us now; empty: it does not. Raises `KubeError`."""
        try:
            live = await self._kube.get(API_SERVICE, None, names.EXTERNAL_METRICS_API_SERVICE)
        except NotFoundError:
            return ""
        return bundle_of(live) if self.ours(live) else ""

    async def register(self, bundle: str) -> bool:
        """Let the API server come to us and trust `bundle`; return False where somebody else serves these metrics.

        Raises `KubeError`.
        """
        try:
            live = await self._kube.get(API_SERVICE, None, names.EXTERNAL_METRICS_API_SERVICE)
        except NotFoundError:
            live = None
        if live is not None and not self.ours(live):
            self._tell(owner_of(live))
            return False
        wanted = self._manifest(bundle, await self._owner.references())
        if live is None:
            wanted["metadata"]["resourceVersion"] = ABSENT
        elif _differs(live, wanted):
            wanted["metadata"]["uid"] = live["metadata"]["uid"]
            wanted["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        else:
            self._tell("")
            return True
        try:
            await self._kube.apply(API_SERVICE, wanted, names.ADAPTER_FIELD_MANAGER)
        except ConflictError:
            logger.info("APIService %s was written meanwhile", names.EXTERNAL_METRICS_API_SERVICE)
            return False
        self._tell("")
        return True

    def ours(self, live: Manifest) -> bool:
        """Tell whether an APIService leads to this adapter."""
        found = (live.get("spec") or {}).get("service") or {}
        return all(found.get(field) == self._service[field] for field in ("name", "namespace"))

    def _manifest(self, bundle: str, owners: list[Manifest]) -> dict[str, Any]:
        return {
            "apiVersion": API_SERVICE.api_version,
            "kind": API_SERVICE.kind,
            "metadata": {
                "name": names.EXTERNAL_METRICS_API_SERVICE,
                "labels": {names.LABEL_NAME: names.ADAPTER, names.LABEL_PART_OF: names.PART_OF},
                "ownerReferences": owners,
            },
            "spec": {
                "group": names.EXTERNAL_METRICS_GROUP,
                "version": names.EXTERNAL_METRICS_VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": self._service,
                "caBundle": base64.b64encode(bundle.encode()).decode(),
            },
        }

    def _tell(self, foreign: str) -> None:
        metrics.API_SERVICE.set(0 if foreign else 1)
        if foreign and foreign != self._foreign:
            logger.warning(
                "external metrics of this cluster are served by %s: this adapter waits until APIService %s is gone; "
                "remove that server, or scale by spec.scaling.backend: keda or prometheusAdapter",
                foreign,
                names.EXTERNAL_METRICS_API_SERVICE,
            )
        elif self._foreign and not foreign:
            logger.info("external metrics are served here now")
        self._foreign = foreign


def owner_of(live: Manifest) -> str:
    """Return whom an APIService leads to, in words."""
    service = (live.get("spec") or {}).get("service")
    return f"Service {service.get('namespace')}/{service.get('name')}" if service else "the API server itself"


def bundle_of(live: Manifest) -> str:
    """Return what an APIService trusts (PEM); empty where it says nothing that can be read."""
    try:
        return base64.b64decode(live["spec"].get("caBundle") or "").decode()
    except (binascii.Error, ValueError):
        return ""


def _differs(live: Manifest, wanted: Manifest) -> bool:
    """Tell whether something that we say is not so. What others add, such as annotations, is theirs."""
    meta = live["metadata"]
    uids = {owner["uid"] for owner in meta.get("ownerReferences") or ()}
    return (
        any(live["spec"].get(field) != value for field, value in wanted["spec"].items())
        or not wanted["metadata"]["labels"].items() <= (meta.get("labels") or {}).items()
        or {owner["uid"] for owner in wanted["metadata"]["ownerReferences"]} != uids
    )
