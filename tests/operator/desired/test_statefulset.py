"""The replicas of a service with sessions: their StatefulSet, volumes, names and variables."""

from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.facts import Manifest, Service, Step
from tests.support import builders, golden


def stateful(**state: Any) -> Service:
    return builders.service(state={"volume": {"size": "20Gi"}, **state})


def one(kind: str, service: Service, step: Step | None = None, name: str = builders.NAME, **cluster: Any) -> Manifest:
    children = desired.children(service, builders.cluster(**cluster), step or Step(replicas=1))
    [found] = [child for child in children if (child["kind"], child["metadata"]["name"]) == (kind, name)]
    return found


def workload(service: Service, step: Step | None = None) -> Manifest:
    spec: Manifest = one("StatefulSet", service, step)["spec"]
    return spec


def pod(service: Service) -> Manifest:
    spec: Manifest = workload(service)["template"]["spec"]
    return spec


def variables(service: Service) -> dict[str, Any]:
    [server] = pod(service)["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in server["env"]}


def claim(service: Service, step: Step | None = None) -> Manifest:
    [found] = workload(service, step)["volumeClaimTemplates"]
    made: Manifest = found
    return made


def test_replicas_come_up_side_by_side_and_are_rolled_by_us_alone() -> None:
    spec = workload(stateful(), Step(replicas=5))
    assert (spec["podManagementPolicy"], spec["updateStrategy"]) == ("Parallel", {"type": "OnDelete"})
    assert (spec["replicas"], spec["serviceName"]) == (5, "sentiment-peers")


def test_volumes_outlive_the_service_unless_told_otherwise() -> None:
    policy = "persistentVolumeClaimRetentionPolicy"
    assert workload(stateful())[policy] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    gone = stateful(retention={"whenDeleted": "Delete", "whenScaled": "Delete"})
    assert workload(gone)[policy] == {"whenDeleted": "Delete", "whenScaled": "Delete"}


def test_a_volume_is_of_one_pod_where_that_was_observed() -> None:
    assert claim(stateful())["spec"]["accessModes"] == ["ReadWriteOnce"]
    step = Step(replicas=1, access_mode="ReadWriteOncePod")
    assert claim(stateful(), step)["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_the_claim_has_the_size_that_the_step_keeps() -> None:
    assert claim(stateful())["spec"]["resources"] == {"requests": {"storage": "20Gi"}}
    kept = claim(stateful(volume={"size": "40Gi"}), Step(replicas=1, volume_size="20Gi"))
    assert kept["spec"]["resources"] == {"requests": {"storage": "20Gi"}}


def test_a_class_is_named_only_where_the_user_did() -> None:
    assert "storageClassName" not in claim(stateful())["spec"]
    assert claim(stateful(volume={"size": "1Gi", "storageClassName": "fast"}))["spec"]["storageClassName"] == "fast"


def test_a_claim_is_found_by_our_labels() -> None:
    labels = claim(stateful())["metadata"]["labels"]
    assert labels[names.LABEL_SERVICE] == "sentiment"
    assert labels[names.LABEL_MANAGED_BY] == names.MANAGED_BY


def test_the_hash_is_of_the_template_and_not_of_replicas_volumes_or_the_router() -> None:
    cluster = builders.cluster()
    plain = desired.template_hash(stateful(), cluster)
    grown = builders.service(replicas=9, state={"volume": {"size": "99Gi"}, "retention": {"whenScaled": "Delete"}})
    assert desired.template_hash(grown, cluster) == plain
    assert desired.template_hash(stateful(), builders.cluster(domain="", ipv6=True)) == plain
    assert desired.template_hash(stateful(sessionTTL="1h"), cluster) != plain
    assert one("StatefulSet", stateful())["metadata"]["annotations"] == {names.ANNOTATION_TEMPLATE_HASH: plain}


def test_a_revision_that_is_put_back_is_no_patch_any_more() -> None:
    case = golden.case("stateful-rolled-back")
    [found] = [child for child in case.children() if child["kind"] == "StatefulSet"]
    assert found["metadata"]["annotations"] == {names.ANNOTATION_TEMPLATE_HASH: "0123456789ab"}
    assert "$patch" not in found["spec"]["template"]


def test_each_replica_knows_its_number_and_the_way_to_the_others() -> None:
    found = variables(stateful())
    assert found["MOORING_ORDINAL"] == {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
    assert found["MOORING_PEER_ADDRESS"] == "http://sentiment-{ordinal}.sentiment-peers.models.svc:8003"
    peers = one("Service", stateful(), name="sentiment-peers")["spec"]
    assert (peers["clusterIP"], peers["publishNotReadyAddresses"]) == ("None", True)
    assert {port["port"] for port in peers["ports"]} >= {8003}


@pytest.mark.parametrize(
    ("state", "variable", "expected"),
    [
        ({}, "MOORING_SESSION_DURABILITY", "step"),
        ({}, "MOORING_SESSION_INTERVAL", None),
        ({"durability": {"mode": "interval", "interval": "50ms"}}, "MOORING_SESSION_DURABILITY", "interval"),
        ({"durability": {"mode": "interval", "interval": "1s500ms"}}, "MOORING_SESSION_INTERVAL", "1.5s"),
        ({}, "MOORING_SESSION_TTL", "24h"),
        ({"sessionTTL": "8760h"}, "MOORING_SESSION_TTL", "8760h"),
        ({"sessionTTL": "1h0.5m"}, "MOORING_SESSION_TTL", "3630s"),
        ({}, "MOORING_STATE_VERSION", None),
        ({"stateVersion": "2"}, "MOORING_STATE_VERSION", "2"),
        ({"converter": "up.onnx"}, "MOORING_STATE_CONVERTER", "up.onnx"),
        ({}, "MOORING_MAX_SESSION_BYTES", None),
        ({"maxSessionBytes": "1.5Gi"}, "MOORING_MAX_SESSION_BYTES", "1610612736"),
        ({"maxSessionBytes": 1000}, "MOORING_MAX_SESSION_BYTES", "1000"),
        ({"maxSessions": 7}, "MOORING_MAX_SESSIONS", "7"),
    ],
)
def test_what_the_spec_says_of_state_the_server_is_told(
    state: dict[str, Any], variable: str, expected: str | None
) -> None:
    assert variables(stateful(**state)).get(variable) == expected


def test_record_and_token_are_folders_so_that_they_can_change() -> None:
    spec = pod(stateful())
    [server], volumes = spec["containers"], {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["membership"]["configMap"] == {
        "name": "sentiment-membership",
        "optional": True,
        "defaultMode": 0o444,
    }
    assert volumes["peer-token"]["secret"]["secretName"] == "sentiment-peer-token"
    assert all("subPath" not in mount for mount in server["volumeMounts"])
    found = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    told = variables(stateful())
    assert told["MOORING_MEMBERSHIP_FILE"] == f"{found['membership']}/record.json"
    assert told["MOORING_PEER_TOKEN_FILE"] == f"{found['peer-token']}/token"
    assert told["MOORING_SESSION_PATH"] == found["sessions"]


def test_only_the_server_sees_the_sessions() -> None:
    https = {"uri": "https://store.example/m.onnx", "sha256": builders.SHA256}
    spec = pod(builders.service(model=https, state={"volume": {"size": "1Gi"}}))
    [fetcher] = spec["initContainers"]
    assert {mount["name"] for mount in fetcher["volumeMounts"]}.isdisjoint({"sessions", "membership", "peer-token"})


def test_no_node_is_emptied_of_it_by_the_way_but_where_the_user_says_so() -> None:
    def notes(**pod: Any) -> dict[str, str]:
        service = builders.service(state={"volume": {"size": "1Gi"}}, pod=pod)
        found: dict[str, str] = workload(service)["template"]["metadata"]["annotations"]
        return found

    assert notes()["karpenter.sh/do-not-disrupt"] == "true"
    assert notes()["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert notes(annotations={"karpenter.sh/do-not-disrupt": "false"})["karpenter.sh/do-not-disrupt"] == "false"


def test_all_replicas_count_for_their_spread() -> None:
    spec = pod(stateful())
    [zones] = spec["topologySpreadConstraints"]
    [hosts] = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert "matchLabelKeys" not in zones
    assert "matchLabelKeys" not in hosts["podAffinityTerm"]


def test_it_is_told_to_end_with_time_to_close_its_volume() -> None:
    assert (
        pod(stateful())["terminationGracePeriodSeconds"] >= float(variables(stateful())["MOORING_DRAIN_SECONDS"]) + 30
    )


def test_an_accelerator_comes_with_all_that_it_brings_elsewhere() -> None:
    service = builders.service(state={"volume": {"size": "1Gi"}}, accelerator={"type": "nvidia.com/gpu"})
    plain = builders.service(accelerator={"type": "nvidia.com/gpu"})
    [serving], [other] = pod(service)["containers"], one("Deployment", plain)["spec"]["template"]["spec"]["containers"]
    assert serving["resources"] == other["resources"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in serving["volumeMounts"]
    assert pod(service)["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def test_the_autoscaler_scales_the_service_and_never_the_statefulset() -> None:
    service = builders.service(state={"volume": {"size": "1Gi"}}, scaling={"maxReplicas": 4, "cpu": {"target": 50}})
    target = one("HorizontalPodAutoscaler", service)["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": "sentiment"}


def test_a_service_without_state_has_no_statefulset() -> None:
    kinds = {child["kind"] for child in desired.children(builders.service(), builders.cluster(), Step())}
    assert "StatefulSet" not in kinds
    assert "ConfigMap" not in kinds
