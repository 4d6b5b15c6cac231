"""What kubelets and a storage driver do, for a control plane without nodes: pods of services run as soon as they exist.

Each pod of a StatefulSet gets a loopback address and a replica that answers there (`member_replica`), on the volume of
its claim; each pod of a router is ready. A claim gets a PersistentVolume. What a test wants otherwise it sets here.
"""

import asyncio
import base64
import contextlib
import itertools
import secrets
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from mooring_operator.api import names
from mooring_operator.api.membership import Record
from mooring_operator.cluster import kinds
from mooring_operator.cluster.errors import ConflictError, NotFoundError
from mooring_operator.cluster.kinds import Kind
from mooring_operator.cluster.kube import Call
from mooring_operator.facts import Manifest
from tests.support.member_replica import Replica, Volume
from tests.support.world import MERGE, World

PERSISTENT_VOLUME = Kind("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
TICK = 0.05


class Kubelet:
    """Runs the pods of one namespace. Use as a context."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.volumes: dict[str, Volume] = {}
        """By uid of the claim."""
        self.replicas: dict[str, Replica] = {}
        """By uid of the pod."""
        self.heard: dict[int, Record] = {}
        self.clashes: list[tuple[Record, Record]] = []
        """Records of one epoch that differ; a test that finds any has found a defect."""
        self.hands_over = True
        """Leaving replicas get rid of their sessions."""
        self.broken: set[str] = set()
        """Template hashes whose pods never become ready."""
        self.reads_only: set[str] = set()
        """Template hashes whose model can read the sessions that there are; empty: any can."""
        self.silent: set[int] = set()
        """Ordinals whose peer port is closed."""
        self._ready: dict[str, bool] = {}
        self._addresses = _addresses()
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="kubelet")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Not cancelled: a request that is cut off leaves its connection to be closed by nobody.
        self._over.set()
        if self._task is not None:
            await self._task
        for replica in self.replicas.values():
            await replica.stop()

    def replica(self, ordinal: int) -> Replica:
        """Return the only replica of that number that runs."""
        [found] = [replica for replica in self.replicas.values() if replica.ordinal == ordinal]
        return found

    @property
    def ordinals(self) -> list[int]:
        """The numbers of the replicas that run."""
        return sorted(replica.ordinal for replica in self.replicas.values())

    async def lose_volume(self, ordinal: int, service: str) -> None:
        """Put an empty volume in place of a replica's, as when a disk is lost, and let its pod start anew."""
        lost = self.replica(ordinal).volume
        self.volumes = {uid: Volume() if volume is lost else volume for uid, volume in self.volumes.items()}
        await self.world.delete(kinds.POD, f"{service}-{ordinal}")

    async def _run(self) -> None:
        while not self._over.is_set():
            for claim in await self._list(kinds.PERSISTENT_VOLUME_CLAIM):
                await self._bind(claim)
            pods = await self._list(kinds.POD)
            alive = {pod["metadata"]["uid"] for pod in pods}
            for uid in self.replicas.keys() - alive:
                await self.replicas.pop(uid).stop()
            for pod in pods:
                # Another one may take it away at any moment.
                with contextlib.suppress(NotFoundError, ConflictError):
                    await self._keep(pod)
            await asyncio.sleep(TICK)

    async def _list(self, kind: Kind) -> list[Manifest]:
        pages = self.world.kube.pages(kind, names.LABEL_SERVICE, namespace=self.world.namespace)
        return [item async for page in pages for item in page]

    async def _bind(self, claim: Manifest) -> None:
        """Make the volume of a claim, once, as a driver does."""
        meta = claim["metadata"]
        if meta["uid"] in self.volumes:
            return
        self.volumes[meta["uid"]] = Volume()
        reference = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "uid": meta["uid"]}
        volume = {
            "apiVersion": "v1",
            "kind": PERSISTENT_VOLUME.kind,
            "metadata": {"name": f"pv-{meta['uid']}"},
            "spec": {
                "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
                "accessModes": claim["spec"]["accessModes"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": claim["spec"].get("storageClassName", ""),
                "csi": {"driver": "mooring.test", "volumeHandle": meta["uid"]},
                "claimRef": {**reference, "namespace": meta["namespace"], "name": meta["name"]},
            },
        }
        await self.world.kube.create(PERSISTENT_VOLUME, volume)

    async def _keep(self, pod: Manifest) -> None:
        meta = pod["metadata"]
        if "deletionTimestamp" in meta:
            return
        if meta["labels"].get(names.LABEL_COMPONENT) == names.COMPONENT_ROUTER:
            await self._report(pod, "127.0.0.1", ready=True)
            return
        ordinal = meta["labels"].get(names.LABEL_ORDINAL)
        if ordinal is None:
            return
        replica = self.replicas.get(meta["uid"]) or await self._start(pod, int(ordinal))
        if replica is None:
            return
        template = meta["annotations"][names.ANNOTATION_TEMPLATE_HASH]
        replica.can_read = not self.reads_only or template in self.reads_only
        await self._report(pod, replica.address, ready=template not in self.broken)

    async def _start(self, pod: Manifest, ordinal: int) -> Replica | None:
        meta = pod["metadata"]
        service = meta["labels"][names.LABEL_SERVICE]
        claim = await self.world.get(kinds.PERSISTENT_VOLUME_CLAIM, f"{names.CLAIM_SESSIONS}-{meta['name']}")
        secret = await self.world.get(kinds.SECRET, f"{service}{names.SUFFIX_PEER_TOKEN}")
        if claim is None or secret is None or claim["metadata"]["uid"] not in self.volumes:
            return None
        token = base64.b64decode(secret["data"][names.PEER_TOKEN_KEY]).decode()
        volume = self.volumes[claim["metadata"]["uid"]]
        replica = Replica(ordinal, next(self._addresses), token, volume, self._move, self.heard, self.clashes)
        if ordinal not in self.silent:
            await replica.start()
        self.replicas[meta["uid"]] = replica
        return replica

    def _move(self, replica: Replica) -> bool:
        """Let another replica have the sessions of one that leaves."""
        record = replica.volume.record
        others = [other for other in self.replicas.values() if record is not None and other.ordinal < record.size]
        if not self.hands_over or not others:
            return False
        others[0].volume.sessions += replica.volume.sessions
        replica.volume.sessions = 0
        return True

    async def _report(self, pod: Manifest, address: str, ready: bool) -> None:
        uid = pod["metadata"]["uid"]
        if self._ready.get(uid) == ready:
            return
        word = "True" if ready else "False"
        conditions = [{"type": kind, "status": word} for kind in ("Ready", "ContainersReady")]
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
        path = kinds.POD.path(self.world.namespace, pod["metadata"]["name"], "status")
        body = {"metadata": {"uid": uid}, "status": status}
        await self.world.kube.call(Call("patch", "PATCH", path, (), body, MERGE))
        self._ready[uid] = ready


def _addresses() -> Iterator[str]:
    """Loopback addresses that nobody else uses; those of control planes begin at 127.64."""
    first, second = 2 + secrets.randbelow(60), secrets.randbelow(255)
    return (f"127.{first}.{second}.{number}" for number in itertools.count(1) if number < 255)
