"""The cache keeps the newest, and nothing that is gone."""

from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.cluster.cache import Cache, key_of
from mooring_operator.cluster.kinds import Kind
from mooring_operator.facts import Key, Manifest, ObjectKey

KEY = Key("models", "sentiment")


def cache() -> Cache:
    """A cache that has listed every kind, and found nothing."""
    made = Cache()
    made.begin(kinds.WATCHED)
    return made


def obj(kind: Kind, version: int, *, uid: str = "1", owner: str = "", **fields: Any) -> Manifest:
    meta: Manifest = {"name": KEY.name, "namespace": KEY.namespace, "uid": uid, "resourceVersion": str(version)}
    meta |= {"labels": {names.LABEL_SERVICE: KEY.name}, "generation": 1} | fields.pop("meta", {})
    if owner:
        meta["ownerReferences"] = [{"kind": "X", "name": "x", "uid": owner, "controller": True}]
    spec: Manifest = {"template": {"metadata": {}, "spec": {"containers": []}}} if kind is kinds.DEPLOYMENT else {}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "spec": spec, **fields}


def test_an_older_version_never_replaces_a_newer_one() -> None:
    seen = cache()
    assert seen.put(kinds.SERVICE, obj(kinds.SERVICE, 12))
    # Text order would say that "9" is newer.
    assert not seen.put(kinds.SERVICE, obj(kinds.SERVICE, 9))
    assert not seen.put(kinds.SERVICE, obj(kinds.SERVICE, 12))
    assert seen.put(kinds.SERVICE, obj(kinds.SERVICE, 100))


def test_what_was_deleted_stays_deleted_when_a_late_answer_comes() -> None:
    seen = cache()
    seen.put(kinds.SERVICE, obj(kinds.SERVICE, 10))
    assert seen.drop(kinds.SERVICE, obj(kinds.SERVICE, 12))
    assert not seen.put(kinds.SERVICE, obj(kinds.SERVICE, 11))
    assert seen.get(kinds.SERVICE, *KEY) is None
    # Another object of that name is another object.
    assert seen.put(kinds.SERVICE, obj(kinds.SERVICE, 13, uid="2"))


def test_a_late_deletion_does_not_remove_what_came_back() -> None:
    seen = cache()
    seen.put(kinds.SERVICE, obj(kinds.SERVICE, 10))
    # It lost our label at 11, which the watch calls a deletion, and our own write at 12 was answered first.
    seen.put(kinds.SERVICE, obj(kinds.SERVICE, 12))
    assert not seen.drop(kinds.SERVICE, obj(kinds.SERVICE, 11))
    assert seen.get(kinds.SERVICE, *KEY) is not None


def test_children_are_those_of_the_controller() -> None:
    seen = cache()
    seen.put(kinds.SERVICE, obj(kinds.SERVICE, 1, uid="s", owner="mine"))
    seen.put(kinds.DEPLOYMENT, obj(kinds.DEPLOYMENT, 2, uid="d", owner="mine"))
    seen.put(kinds.SERVICE_ACCOUNT, obj(kinds.SERVICE_ACCOUNT, 3, uid="a", owner="theirs"))
    seen.put(kinds.NETWORK_POLICY, obj(kinds.NETWORK_POLICY, 4, uid="n"))
    assert list(seen.children("mine")) == [ObjectKey("Deployment", KEY.name), ObjectKey("Service", KEY.name)]
    # A child whose owner is taken away is no child any more.
    seen.put(kinds.SERVICE, obj(kinds.SERVICE, 5, uid="s"))
    assert list(seen.children("mine")) == [ObjectKey("Deployment", KEY.name)]
    seen.drop(kinds.DEPLOYMENT, obj(kinds.DEPLOYMENT, 6, uid="d"))
    assert seen.children("mine") == {}


