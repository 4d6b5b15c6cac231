"""Stateful services on a real API server: made, resized, rolled out, grown, deleted and found again.

No node runs a pod: `Kubelet` plays kubelets and a storage driver, and each replica answers on a loopback address.
"""

from collections.abc import AsyncIterator, Callable

import pytest

from mooring_operator.api import names
from mooring_operator.api.membership import Record
from mooring_operator.cluster import kinds
from mooring_operator.cluster.errors import ConflictError
from mooring_operator.cluster.kinds import Kind
from mooring_operator.facts import Manifest
from tests.support.kubelet import Kubelet
from tests.support.stateful import STATE, pods_of, ready_of, record_of, said, serving, settled, template_of
from tests.support.world import World, condition, eventually

CHILDREN: list[tuple[Kind, str]] = [
    (kinds.SERVICE_ACCOUNT, ""),
    (kinds.NETWORK_POLICY, ""),
    (kinds.POD_DISRUPTION_BUDGET, ""),
    (kinds.STATEFUL_SET, ""),
    (kinds.SERVICE, ""),
    (kinds.SERVICE, "-peers"),
    (kinds.SERVICE, "-ready"),
    (kinds.SERVICE_ACCOUNT, "-router"),
    (kinds.NETWORK_POLICY, "-router"),
    (kinds.POD_DISRUPTION_BUDGET, "-router"),
    (kinds.CONFIG_MAP, "-router"),
    (kinds.DEPLOYMENT, "-router"),
]
pytestmark = [pytest.mark.usefixtures("leading", "growing_class"), pytest.mark.timeout(120)]


@pytest.fixture
async def kubelet(world: World) -> AsyncIterator[Kubelet]:
    """Runs the pods of the test's namespace."""
    async with Kubelet(world) as running:
        yield running


def replicas(count: int) -> Callable[[Manifest], bool]:
    return lambda found: bool(found["spec"]["replicas"] == count)


async def test_a_service_gets_its_children_and_its_first_record(world: World, kubelet: Kubelet) -> None:
    service = await world.make("talk", state=STATE, replicas=2)
    uid = service["metadata"]["uid"]
    for kind, suffix in CHILDREN:
        child = await world.appears(kind, f"talk{suffix}")
        [owner] = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (uid, True)
    record = await settled(world, 2)
    assert record.stores == {ordinal: kubelet.replica(ordinal).volume.store for ordinal in (0, 1)}
    told = await serving(world)
    assert [kubelet.replica(ordinal).volume.record for ordinal in (0, 1)] == [record, record]
    assert (told["status"]["replicas"], told["status"]["durable"]) == (2, True)
    assert told["metadata"].keys() == service["metadata"].keys()
    # What outlives the service belongs to nobody, and its claims are found by our labels.
    for kind, name in ((kinds.CONFIG_MAP, "talk-membership"), (kinds.SECRET, "talk-peer-token")):
        assert "ownerReferences" not in (await world.appears(kind, name))["metadata"]
    claim = await world.appears(kinds.PERSISTENT_VOLUME_CLAIM, "sessions-talk-0")
    assert (
        claim["metadata"]["labels"].items()
        >= {
            names.LABEL_MANAGED_BY: names.MANAGED_BY,
            names.LABEL_SERVICE: "talk",
        }.items()
    )


