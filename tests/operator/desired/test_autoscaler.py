import json
from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.facts import KedaAccess, Manifest, Scaler, Step
from tests.support import builders

RULE = Scaler()


def child(kind: str, scaling: dict[str, Any] | None, scaler: Scaler = RULE, **cluster: Any) -> Manifest | None:
    service = builders.service(scaling=scaling)
    children = desired.children(service, builders.cluster(**cluster), Step(scaler=scaler))
    return next((child for child in children if child["kind"] == kind), None)


def autoscaler(scaling: dict[str, Any] | None, scaler: Scaler = RULE, **cluster: Any) -> Manifest | None:
    return child("HorizontalPodAutoscaler", scaling, scaler, **cluster)


def behavior(given: dict[str, Any], **cluster: Any) -> Manifest:
    found = autoscaler({"maxReplicas": 4, "cpu": {"target": 50}, "behavior": given}, **cluster)
    assert found is not None
    made: Manifest = found["spec"]["behavior"]
    return made


def averages(scaling: dict[str, Any], scaler: Scaler = RULE) -> list[tuple[str, str]]:
    """Name and AverageValue of each external metric."""
    found = autoscaler({"maxReplicas": 8, **scaling}, scaler)
    assert found is not None
    metrics = [metric["external"] for metric in found["spec"]["metrics"] if metric["type"] == "External"]
    for metric in metrics:
        assert metric["metric"]["selector"] == {"matchLabels": {"mooring_service": "sentiment"}}
        assert metric["target"]["type"] == "AverageValue"
    return [(metric["metric"]["name"], metric["target"]["averageValue"]) for metric in metrics]


def test_only_with_a_maximum() -> None:
    assert autoscaler(None) is None
    assert autoscaler({}) is None


def test_each_target_is_a_metric_of_its_own() -> None:
    assert averages({"latency": {"target": "80ms"}}) == [("mooring_desired_replicas", "1")]
    assert averages({"queue": {"target": 4}}) == [("mooring_queue_depth", "4")]
    assert averages({"concurrency": {"target": 20}}) == [("mooring_load", "20")]
    both = averages({"latency": {"target": "80ms"}, "queue": {"target": 4}})
    assert both == [("mooring_desired_replicas", "1"), ("mooring_queue_depth", "4")]


def test_without_a_curve_the_load_stands_for_the_latency() -> None:
    by_load = Scaler(concurrency=7)
    assert averages({"latency": {"target": "80ms"}}, by_load) == [("mooring_load", "3500m")]
    # With a window that is too short to damp it, the count would swing at half of the concurrency.
    quick = {"latency": {"target": "80ms"}, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}
    assert averages(quick, by_load) == [("mooring_load", "2450m")]
    found = autoscaler({"maxReplicas": 8, "latency": {"target": "80ms"}}, by_load)
    assert found is not None
    assert found["metadata"]["annotations"] == {"mooring.dev/concurrency-at-target": "7"}
    assert "tolerance" not in found["spec"]["behavior"]["scaleUp"], "a noisy metric needs its tenth"


def test_the_rule_is_exact_where_the_cluster_can_be_told() -> None:
    scaling = {"maxReplicas": 8, "latency": {"target": "80ms"}, "behavior": {"scaleDown": {"tolerance": "5%"}}}
    found = autoscaler(scaling)
    assert found is not None
    assert found["spec"]["behavior"]["scaleUp"]["tolerance"] == "0"
    assert found["spec"]["behavior"]["scaleDown"]["tolerance"] == "50m", "what the user wrote"
    older = autoscaler(scaling, hpa_tolerance=False)
    assert older is not None
    assert "tolerance" not in json.dumps(older)
    for other in ("queue", "concurrency", "cpu"):
        found = autoscaler({"maxReplicas": 8, other: {"target": 4}})
        assert "tolerance" not in json.dumps(found)


@pytest.mark.parametrize("keda", [False, True])
def test_never_two_at_once(keda: bool) -> None:
    scaling = {"maxReplicas": 8, "latency": {"target": "80ms"}}
    kinds = ("HorizontalPodAutoscaler", "ScaledObject")
    made = [kind for kind in kinds if child(kind, scaling, Scaler(keda=keda)) is not None]
    assert made == [kinds[keda]]
    waits = Scaler(keda=keda, waits="the other one")
    assert [kind for kind in kinds if child(kind, scaling, waits) is not None] == []


def test_keda_never_takes_silence_for_no_load() -> None:
    scaling = {"maxReplicas": 8, "latency": {"target": "80ms"}, "concurrency": {"target": 20}}
    found = child("ScaledObject", scaling, Scaler(keda=True, concurrency=7), prometheus_url="http://prometheus:9090")
    assert found is not None
    load, concurrency = (trigger["metadata"] for trigger in found["spec"]["triggers"])
    assert (load["threshold"], concurrency["threshold"]) == ("3.5", "20")
    for trigger in (load, concurrency):
        assert trigger["ignoreNullValues"] == "false"
        assert trigger["serverAddress"] == "http://prometheus:9090"


def test_keda_asks_for_the_series_of_its_own_cluster() -> None:
    facts = {"prometheus_url": "https://a", "prometheus_labels": {"cluster": 'ea"st'}}
    found = child("ScaledObject", {"maxReplicas": 8, "queue": {"target": 4}}, Scaler(keda=True), **facts)
    assert found is not None
    [trigger] = found["spec"]["triggers"]
    asked = trigger["metadata"]["query"]
    assert asked.count('cluster="ea\\"st"}') == asked.count("mooring_service=") == 2


