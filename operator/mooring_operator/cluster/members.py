"""What is seen of the replicas of a stateful service in one round: record, claims, reports, nodes."""

import re
from collections.abc import Iterable, Mapping

from ..api import names
from ..api.membership import Record
from ..facts import Key, Manifest, Members, ObjectKey, Service
from . import kinds, membership
from .cache import Cache
from .errors import LeftoverError
from .kube import Kube
from .peers import Heard, PeerPod, Peers
from .pods import has_ended, is_router, lives, ordinal_of, pod_of
from .scaling import keda_autoscaler, scaled_by
from .storage import Storage
from .templates import earlier_templates


class MembersObserver:
    """Gathers what `Members` holds. It decides nothing."""

    def __init__(self, kube: Kube, cache: Cache, peers: Peers) -> None:
        self._kube = kube
        self._cache = cache
        self._peers = peers
        self._storage = Storage(kube)

    async def observe(self, service: Service, live: Manifest, children: Mapping[ObjectKey, Manifest]) -> Members:
        """Return what is seen of the replicas of a service.

        Raises `LeftoverError` while the record of a deleted service of this name goes, and `KubeError`.
        """
        key = Key(service.namespace, service.name)
        sets = ObjectKey(kinds.STATEFUL_SET.kind, service.name)
        found = self._cache.get(kinds.CONFIG_MAP, service.namespace, f"{service.name}{names.SUFFIX_MEMBERSHIP}")
        membership.check_leftover(service, found)
        kept = membership.kept(found)
        entries = [entry.manifest for entry in self._cache.pods(key)]
        if kept.record is None and not membership.outlives(service):
            self._check_leftover(key, children.get(sets))
        replicas = {ordinal: pod for pod in entries if (ordinal := ordinal_of(pod)) is not None and not is_router(pod)}
        heard = await self._hear(key, replicas, kept.record)
        claims, going = self._claims(key)
        entry = self._cache.entry(kinds.INFERENCE_SERVICE, *key)
        return Members(
            record=kept.record,
            version=kept.version,
            resized=kept.resized,
            notes=kept.notes,
            reports=heard.reports,
            silent=heard.silent,
            access_mode=await self._storage.access_mode(service, children, claims),
            claims=claims,
            going=going,
            revisions=await earlier_templates(self._kube, service, children.get(sets), kinds.CONTROLLER_REVISION),
            lost_nodes=self._lost_nodes(replicas.values()),
            scaled_by=scaled_by(
                service, entry.scaled_by if entry is not None else "", children, keda_autoscaler(self._cache, service)
            ),
            abandon=(live["metadata"].get("annotations") or {}).get(names.ANNOTATION_ABANDON_STORE, ""),
            ending=tuple(pod_of(pod) for _, pod in sorted(replicas.items()) if "deletionTimestamp" in pod["metadata"]),
            router=tuple(pod_of(pod) for pod in entries if is_router(pod) and lives(pod)),
        )

    def _check_leftover(self, key: Key, live: Manifest | None) -> None:
        """Raise `LeftoverError` for replicas and claims of a deleted service of this name, which go with it.

        Replicas answer until they end. Taken over from them, their record would name stores that are about to be
        deleted, and the new volumes would be refused. One on a lost node may never end, and tells nothing. A new
        StatefulSet would take over the claims, if it came before they are deleted, and what somebody wanted to go
        would be there again.
        """
        ours = {"", live["metadata"]["uid"] if live is not None else ""}
        for entry in self._cache.pods(key):
            pod = entry.manifest
            if entry.owner in ours or ordinal_of(pod) is None or is_router(pod) or self._lost_nodes([pod]):
                continue
            message = f"cannot begin: pod {pod['metadata']['name']} of the deleted service still runs"
            raise LeftoverError(409, "Conflict", message)
        for claim in self._claims(key)[0].values():
            owners = claim["metadata"].get("ownerReferences") or ()
            if any(owner["kind"] == kinds.STATEFUL_SET.kind and owner["uid"] not in ours for owner in owners):
                message = f"cannot begin: claim {claim['metadata']['name']} of the deleted service is still there"
                raise LeftoverError(409, "Conflict", message)

    async def _hear(self, key: Key, replicas: Mapping[int, Manifest], kept: Record | None) -> Heard:
        running = {ordinal: pod for ordinal, pod in replicas.items() if not has_ended(pod)}
        pods = [peer_pod(ordinal, pod) for ordinal, pod in running.items()]
        return await self._peers.hear(key, pods, kept)

    def _claims(self, key: Key) -> tuple[dict[int, Manifest], frozenset[int]]:
        """Claims that stay, and the ordinals of those that are being deleted: they are nobody's future."""
        name = re.compile(rf"{names.CLAIM_SESSIONS}-{re.escape(key.name)}-(0|[1-9][0-9]{{0,2}})")
        claims, going = {}, set()
        for entry in self._cache.claims(key):
            meta = entry.manifest["metadata"]
            if (matched := name.fullmatch(meta["name"])) is None:
                continue
            if "deletionTimestamp" in meta:
                going.add(int(matched[1]))
            else:
                claims[int(matched[1])] = entry.manifest
        return dict(sorted(claims.items())), frozenset(going)

    def _lost_nodes(self, replicas: Iterable[Manifest]) -> dict[str, str]:
        used = {pod["spec"]["nodeName"] for pod in replicas if "nodeName" in pod["spec"]}
        return {name: why for name in sorted(used) if (why := _lost(self._cache.node(name)))}


def peer_pod(ordinal: int, pod: Manifest) -> PeerPod:
    """Return where a pod is asked, and what tells it from itself at another time."""
    meta, status = pod["metadata"], pod.get("status", {})
    restarts = [each.get("restartCount", 0) for each in status.get("containerStatuses") or ()]
    ready = [each["status"] for each in status.get("conditions") or () if each["type"] == "Ready"]
    ends = "deletionTimestamp" in meta
    return PeerPod(ordinal, status.get("podIP", ""), f"{meta['uid']} {restarts} {ready} {ends}")


def _lost(node: Manifest | None) -> str:
    """Return what is wrong with a node that runs a pod; empty while kubelet says that it is ready."""
    if node is None:
        return "it does not exist any more"
    for condition in node["status"].get("conditions") or ():
        if condition["type"] == "Ready":
            return "" if condition["status"] == "True" else condition.get("message") or "it is not ready"
    return ""