async def test_up_and_down_again(world: World, kubelet: Kubelet) -> None:
    await world.make("talk", state=STATE, replicas=1)
    first = await settled(world, 1)
    await world.change("talk", replicas=3)
    up = await settled(world, 3)
    assert up.epoch > first.epoch
    assert sorted(up.stores) == [0, 1, 2]
    kubelet.replica(2).volume.sessions = 5
    kubelet.hands_over = False
    await world.change("talk", replicas=1)

    async def shrinks() -> bool:
        record = await record_of(world)
        return record is not None and record.size == 1 and record.past == (3,)

    await eventually("the record is smaller at once", shrinks)
    draining = await world.becomes(
        kinds.INFERENCE_SERVICE,
        "talk",
        lambda found: found["status"].get("sessions", {}).get("draining") == 5,
        "counts what is on its way",
    )
    # Its sessions are still there: the pod stays, and the service is ready all the same.
    assert (await world.appears(kinds.STATEFUL_SET, "talk"))["spec"]["replicas"] == 3
    assert condition(draining, "Ready")["status"] == "True"
    kubelet.hands_over = True
    down = await settled(world, 1)
    assert down.epoch > up.epoch + 1
    assert list(down.stores) == [0]
    await world.becomes(kinds.STATEFUL_SET, "talk", replicas(1), "is lowered")
    assert kubelet.replica(0).volume.sessions == 5
    assert (await serving(world))["status"]["sessions"] == {"active": 5, "draining": 0, "atRisk": 0}


async def test_after_the_drains_time_the_stranded_are_named(world: World, kubelet: Kubelet) -> None:
    await world.make("talk", state={**STATE, "drainTimeout": "1s"}, replicas=2)
    await settled(world, 2)
    kubelet.replica(1).volume.sessions = 4
    kubelet.hands_over = False
    await world.change("talk", replicas=1)
    await world.becomes(kinds.STATEFUL_SET, "talk", replicas(1), "is lowered in the end")

    def named(found: Manifest) -> bool:
        return condition(found, "SessionsStranded").get("status") == "True"

    told = condition(await world.becomes(kinds.INFERENCE_SERVICE, "talk", named, "names them"), "SessionsStranded")
    assert "replica 1 (4 sessions)" in told["message"]
    await eventually("an Event names them", lambda: hears(world, "DrainTimedOut"))
    record = await record_of(world)
    assert record is not None
    assert record.past == (2,)
    # Back with its volume, it hands over.
    kubelet.hands_over = True
    await world.change("talk", replicas=2)
    await settled(world, 2)
    await world.becomes(kinds.INFERENCE_SERVICE, "talk", lambda found: not named(found), "has nobody stranded")


async def test_a_rollout_takes_one_at_a_time(world: World, kubelet: Kubelet) -> None:
    await world.make("talk", state=STATE, replicas=3)
    await settled(world, 3)
    await serving(world)
    before = {ordinal: pod["metadata"]["uid"] for ordinal, pod in (await pods_of(world)).items()}
    await world.change("talk", resources={"cpu": "2"})
    lowest = 3

    async def rolled() -> bool:
        nonlocal lowest
        pods = await pods_of(world)
        ready = [pod for pod in pods.values() if ready_of(pod)]
        lowest = min(lowest, len(ready))
        return len(ready) == 3 and all(pods[ordinal]["metadata"]["uid"] != uid for ordinal, uid in before.items())

    await eventually("every replica is a new pod", rolled, 40)
    assert lowest >= 2
    await serving(world)
    assert all(replica.volume.boot == 2 for replica in kubelet.replicas.values())


async def test_a_pod_that_has_taken_the_place_of_another_is_not_evicted_for_it(world: World, kubelet: Kubelet) -> None:
    await world.make("talk", state=STATE, replicas=1)
    await settled(world, 1)
    before = (await pods_of(world))[0]["metadata"]["uid"]

    def allows(found: Manifest) -> bool:
        return bool(found.get("status", {}).get("disruptionsAllowed") == 1)

    await world.becomes(kinds.POD_DISRUPTION_BUDGET, "talk", allows, "lets a pod go")
    with pytest.raises(ConflictError):
        await world.kube.evict(world.namespace, "talk-0", "00000000-0000-0000-0000-000000000000")
    assert (await pods_of(world))[0]["metadata"]["uid"] == before
    assert kubelet.ordinals == [0]


