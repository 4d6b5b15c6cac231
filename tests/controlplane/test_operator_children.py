"""Children on a real API server: made, kept as they must be, left alone where not ours, and gone in the end."""

import pytest

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.cluster.contest import LIMIT
from mooring_operator.cluster.kinds import Kind
from mooring_operator.facts import Manifest
from tests.support.world import World, condition, eventually

SCALED = {"scaling": {"maxReplicas": 4, "cpu": {"target": 50}}}
CHILDREN = [
    kinds.SERVICE_ACCOUNT,
    kinds.NETWORK_POLICY,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.SERVICE,
    kinds.DEPLOYMENT,
    kinds.HORIZONTAL_POD_AUTOSCALER,
]
QUOTA = Kind("", "v1", "resourcequotas", "ResourceQuota")
pytestmark = pytest.mark.usefixtures("leading")


def by_kind(kind: Kind) -> str:
    return kind.kind


async def made(world: World, name: str, children: list[Kind]) -> dict[Kind, Manifest]:
    return {kind: await world.appears(kind, name) for kind in children}


async def test_a_service_gets_its_children(world: World) -> None:
    service = await world.make("full", **SCALED)
    for child in (await made(world, "full", CHILDREN)).values():
        [owner] = child["metadata"]["ownerReferences"]
        assert owner["uid"] == service["metadata"]["uid"]
        assert owner["controller"] is True
    told = await world.settled("full")
    # Nothing but the status was written on the user's object: no finalizer, no annotation, no label.
    assert told["metadata"].keys() == service["metadata"].keys()
    assert told["spec"] == service["spec"]


@pytest.mark.parametrize("kind", CHILDREN, ids=by_kind)
async def test_a_deleted_child_comes_back(kind: Kind, world: World) -> None:
    await world.make("back", **SCALED)
    before = (await made(world, "back", CHILDREN))[kind]
    await world.delete(kind, "back")
    after = await world.becomes(
        kind, "back", lambda found: found["metadata"]["uid"] != before["metadata"]["uid"], "is a new one"
    )
    assert ours(after) == ours(before)


def ours(child: Manifest) -> dict[str, str]:
    """The annotations that we wrote."""
    annotations = child["metadata"]["annotations"]
    return {key: value for key, value in annotations.items() if key.startswith(f"{names.GROUP}/")}


DRIFT: dict[Kind, Manifest] = {
    kinds.SERVICE_ACCOUNT: {"automountServiceAccountToken": True},
    kinds.NETWORK_POLICY: {"spec": {"ingress": [{}]}},
    kinds.POD_DISRUPTION_BUDGET: {"spec": {"maxUnavailable": 7}},
    kinds.SERVICE: {"spec": {"selector": {names.LABEL_COMPONENT: "another"}}},
    kinds.DEPLOYMENT: {"spec": {"replicas": 9, "template": {"spec": {"serviceAccountName": "default"}}}},
}


@pytest.mark.parametrize("kind", DRIFT, ids=by_kind)
async def test_drift_of_our_fields_is_reverted(kind: Kind, world: World) -> None:
    await world.make("drift")
    before = await world.appears(kind, "drift")
    await world.settled("drift")
    await world.patch(kind, "drift", DRIFT[kind])
    owned = {key: before[key] for key in before.keys() - {"metadata", "status"}}

    def as_before(found: Manifest) -> bool:
        return {key: found[key] for key in owned} == owned

    await world.becomes(kind, "drift", as_before, "is as it was")


@pytest.mark.parametrize("kind", CHILDREN, ids=by_kind)
async def test_a_lost_label_comes_back(kind: Kind, world: World) -> None:
    # It takes the object out of our watch: it must not be lost from sight, nor be taken for someone else's.
    await world.make("label", **SCALED)
    before = await world.appears(kind, "label")
    await world.settled("label")
    await world.patch(kind, "label", {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}})
    after = await world.becomes(
        kind, "label", lambda found: names.LABEL_MANAGED_BY in found["metadata"]["labels"], "has our label"
    )
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_a_fight_over_a_field_is_bounded_and_told(world: World) -> None:
    await world.make("fight")
    await world.appears(kinds.DEPLOYMENT, "fight")
    await world.settled("fight")
    for number in range(LIMIT):
        await world.patch(kinds.DEPLOYMENT, "fight", {"spec": {"replicas": 9}}, "rival")
        await world.becomes(
            kinds.DEPLOYMENT, "fight", lambda found: found["spec"]["replicas"] == 1, f"is put back {number}"
        )
    await world.patch(kinds.DEPLOYMENT, "fight", {"spec": {"replicas": 9}}, "rival")

    def told(found: Manifest) -> bool:
        return condition(found, "Stalled").get("reason") == "FieldConflict"

    service = await world.becomes(kinds.INFERENCE_SERVICE, "fight", told, "says that it is contested")
    assert "rival" in condition(service, "Stalled")["message"]
    assert (await world.appears(kinds.DEPLOYMENT, "fight"))["spec"]["replicas"] == 9


