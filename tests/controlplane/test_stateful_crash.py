"""The operator dies after each of its acts, or is overtaken by another one; a stateful service ends right all the same.

Here the loop runs in the test's own process, without watches: each life lists everything, and ends after one act. An
act is a write to the API server, or a record that a replica was sent.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mooring_operator.api import names
from mooring_operator.api.membership import Report
from mooring_operator.cluster import kinds
from mooring_operator.cluster.cache import Cache
from mooring_operator.cluster.connection import Connection
from mooring_operator.cluster.errors import KubeError
from mooring_operator.cluster.events import EventRecorder
from mooring_operator.cluster.kube import Call, Kube
from mooring_operator.cluster.peers import PeerPod, Peers
from mooring_operator.facts import Key, Manifest
from mooring_operator.handlers.installation import installation
from mooring_operator.reconcile import Reconciler
from mooring_operator.settings import Settings
from tests.cluster.cluster import Cluster
from tests.support.kubelet import Kubelet
from tests.support.stateful import STATE, pods_of, ready_of, record_of, template_of
from tests.support.world import World

NAME = "talk"
LIVES = 400
"""More than any way to the goal has acts."""
Goal = Callable[[], Awaitable[bool]]
pytestmark = [pytest.mark.usefixtures("operator_env", "growing_class"), pytest.mark.timeout(180)]


class KilledError(Exception):
    """The process is gone."""


class Fuse:
    """Ends a life after so many acts."""

    def __init__(self, acts: int) -> None:
        self.left = acts
        self.blown = False

    def act(self) -> None:
        """Count an act that was done."""
        self.left -= 1
        self.blown = self.blown or self.left <= 0
        self.check()

    def check(self) -> None:
        """A dead process does nothing more."""
        if self.blown:
            raise KilledError


class MortalKube(Kube):
    """Dies right after a write: its answer is never seen."""

    def __init__(self, connection: Connection, fuse: Fuse) -> None:
        super().__init__(connection, concurrency=8)
        self._fuse = fuse

    async def _send(self, call: Call) -> Manifest:
        self._fuse.check()
        answer = await super()._send(call)
        if call.method != "GET":
            self._fuse.act()
        return answer


class MortalPeers(Peers):
    """Dies right after a replica has heard of a record."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__(b"the key")
        self._fuse = fuse

    async def _exchange(self, method: str, service: Key, pod: PeerPod, body: str | None = None) -> Report:
        self._fuse.check()
        report = await super()._exchange(method, service, pod, body)
        if method == "PUT":
            self._fuse.act()
        return report


class Life:
    """One operator, from its start to its end."""

    def __init__(self, connection: Connection, acts: int) -> None:
        self.fuse = Fuse(acts)
        self.kube, self.peers = MortalKube(connection, self.fuse), MortalPeers(self.fuse)
        self.cache = Cache()
        recorder = EventRecorder(self.kube, "life")
        cluster = installation(Settings())
        self.reconciler = Reconciler(self.kube, self.cache, cluster, recorder, self.peers)

    async def look(self) -> None:
        """List everything anew."""
        await self.cache.fill(self.kube, kinds.WATCHED)

    async def round(self, key: Key) -> None:
        """Run one round on what was listed last. A conflict or an outage is the next round's business."""
        try:
            await self.reconciler.reconcile(key)
        except KubeError:
            await asyncio.sleep(0.02)


@pytest.fixture
async def kubelet(world: World) -> AsyncIterator[Kubelet]:
    async with Kubelet(world) as running:
        yield running
    assert running.clashes == []


@pytest.fixture
async def connection(control_plane: Cluster) -> Connection:
    return await Connection.load(control_plane.kubeconfig)


async def drive(connection: Connection, world: World, goal: Goal, acts: int = 1) -> int:
    """Let operators live one after the other, each for `acts` acts, until the goal is reached; return how many died."""
    deaths = 0
    while deaths < LIVES:
        life = Life(connection, acts)
        async with life.kube, life.peers:
            try:
                while not await goal():
                    await life.look()
                    await life.round(Key(world.namespace, NAME))
                return deaths
            except KilledError:
                deaths += 1
            await asyncio.sleep(0)
    raise AssertionError(f"not reached by {LIVES} operators")


def at(world: World, kubelet: Kubelet, size: int, changed: Callable[[Manifest], bool] = bool) -> Goal:
    """The goal: settled at a size, with as many pods, all of the present template and ready."""

    async def reached() -> bool:
        record, workload = await record_of(world, NAME), await world.get(kinds.STATEFUL_SET, NAME)
        if record is None or workload is None or await world.get(kinds.SERVICE, NAME) is None:  # made last
            return False
        if not (record.settled and record.size == size and changed(workload)):
            return False
        pods = list((await pods_of(world, NAME)).values())
        same = {pod["metadata"]["annotations"][names.ANNOTATION_TEMPLATE_HASH] for pod in pods}
        return (
            workload["spec"]["replicas"] == len(pods) == size
            and same == {template_of(workload)}
            and all(map(ready_of, pods))
            and all(kubelet.replica(ordinal).volume.record == record for ordinal in range(size))
        )

    return reached