async def test_a_version_that_cannot_read_the_state_is_put_back(world: World, kubelet: Kubelet) -> None:
    await world.make("talk", state=STATE, replicas=2)
    await settled(world, 2)
    await serving(world)
    for replica in kubelet.replicas.values():
        replica.volume.sessions = 3
    good = template_of(await world.appears(kinds.STATEFUL_SET, "talk"))
    before = await pods_of(world)
    kubelet.reads_only.add(good)
    await world.change("talk", resources={"cpu": "3"})

    def stalled(found: Manifest) -> bool:
        return condition(found, "Stalled").get("reason") in {"RolledBack", "VersionRejected"}

    told = await world.becomes(kinds.INFERENCE_SERVICE, "talk", stalled, "is stalled", 40)
    assert "3 sessions whose state" in condition(told, "Stalled")["message"]

    async def back() -> bool:
        pods = await pods_of(world)
        hashes = [pod["metadata"]["annotations"][names.ANNOTATION_TEMPLATE_HASH] for pod in pods.values()]
        return hashes == [good, good] and all(map(ready_of, pods.values()))

    await eventually("the last good version is everywhere", back, 40)
    touched = [
        ordinal
        for ordinal, pod in (await pods_of(world)).items()
        if pod["metadata"]["uid"] != before[ordinal]["metadata"]["uid"]
    ]
    assert len(touched) == 1
    # A spec that reads them goes on.
    kubelet.reads_only.clear()
    await world.change("talk", resources={"cpu": "4"})
    await serving(world)


async def test_volumes_grow_under_their_pods(world: World, kubelet: Kubelet) -> None:
    await world.make("talk", state=STATE, replicas=2)
    await settled(world, 2)
    await serving(world)
    before = await pods_of(world)
    old = await world.appears(kinds.STATEFUL_SET, "talk")
    await world.change("talk", state={"volume": {"size": "2Gi"}})

    def anew(found: Manifest) -> bool:
        [claim] = found["spec"]["volumeClaimTemplates"]
        return bool(
            found["metadata"]["uid"] != old["metadata"]["uid"]
            and claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
        )

    await world.becomes(kinds.STATEFUL_SET, "talk", anew, "is made anew")
    for ordinal in (0, 1):
        claim = await world.appears(kinds.PERSISTENT_VOLUME_CLAIM, f"sessions-talk-{ordinal}")
        assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    await serving(world)
    after = await pods_of(world)
    assert {o: pod["metadata"]["uid"] for o, pod in after.items()} == {
        o: pod["metadata"]["uid"] for o, pod in before.items()
    }


async def test_deleted_and_applied_again_it_goes_on(world: World, kubelet: Kubelet) -> None:
    await world.make("talk", state=STATE, replicas=2)
    before = await settled(world, 2)
    kubelet.replica(1).volume.sessions = 7
    await world.delete(kinds.INFERENCE_SERVICE, "talk")
    for kind, suffix in CHILDREN:
        await world.vanishes(kind, f"talk{suffix}")
    await eventually("no replica runs", lambda: _true(kubelet.ordinals == []))
    assert await record_of(world) == before
    await world.make("talk", state=STATE, replicas=3)
    after = await settled(world, 3)
    assert after.epoch > before.epoch
    assert after.stores.items() >= before.stores.items()
    assert (await serving(world))["status"]["sessions"]["active"] == 7


async def test_deleted_with_its_volumes_and_applied_at_once_it_begins_anew(world: World, kubelet: Kubelet) -> None:
    state = {**STATE, "retention": {"whenDeleted": "Delete"}}
    await world.make("talk", state=state, replicas=2)
    before = await settled(world, 2)
    kubelet.replica(1).volume.sessions = 7
    await world.delete(kinds.INFERENCE_SERVICE, "talk")
    await world.make("talk", state=state, replicas=2)

    async def anew() -> Record | None:
        record = await record_of(world)
        return record if record is not None and not set(record.stores.values()) & set(before.stores.values()) else None

    record = await eventually("a record with the new volumes", anew)
    told = await serving(world)
    assert (record.epoch, told["status"]["sessions"]["active"]) == (1, 0)
    assert condition(told, "AtRisk")["status"] == "False"