async def test_fields_of_others_stay(world: World) -> None:
    await world.make("shared")
    await world.appears(kinds.DEPLOYMENT, "shared")
    await world.settled("shared")
    theirs = {
        "metadata": {"labels": {"team": "red"}, "annotations": {"example.com/note": "kept"}},
        "spec": {"template": {"metadata": {"annotations": {"sidecar.example.com/inject": "true"}}}},
    }
    await world.patch(kinds.DEPLOYMENT, "shared", theirs)
    await world.patch(kinds.SERVICE, "shared", {"metadata": {"annotations": {"example.com/balancer": "internal"}}})
    await world.change("shared", resources={"cpu": "2"})

    def changed(found: Manifest) -> bool:
        [server] = found["spec"]["template"]["spec"]["containers"]
        return bool(server["resources"]["requests"]["cpu"] == "2")

    found = await world.becomes(kinds.DEPLOYMENT, "shared", changed, "has the new resources")
    assert found["metadata"]["labels"]["team"] == "red"
    assert found["metadata"]["annotations"]["example.com/note"] == "kept"
    assert found["spec"]["template"]["metadata"]["annotations"]["sidecar.example.com/inject"] == "true"
    service = await world.appears(kinds.SERVICE, "shared")
    assert service["metadata"]["annotations"]["example.com/balancer"] == "internal"


async def test_replicas_pass_to_the_autoscaler_and_back(world: World) -> None:
    def count(found: Manifest) -> int:
        number: int = found["spec"]["replicas"]
        return number

    await world.make("passed", replicas=3)
    await world.becomes(kinds.DEPLOYMENT, "passed", lambda found: count(found) == 3, "has 3 replicas")
    await world.change("passed", **SCALED)
    await world.appears(kinds.HORIZONTAL_POD_AUTOSCALER, "passed")
    await world.settled("passed")
    assert count(await world.appears(kinds.DEPLOYMENT, "passed")) == 3  # and not the default of the API, which is 1
    # The autoscaler writes by /scale; what it has set stays through our next change of the same Deployment.
    await world.patch(kinds.DEPLOYMENT, "passed", {"spec": {"replicas": 2}}, "horizontal-pod-autoscaler")
    await world.change("passed", resources={"cpu": "2"})
    await world.becomes(
        kinds.DEPLOYMENT,
        "passed",
        lambda found: found["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "2",
        "has the new resources",
    )
    assert count(await world.appears(kinds.DEPLOYMENT, "passed")) == 2
    await world.change("passed", scaling=None, replicas=4)
    await world.becomes(kinds.DEPLOYMENT, "passed", lambda found: count(found) == 4, "has 4 replicas")
    await world.vanishes(kinds.HORIZONTAL_POD_AUTOSCALER, "passed")


@pytest.mark.parametrize("kind", [kinds.SERVICE_ACCOUNT, kinds.SERVICE, kinds.DEPLOYMENT], ids=by_kind)
async def test_an_object_of_the_user_is_not_taken_over(kind: Kind, world: World) -> None:
    theirs = await world.kube.create(kind, users_object(kind, "mine", world.namespace))
    await world.make("mine")

    def refused(found: Manifest) -> bool:
        return condition(found, "Stalled").get("reason") == "NameTaken"

    service = await world.becomes(kinds.INFERENCE_SERVICE, "mine", refused, "is stalled by the name")
    assert f"{kind.kind} 'mine'" in condition(service, "Stalled")["message"]
    now = await world.appears(kind, "mine")
    for part in ("spec", "automountServiceAccountToken"):
        assert now.get(part) == theirs.get(part)
    assert "ownerReferences" not in now["metadata"]
    assert now["metadata"].get("labels") == theirs["metadata"].get("labels")
    # Once it is out of the way, the service is made.
    await world.delete(kind, "mine")
    ours = await world.becomes(kind, "mine", lambda found: bool(found["metadata"].get("ownerReferences")), "is ours")
    assert ours["metadata"]["uid"] != now["metadata"]["uid"]
    await world.becomes(
        kinds.INFERENCE_SERVICE, "mine", lambda found: condition(found, "Stalled").get("status") == "False", "goes on"
    )


def users_object(kind: Kind, name: str, namespace: str) -> Manifest:
    manifest: Manifest = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": namespace},
    }
    labels = {"app": "theirs"}
    if kind is kinds.SERVICE:
        manifest["spec"] = {"ports": [{"port": 80}], "selector": labels}
    if kind is kinds.DEPLOYMENT:
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "their", "image": "theirs:1"}]}}
        manifest["spec"] = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    return manifest


