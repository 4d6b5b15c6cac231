"""The ConfigMap that keeps the membership record of a service, and the Secret of its peer token.

The record is written by compare-and-swap: applied with the resourceVersion of the ConfigMap that was read, so that of
two operators only one gives an epoch away. Both objects live as long as the volumes: where these are kept when the
service is deleted, nobody owns them, because the service that is applied again must go on with a higher epoch.
"""

import base64
import contextlib
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from .. import metrics
from ..api import names
from ..api.membership import Record
from ..facts import Key, Manifest, ObjectKey, Problem, Service
from . import kinds
from .apply import NO_VERSION
from .cache import Cache
from .errors import ConflictError, LeftoverError, NotFoundError
from .kube import Kube
from .ownership import controller_of, fields_of
from .peers import Peers

logger = logging.getLogger(__name__)

TOKEN_AGAIN: Final = 60.0
"""Seconds after which a Secret that was made, or stood, is made again if somebody has deleted it."""


class Kept(NamedTuple):
    """What the ConfigMap of a service says."""

    record: Record | None = None
    version: str = ""
    resized: datetime | None = None
    notes: Mapping[str, str] = MappingProxyType({})


def kept(found: Manifest | None) -> Kept:
    """Return what a ConfigMap keeps. A record that cannot be read is none: the replicas know the last one."""
    if found is None:
        return Kept()
    meta = found["metadata"]
    annotations = meta.get("annotations") or {}
    record = None
    try:
        record = Record.parse((found.get("data") or {}).get(names.MEMBERSHIP_KEY, ""))
    except ValueError as error:
        logger.warning("ConfigMap %s/%s: %s", meta["namespace"], meta["name"], error)
    notes = {name: annotations[name] for name in names.MEMBERSHIP_NOTES if name in annotations}
    return Kept(record, meta["resourceVersion"], _time(annotations.get(names.ANNOTATION_RESIZED)), notes)


def outlives(service: Service) -> bool:
    """Tell whether the volumes of a service are kept when it is deleted."""
    return service.spec.state is not None and service.spec.state.retention.when_deleted == "Retain"