def test_keda_is_told_what_to_show_to_prometheus() -> None:
    cpu = {"target": 60, "force": True}
    scaling = {"maxReplicas": 8, "queue": {"target": 4}, "concurrency": {"target": 20}, "cpu": cpu}

    def triggers(access: KedaAccess | None) -> list[Manifest]:
        found = child("ScaledObject", scaling, Scaler(keda=True), prometheus_url="https://a", keda_access=access)
        assert found is not None
        made: list[Manifest] = found["spec"]["triggers"]
        return made

    queue, concurrency, by_cpu = triggers(KedaAccess("prometheus"))
    for trigger in (queue, concurrency):
        assert trigger["authenticationRef"] == {"kind": "ClusterTriggerAuthentication", "name": "prometheus"}
        assert trigger["metadata"]["authModes"] == "bearer"
    assert "authenticationRef" not in by_cpu, "that is the cluster's own, and KEDA would look for the object in vain"
    # The identity of a pod and a mode exclude each other.
    queue, _, _ = triggers(KedaAccess("identity", "TriggerAuthentication", modes=""))
    assert queue["authenticationRef"] == {"kind": "TriggerAuthentication", "name": "identity"}
    assert "authModes" not in queue["metadata"]
    assert "authenticationRef" not in triggers(None)[0] and "authModes" not in triggers(None)[0]["metadata"]


@pytest.mark.parametrize("state", [None, {"volume": {"size": "1Gi"}}])
def test_a_service_monitor_scrapes_each_pod_once(state: dict[str, Any] | None) -> None:
    service = builders.service(state=state)
    children = desired.children(service, builders.cluster(service_monitors=True, monitor_labels={"a": "b"}), Step())
    [monitor] = [child for child in children if child["kind"] == "ServiceMonitor"]
    selector = monitor["spec"]["selector"]["matchLabels"].items()
    services = [child for child in children if child["kind"] == "Service"]
    [scraped] = [child for child in services if selector <= child["metadata"]["labels"].items()]
    assert scraped["spec"]["selector"] == desired.pod_selector(service)
    assert monitor["metadata"]["labels"]["a"] == "b"
    kind = desired.workload_kind(service)
    [workload] = [child for child in children if (child["kind"], child["metadata"]["name"]) == (kind, "sentiment")]
    ports = [port["containerPort"] for port in workload["spec"]["template"]["spec"]["containers"][0]["ports"]]
    assert monitor["spec"]["endpoints"][0]["targetPort"] in ports
    assert not any(child["kind"] == "ServiceMonitor" for child in desired.children(service, builders.cluster(), Step()))


def test_a_service_monitor_says_itself_whose_series_they_are() -> None:
    children = desired.children(builders.service(), builders.cluster(service_monitors=True), Step())
    [monitor] = [child for child in children if child["kind"] == "ServiceMonitor"]
    [endpoint] = monitor["spec"]["endpoints"]
    assert not endpoint.get("honorLabels")
    assert endpoint["relabelings"] == [
        {"sourceLabels": ["__meta_kubernetes_namespace"], "targetLabel": "mooring_namespace"}
    ]


@pytest.mark.parametrize(("seconds", "interval"), [(15.0, "15s"), (5.0, "5s"), (2.5, "2500ms")])
def test_a_service_monitor_scrapes_as_often_as_the_rule_counts_on(seconds: float, interval: str) -> None:
    cluster = builders.cluster(service_monitors=True, scrape_seconds=seconds)
    children = desired.children(builders.service(), cluster, Step())
    [monitor] = [child for child in children if child["kind"] == "ServiceMonitor"]
    assert monitor["spec"]["endpoints"][0]["interval"] == interval


def test_it_scales_the_deployment_by_the_servers_cpu() -> None:
    found = autoscaler({"minReplicas": 2, "maxReplicas": 9, "cpu": {"target": 70}})
    assert found is not None
    spec = found["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sentiment"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    [metric] = spec["metrics"]
    assert metric["containerResource"]["container"] == "server"
    assert metric["containerResource"]["target"] == {"type": "Utilization", "averageUtilization": 70}


def test_up_at_once_and_down_slowly() -> None:
    found = behavior({})
    assert found["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert {policy["type"]: policy["value"] for policy in found["scaleUp"]["policies"]} == {"Percent": 900, "Pods": 10}
    assert found["scaleDown"] == {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    }


def test_what_the_user_writes_replaces_our_default_and_nothing_else() -> None:
    policies = [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    found = behavior({"scaleUp": {"policies": policies}, "scaleDown": {"selectPolicy": "Disabled"}})
    assert found["scaleUp"] == {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": policies}
    assert found["scaleDown"] == {**behavior({})["scaleDown"], "selectPolicy": "Disabled"}
    assert len(behavior({})["scaleUp"]["policies"]) == 2  # the default is as it was


@pytest.mark.parametrize(("percent", "expected"), [("5%", "50m"), ("0%", "0m"), ("100%", "1000m"), ("0150%", "1500m")])
def test_tolerance_is_a_quantity_where_the_cluster_knows_it(percent: str, expected: str) -> None:
    given = {"scaleDown": {"tolerance": percent}}
    assert behavior(given)["scaleDown"]["tolerance"] == expected
    assert "tolerance" not in behavior(given, hpa_tolerance=False)["scaleDown"]