async def test_deleting_a_service_removes_every_child(world: World) -> None:
    await world.make("gone", **SCALED)
    await made(world, "gone", CHILDREN)
    await world.delete(kinds.INFERENCE_SERVICE, "gone")
    for kind in CHILDREN:
        await world.vanishes(kind, "gone")


async def test_a_service_of_the_same_name_at_once(world: World) -> None:
    await world.make("again", **SCALED)
    await made(world, "again", CHILDREN)
    await world.delete(kinds.INFERENCE_SERVICE, "again")
    await world.vanishes(kinds.INFERENCE_SERVICE, "again")
    service = await world.make("again", **SCALED)

    async def all_new() -> bool:
        found = [await world.get(kind, "again") for kind in CHILDREN]
        owners = [child["metadata"]["ownerReferences"][0]["uid"] for child in found if child is not None]
        return owners == [service["metadata"]["uid"]] * len(CHILDREN)

    await eventually("all children belong to the new service", all_new)
    told = await world.settled("again")
    assert condition(told, "Stalled")["status"] == "False"


async def test_a_refused_child_is_told_and_made_later(world: World) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"count/services": "0"}}}
    await world.kube.create(QUOTA, {**quota, "metadata": {"name": "none", "namespace": world.namespace}})

    async def counted() -> bool:
        return "used" in (await world.kube.get(QUOTA, world.namespace, "none")).get("status", {})

    await eventually("the quota is counted", counted)
    await world.make("refused")

    def stalled(found: Manifest) -> bool:
        return condition(found, "Stalled").get("status") == "True"

    told = condition(await world.becomes(kinds.INFERENCE_SERVICE, "refused", stalled, "is stalled"), "Stalled")
    assert told["reason"] == "ChildRefused"
    assert "exceeded quota" in told["message"]
    await world.delete(QUOTA, "none")
    await world.appears(kinds.SERVICE, "refused")
    await world.becomes(kinds.INFERENCE_SERVICE, "refused", lambda found: not stalled(found), "goes on")


async def test_a_suspended_service_is_left_as_it_stands(world: World) -> None:
    await world.make("still")
    await world.appears(kinds.DEPLOYMENT, "still")
    await world.change("still", suspend=True)
    await world.settled("still")
    await world.patch(kinds.DEPLOYMENT, "still", {"spec": {"replicas": 5}})
    await world.delete(kinds.SERVICE, "still")
    # What it does to another service tells that it has had the time.
    await world.make("other")
    await world.settled("other")
    assert (await world.appears(kinds.DEPLOYMENT, "still"))["spec"]["replicas"] == 5
    assert await world.get(kinds.SERVICE, "still") is None
    await world.change("still", suspend=False)
    await world.appears(kinds.SERVICE, "still")
    await world.becomes(kinds.DEPLOYMENT, "still", lambda found: found["spec"]["replicas"] == 1, "has 1 replica")


async def test_what_happens_is_told_in_events(world: World) -> None:
    await world.make("told")
    await world.settled("told")

    async def events() -> list[Manifest]:
        pages = world.kube.pages(kinds.EVENT, namespace=world.namespace, fields="involvedObject.name=told")
        found = [event async for page in pages for event in page]
        return [event for event in found if event["involvedObject"]["kind"] == names.KIND]

    [event, *_] = await eventually("an Event", events)
    assert event["reportingComponent"] == "mooring.dev/operator"
    assert event["type"] in {"Normal", "Warning"}
    said = [(event["reason"], event["message"]) for event in await events()]
    assert len(said) == len(set(said))