class Keeper:
    """Writes what outlives a service."""

    def __init__(self, kube: Kube, cache: Cache, peers: Peers) -> None:
        self._kube = kube
        self._cache = cache
        self._peers = peers
        self._tokens: dict[str, float] = {}

    async def ensure_token(self, service: Service) -> None:
        """Let the Secret of the peer token stand. It is only ever created: reading it would need the right to."""
        if time.monotonic() - self._tokens.get(service.uid, float("-inf")) < TOKEN_AGAIN:
            return
        token = self._peers.token(Key(service.namespace, service.name))
        manifest = {
            "apiVersion": kinds.SECRET.api_version,
            "kind": kinds.SECRET.kind,
            "metadata": _metadata(service, names.SUFFIX_PEER_TOKEN),
            "type": "Opaque",
            "immutable": True,
            "data": {names.PEER_TOKEN_KEY: base64.b64encode(token.encode()).decode()},
        }
        with contextlib.suppress(ConflictError):
            await self._kube.create(kinds.SECRET, manifest)
        self._tokens[service.uid] = time.monotonic()

    async def keep(
        self, service: Service, standing: Kept, record: Record | None, notes: Mapping[str, str]
    ) -> list[Problem]:
        """Write a record (None: that which stands) and the plan's notes in place of what was read.

        Return what stands in the way. Raises `ConflictError` when the ConfigMap was written meanwhile: what was decided
        does not hold any more.
        """
        name = f"{service.name}{names.SUFFIX_MEMBERSHIP}"
        found = self._cache.get(kinds.CONFIG_MAP, service.namespace, name)
        if (
            record is None
            and dict(notes) == dict(standing.notes)
            and (found is None or _is_as_it_should(service, found))
        ):
            return []
        kept_record = record or standing.record
        if kept_record is None:
            return []
        resized = standing.resized
        if resized is None or standing.record is None or standing.record.size != kept_record.size:
            resized = datetime.now(UTC)
        meta = _metadata(service, names.SUFFIX_MEMBERSHIP)
        meta["annotations"] = {**notes, names.ANNOTATION_RESIZED: resized.strftime("%Y-%m-%dT%H:%M:%SZ")}
        meta["resourceVersion"] = standing.version or NO_VERSION
        manifest = {
            "apiVersion": kinds.CONFIG_MAP.api_version,
            "kind": kinds.CONFIG_MAP.kind,
            "metadata": meta,
            "data": {names.MEMBERSHIP_KEY: kept_record.to_json()},
        }
        try:
            written = await self._kube.apply(kinds.CONFIG_MAP, manifest, names.FIELD_MANAGER)
        except ConflictError:
            return await self._conflict(service, name)
        self._cache.keep(kinds.CONFIG_MAP, written)
        if record is not None:
            metrics.RECORDS_WRITTEN.inc()
        return []

    async def _conflict(self, service: Service, name: str) -> list[Problem]:
        """Take in what stands there; it may be no record of ours at all."""
        kind = kinds.CONFIG_MAP
        try:
            live = await self._kube.get(kind, service.namespace, name)
        except NotFoundError:
            known = self._cache.get(kind, service.namespace, name)
            if known is not None:
                self._cache.drop(kind, known)
            raise ConflictError(409, "Conflict", f"ConfigMap {name} was deleted meanwhile") from None
        if not _has_labels(service, live) and not fields_of(live, names.FIELD_MANAGER):
            controller = controller_of(live)
            whose = f"{controller['kind']} {controller['name']}" if controller else "nobody (it has no controller)"
            return [Problem.name_taken(service, ObjectKey(kind.kind, name), whose)]
        self._cache.put(kind, live)
        raise ConflictError(409, "Conflict", f"ConfigMap {name} was written meanwhile")


def check_leftover(service: Service, found: Manifest | None) -> None:
    """Raise `LeftoverError` for the record of a deleted service of this name, whose volumes go with it.

    Taken over, it would name stores that are about to be deleted, and the new volumes would be refused.
    """
    if found is None:
        return
    owners = [owner["uid"] for owner in found["metadata"].get("ownerReferences") or () if owner["kind"] == names.KIND]
    if "deletionTimestamp" in found["metadata"] or (owners and service.uid not in owners):
        name = found["metadata"]["name"]
        message = f"cannot use ConfigMap {name}: that of the deleted service of this name is still there"
        raise LeftoverError(409, "Conflict", message)


def _is_as_it_should(service: Service, found: Manifest) -> bool:
    """Tell whether the record goes with the service exactly when its volumes do, and is found by its labels."""
    owners = [owner["uid"] for owner in found["metadata"].get("ownerReferences") or ()]
    return (service.uid in owners) != outlives(service) and _has_labels(service, found)


def _has_labels(service: Service, found: Manifest) -> bool:
    labels = found["metadata"].get("labels") or {}
    wanted = {names.LABEL_SERVICE: service.name, names.LABEL_MANAGED_BY: names.MANAGED_BY}
    return wanted.items() <= labels.items()


def _metadata(service: Service, suffix: str) -> Manifest:
    meta: Manifest = {
        "name": f"{service.name}{suffix}",
        "namespace": service.namespace,
        "labels": {
            names.LABEL_NAME: names.SINGULAR,
            names.LABEL_INSTANCE: service.name,
            names.LABEL_MANAGED_BY: names.MANAGED_BY,
            names.LABEL_SERVICE: service.name,
        },
    }
    if not outlives(service):
        # Not as its controller: what is controlled by a service and not rendered for it is pruned.
        reference = service.owner_reference()
        meta["ownerReferences"] = [{key: reference[key] for key in ("apiVersion", "kind", "name", "uid")}]
    return meta


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