async def hears(world: World, *reasons: str) -> bool:
    """Whether somebody who looks at the service hears of it."""
    return {("Warning", reason) for reason in reasons} <= await said(world)


async def _true(value: bool) -> bool:
    return value


async def test_a_record_that_is_lost_is_taken_over_from_the_replicas(world: World, kubelet: Kubelet) -> None:
    await world.make("talk", state=STATE, replicas=2)
    before = await settled(world, 2)
    await serving(world)
    await world.delete(kinds.CONFIG_MAP, "talk-membership")
    after = await settled(world, 2)
    assert after.epoch >= before.epoch
    assert after.stores == before.stores


async def test_a_volume_that_is_lost_waits_for_a_person(world: World, kubelet: Kubelet) -> None:
    await world.make("talk", state=STATE, replicas=2)
    before = await settled(world, 2)
    await serving(world)
    kubelet.replica(1).volume.sessions = 3
    # The disk is gone: the same claim, an empty store.
    await kubelet.lose_volume(1, "talk")

    def at_risk(found: Manifest) -> bool:
        return condition(found, "AtRisk").get("reason") == "VolumeReplaced"

    told = await world.becomes(kinds.INFERENCE_SERVICE, "talk", at_risk, "tells of it")
    assert f"mooring.dev/abandon-store: {before.stores[1]}" in condition(told, "AtRisk")["message"]
    given_up = {"metadata": {"annotations": {names.ANNOTATION_ABANDON_STORE: before.stores[1]}}}
    await world.patch(kinds.INFERENCE_SERVICE, "talk", given_up)

    async def gone_on() -> bool:
        record = await record_of(world)
        return record is not None and record.lost == (before.stores[1],) and record.stores[1] != before.stores[1]

    await eventually("the new store is named", gone_on)
    await eventually("an Event says what was lost", lambda: hears(world, "VolumeReplaced", "SessionsLost"))
    await serving(world)


@pytest.mark.parametrize(("kind", "suffix"), [*CHILDREN, (kinds.CONFIG_MAP, "-membership")], ids=str)
async def test_an_object_of_the_user_is_not_taken_over(kind: Kind, suffix: str, world: World) -> None:
    name = f"talk{suffix}"
    theirs = await world.kube.create(kind, users_object(kind, name, world.namespace))
    async with Kubelet(world):
        await world.make("talk", state=STATE)

        def refused(found: Manifest) -> bool:
            return condition(found, "Stalled").get("reason") == "NameTaken"

        told = await world.becomes(kinds.INFERENCE_SERVICE, "talk", refused, "is stalled by the name")
    assert f"{kind.kind} '{name}'" in condition(told, "Stalled")["message"]
    now = await world.appears(kind, name)
    assert "ownerReferences" not in now["metadata"]
    for part in ("spec", "data", "automountServiceAccountToken"):
        assert now.get(part) == theirs.get(part)


def users_object(kind: Kind, name: str, namespace: str) -> Manifest:
    meta = {"name": name, "namespace": namespace}
    manifest: Manifest = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}
    labels = {"app": "theirs"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "their", "image": "theirs:1"}]}}
    specs: dict[Kind, Manifest] = {
        kinds.SERVICE: {"ports": [{"port": 80}], "selector": labels},
        kinds.DEPLOYMENT: {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
        kinds.STATEFUL_SET: {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": pod,
            "serviceName": "theirs",
        },
        kinds.NETWORK_POLICY: {"podSelector": {"matchLabels": labels}},
        kinds.POD_DISRUPTION_BUDGET: {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
    }
    if kind in specs:
        manifest["spec"] = specs[kind]
    return manifest