async def test_it_dies_after_each_act(world: World, kubelet: Kubelet, connection: Connection) -> None:
    await world.make(NAME, state=STATE, replicas=2)
    deaths = await drive(connection, world, at(world, kubelet, 2))
    assert deaths > 10, "each child, the token, the record and each telling is an act"
    kubelet.replica(1).volume.sessions = 5
    await world.change(NAME, replicas=3)
    assert await drive(connection, world, at(world, kubelet, 3)) > 3
    await world.change(NAME, replicas=1)
    assert await drive(connection, world, at(world, kubelet, 1)) > 3
    assert kubelet.replica(0).volume.sessions == 5
    # A new version and a larger volume at once, with the next resize on top.
    before = await world.appears(kinds.STATEFUL_SET, NAME)
    await world.change(NAME, replicas=2, resources={"cpu": "2"}, state={"volume": {"size": "2Gi"}})

    def grown(found: Manifest) -> bool:
        [claim] = found["spec"]["volumeClaimTemplates"]
        return bool(
            template_of(found) != template_of(before) and claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
        )

    assert await drive(connection, world, at(world, kubelet, 2, grown)) > 5
    assert sum(kubelet.replica(ordinal).volume.sessions for ordinal in range(2)) == 5


async def test_it_dies_while_a_version_that_cannot_read_the_state_is_put_back(
    world: World, kubelet: Kubelet, connection: Connection
) -> None:
    def good(found: Manifest) -> bool:
        return bool(found["metadata"]["annotations"].get(names.ANNOTATION_GOOD_TEMPLATE) == template_of(found))

    def put_back(found: Manifest) -> bool:
        return good(found) and names.ANNOTATION_FAILED_TEMPLATE in found["metadata"]["annotations"]

    await world.make(NAME, state=STATE, replicas=2)
    await drive(connection, world, at(world, kubelet, 2, good), acts=10**6)
    for replica in kubelet.replicas.values():
        replica.volume.sessions = 3
    kubelet.reads_only.add(template_of(await world.appears(kinds.STATEFUL_SET, NAME)))
    before = await pods_of(world, NAME)
    await world.change(NAME, resources={"cpu": "3"})
    assert await drive(connection, world, at(world, kubelet, 2, put_back)) > 3, "marks, two templates, two evictions"
    after = await pods_of(world, NAME)
    touched = [o for o in (0, 1) if after[o]["metadata"]["uid"] != before[o]["metadata"]["uid"]]
    assert touched == [1], "a second replica was touched"
    assert [kubelet.replica(ordinal).volume.boot for ordinal in (0, 1)] == [1, 3]


async def test_two_at_once_give_no_epoch_away_twice(
    world: World, kubelet: Kubelet, connection: Connection, long: bool
) -> None:
    dice = random.Random(20261123)
    await world.make(NAME, state=STATE, replicas=1)
    one, other = Life(connection, 10**6), Life(connection, 10**6)
    async with one.kube, one.peers, other.kube, other.peers:
        await one.look()
        await other.look()
        for size in (2, 1, 3, 1, *([3, 2, 1] * 10 if long else [])):
            await world.change(NAME, replicas=size)
            goal = at(world, kubelet, size)
            while not await goal():
                # One that has not looked for long acts on what was.
                life = dice.choice([one, other])
                if dice.random() < 0.6:
                    await life.look()
                key = Key(world.namespace, NAME)
                if dice.random() < 0.3:
                    await asyncio.gather(one.round(key), other.round(key))
                else:
                    await life.round(key)
    assert len(kubelet.heard) > 4


async def test_of_two_decisions_for_one_epoch_one_is_kept(
    world: World, kubelet: Kubelet, connection: Connection
) -> None:
    await world.make(NAME, state=STATE, replicas=3)
    await drive(connection, world, at(world, kubelet, 3), acts=10**6)
    before, key = await record_of(world, NAME), Key(world.namespace, NAME)
    assert before is not None
    kubelet.hands_over = False
    kubelet.replica(2).volume.sessions = 1
    lives = [Life(connection, 10**6), Life(connection, 10**6)]
    async with lives[0].kube, lives[0].peers, lives[1].kube, lives[1].peers:
        # The first one is held up after it has looked; meanwhile another leads, and the user wants something else.
        for size, life in zip((2, 1), lives, strict=True):
            await world.change(NAME, replicas=size)
            await life.look()
        # At once: each asks the replicas before the other has told them anything.
        await asyncio.gather(*[life.round(key) for life in lives])
    kept = await record_of(world, NAME)
    assert kept is not None
    assert (kept.epoch, kept.past) == (before.epoch + 1, (3,))
    assert kubelet.heard[kept.epoch] == kept


async def test_a_record_that_was_kept_and_told_to_nobody_is_told(
    world: World, kubelet: Kubelet, connection: Connection
) -> None:
    await world.make(NAME, state=STATE, replicas=1)
    await drive(connection, world, at(world, kubelet, 1), acts=10**6)
    kept = await record_of(world, NAME)
    assert kept is not None
    kubelet.replica(0).volume.record = None  # as a replica that was started before there was a record
    await drive(connection, world, at(world, kubelet, 1))
    assert kubelet.replica(0).volume.record == kept