def test_pods_are_found_by_label() -> None:
    seen = cache()
    for number in (2, 1):
        seen.put(kinds.POD, obj(kinds.POD, number, uid=str(number), meta={"name": f"pod-{number}"}, status={}))
    assert [entry.manifest["metadata"]["name"] for entry in seen.pods(KEY)] == ["pod-1", "pod-2"]
    seen.drop(kinds.POD, obj(kinds.POD, 3, uid="1", meta={"name": "pod-1"}))
    assert [entry.uid for entry in seen.pods(KEY)] == ["2"]


def test_claims_are_found_by_label_and_outlive_the_service() -> None:
    seen = cache()
    storage = {"resources": {"requests": {"storage": "1Gi"}}}
    claim = obj(kinds.PERSISTENT_VOLUME_CLAIM, 1, meta={"name": "sessions-sentiment-0"}, status={"phase": "Bound"})
    seen.put(kinds.PERSISTENT_VOLUME_CLAIM, {**claim, "spec": storage})
    [found] = seen.claims(KEY)
    assert found.manifest["spec"] == storage
    assert found.manifest["status"] == {"phase": "Bound", "conditions": []}
    assert seen.pods(KEY) == []
    seen.drop(kinds.INFERENCE_SERVICE, obj(kinds.INFERENCE_SERVICE, 2, uid="s"))
    assert [entry.uid for entry in seen.claims(KEY)] == ["1"]


def test_an_event_names_the_service_that_it_concerns() -> None:
    seen = cache()
    assert seen.feed(kinds.SERVICE, False, obj(kinds.SERVICE, 1)) == KEY
    assert seen.feed(kinds.SERVICE, False, obj(kinds.SERVICE, 1)) is None
    assert seen.feed(kinds.SERVICE, True, obj(kinds.SERVICE, 2)) == KEY
    assert seen.feed(kinds.SERVICE, True, obj(kinds.SERVICE, 2)) is None
    assert seen.feed(kinds.LEASE, False, obj(kinds.LEASE, 3)) is None  # of a kind that is not watched


def test_the_echo_of_our_own_status_concerns_nobody() -> None:
    seen = cache()
    kind = kinds.INFERENCE_SERVICE
    assert seen.feed(kind, False, obj(kind, 1)) == KEY
    assert seen.feed(kind, False, obj(kind, 2, status={"replicas": 1})) is None
    assert seen.get(kind, *KEY) == seen.service(KEY)
    assert (seen.service(KEY) or {}).get("status") == {"replicas": 1}
    assert seen.feed(kind, False, obj(kind, 3, meta={"generation": 2})) == KEY
    assert seen.feed(kind, False, obj(kind, 4, meta={"generation": 2, "deletionTimestamp": "now"})) == KEY
    assert seen.feed(kind, False, obj(kind, 5, uid="2", meta={"generation": 2})) == KEY
    # No generation tells of what a person wrote beside the spec.
    given_up = {"annotations": {names.ANNOTATION_ABANDON_STORE: "s1", "example.com/x": "y"}}
    assert seen.feed(kind, False, obj(kind, 6, uid="2", meta={"generation": 2, **given_up})) == KEY
    assert (seen.service(KEY) or {})["metadata"]["annotations"] == {names.ANNOTATION_ABANDON_STORE: "s1"}


def test_a_child_that_says_nothing_new_concerns_nobody() -> None:
    seen = cache()
    kind = kinds.DEPLOYMENT
    assert seen.feed(kind, False, obj(kind, 1, status={"replicas": 1})) == KEY
    others = [{"manager": "someone", "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": {"f:team": {}}}}}]
    assert seen.feed(kind, False, obj(kind, 2, status={"replicas": 1}, meta={"managedFields": others})) is None
    assert seen.feed(kind, False, obj(kind, 3, status={"replicas": 2})) == KEY
    ours = [{"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    assert seen.feed(kind, False, obj(kind, 4, status={"replicas": 2}, meta={"managedFields": ours})) == KEY


def test_the_answer_to_our_write_is_expected_once_more() -> None:
    seen = cache()
    seen.keep(kinds.SERVICE, obj(kinds.SERVICE, 7))
    assert seen.get(kinds.SERVICE, *KEY) is not None
    assert seen.echoes.take("services", b'{"object":{"metadata":{"resourceVersion":"7"}}}')


def test_a_service_is_confirmed_by_what_the_server_says() -> None:
    seen = cache()
    kind = kinds.INFERENCE_SERVICE
    assert not seen.confirmed("1", within=60)
    seen.put(kind, obj(kind, 1))
    assert seen.confirmed("1", within=60)
    assert not seen.confirmed("1", within=-1)
    seen.drop(kind, obj(kind, 2))
    assert not seen.confirmed("1", within=60)


def test_a_service_keeps_what_is_known_of_it_while_it_changes() -> None:
    seen = cache()
    kind = kinds.INFERENCE_SERVICE
    seen.put(kind, obj(kind, 1))
    seen.foreign["1"] = {ObjectKey("Service", KEY.name): "nobody"}
    seen.put(kind, obj(kind, 2))
    assert seen.foreign
    seen.drop(kind, obj(kind, 3))
    assert not seen.foreign


def test_of_a_whole_object_only_what_is_read_is_kept() -> None:
    seen = cache()
    fields = {"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    deployment = obj(kinds.DEPLOYMENT, 1, meta={"managedFields": [fields], "annotations": {"example.com/x": "y"}})
    seen.put(kinds.DEPLOYMENT, deployment)
    entry = seen.entry(kinds.DEPLOYMENT, *KEY)
    assert entry is not None
    assert "managedFields" not in entry.manifest["metadata"]
    assert entry.manifest["metadata"]["annotations"] == {}
    assert "spec" not in entry.manifest["spec"]["template"]
    assert entry.fields == '{"f:spec":{"f:replicas":{}}}'
    assert entry.replicas_managers == {names.FIELD_MANAGER}


@pytest.mark.parametrize(("target", "news"), [("Deployment", False), (names.KIND, True)])
def test_what_an_autoscaler_measures_is_news_only_where_it_is_believed(target: str, news: bool) -> None:
    def hpa(version: int, load: str, cpu: int, active: str = "True") -> Manifest:
        metrics = [
            {"type": "External", "external": {"current": {"averageValue": load}}},
            {"type": "ContainerResource", "containerResource": {"current": {"averageUtilization": cpu}}},
        ]
        conditions = [{"type": "ScalingActive", "status": active}, {"type": "AbleToScale", "reason": load}]
        status = {"conditions": conditions, "currentMetrics": metrics, "currentReplicas": version}
        found = obj(kinds.HORIZONTAL_POD_AUTOSCALER, version, status=status)
        return {**found, "spec": {"scaleTargetRef": {"kind": target}, "metrics": []}}

    seen = cache()
    assert seen.feed(kinds.HORIZONTAL_POD_AUTOSCALER, False, hpa(1, "1", 50)) == KEY
    assert (seen.feed(kinds.HORIZONTAL_POD_AUTOSCALER, False, hpa(2, "2", 50)) == KEY) is news
    assert seen.feed(kinds.HORIZONTAL_POD_AUTOSCALER, False, hpa(3, "2", 60)) == KEY
    assert seen.feed(kinds.HORIZONTAL_POD_AUTOSCALER, False, hpa(4, "2", 60, "False")) == KEY


def test_nodes_concern_no_service() -> None:
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "now"}
    node = obj(kinds.NODE, 1, status={"allocatable": {"cpu": "4"}, "conditions": [ready, {"type": "DiskPressure"}]})
    assert key_of(kinds.NODE, node) is None
    seen = cache()
    assert seen.feed(kinds.NODE, False, node) is None
    assert [found["status"] for found in seen.nodes()] == [
        {"allocatable": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}]}
    ]
