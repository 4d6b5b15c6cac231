"""The router in front of a stateful service: its pods, its files, and what a change of the service changes of them."""

import json
from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.facts import Manifest, Service, Step
from tests.support import builders

ROUTER = "sentiment-router"


def stateful(name: str = builders.NAME, **fields: Any) -> Service:
    return builders.service(name, state={"volume": {"size": "20Gi"}}, **fields)


def one(kind: str, service: Service, step: Step | None = None, **cluster: Any) -> Manifest:
    children = desired.children(service, builders.cluster(**cluster), step or Step(replicas=1))
    [found] = [child for child in children if (child["kind"], child["metadata"]["name"]) == (kind, ROUTER)]
    return found


def files(service: Service, step: Step | None = None, **cluster: Any) -> dict[str, Any]:
    data = one("ConfigMap", service, step, **cluster)["data"]
    return {name.removesuffix(".json"): json.loads(text) for name, text in data.items()}


def hosts(service: Service, step: Step | None = None, **cluster: Any) -> list[str]:
    """The names of the replicas in the cluster for HTTP, and then that of all that are ready."""
    [http, _] = files(service, step, **cluster)["cds"]["resources"]
    return [
        endpoint["endpoint"]["address"]["socket_address"]["address"]
        for level in http["load_assignment"]["endpoints"]
        for endpoint in level["lb_endpoints"]
    ]


def pod(service: Service, **cluster: Any) -> Manifest:
    spec: Manifest = one("Deployment", service, **cluster)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize(
    ("replicas", "scaling", "now", "expected"),
    [
        (1, None, 1, 8),
        (8, None, 8, 8),
        (9, None, 9, 16),
        (1, None, 9, 16),  # shrunk, and the ninth still hands its sessions over
        (100, None, 1, 128),
        (1, {"maxReplicas": 3, "cpu": {"target": 50}}, 1, 3),
        (1, {"maxReplicas": 3, "cpu": {"target": 50}}, 6, 6),  # the limit was lowered below what there is
        (1000, None, 1000, 1024),
    ],
)
def test_it_knows_more_replicas_than_there_are(
    replicas: int, scaling: dict[str, Any] | None, now: int, expected: int
) -> None:
    service = stateful(replicas=replicas, scaling=scaling)
    assert len(hosts(service, Step(replicas=now))) == expected + 1


def test_a_resize_within_that_changes_nothing() -> None:
    for kind in ("ConfigMap", "Deployment"):
        few, many = (one(kind, stateful(replicas=count), Step(replicas=count)) for count in (1, 8))
        assert few == many


def test_an_outgrown_router_reads_its_files_again_and_no_pod_is_made_anew() -> None:
    few, many = (stateful(replicas=count) for count in (8, 9))
    assert files(few)["cds"] != files(many)["cds"]
    assert one("Deployment", few) == one("Deployment", many)


def test_the_largest_router_fits_in_its_configmap() -> None:
    service = stateful("n" * names.NAME_MAX_LENGTH, replicas=1000, namespace="s" * 63)
    children = desired.children(service, builders.cluster(), Step(replicas=1000))
    [config] = [child for child in children if child["kind"] == "ConfigMap"]
    assert sum(len(text) for text in config["data"].values()) < 2**20


def test_names_are_whole_where_the_domain_is_known() -> None:
    first, *_, ready = hosts(stateful())
    assert first == "sentiment-0.sentiment-peers.models.svc.cluster.local."
    assert ready == "sentiment-ready.models.svc.cluster.local."


def test_else_the_pods_search_domains_complete_them_and_the_namespace_is_always_there() -> None:
    first, *_, ready = hosts(stateful(), domain="")
    assert (first, ready) == ("sentiment-0.sentiment-peers.models.svc", "sentiment-ready.models.svc")


def test_each_replica_is_in_its_own_subset_and_those_that_are_ready_in_each() -> None:
    for cluster in files(stateful())["cds"]["resources"]:
        first, then = cluster["load_assignment"]["endpoints"]
        every = [f"sentiment-{ordinal}" for ordinal in range(8)]
        assert (first["priority"], then["priority"]) == (0, 1)
        assert [_replica(endpoint) for endpoint in first["lb_endpoints"]] == every
        assert [_replica(endpoint) for endpoint in then["lb_endpoints"]] == [[*every, "sentiment-"]]


def test_one_service_knows_all_replicas_and_one_those_that_are_ready() -> None:
    services = {
        child["metadata"]["name"]: child["spec"]
        for child in desired.children(stateful(), builders.cluster(), Step())
        if child["kind"] == "Service"
    }
    assert services["sentiment-peers"]["publishNotReadyAddresses"] is True
    assert services["sentiment-ready"]["publishNotReadyAddresses"] is False
    assert services["sentiment-ready"]["clusterIP"] == "None"
    assert services["sentiment-peers"]["selector"] == services["sentiment-ready"]["selector"]


def _replica(endpoint: Manifest) -> Any:
    return endpoint["metadata"]["filter_metadata"]["envoy.lb"]["replica"]


def test_a_request_is_tried_again_only_where_nothing_of_it_was_sent() -> None:
    [listener] = files(stateful())["lds"]["resources"]
    [network] = listener["filter_chains"][0]["filters"]
    [host] = network["typed_config"]["route_config"]["virtual_hosts"]
    for route in host["routes"]:
        assert route["route"]["retry_policy"]["retry_on"] == "connect-failure,refused-stream"
        assert route["route"]["timeout"] == "0s"


def test_a_connection_to_a_node_that_is_gone_ends() -> None:
    for cluster in files(stateful())["cds"]["resources"]:
        [option] = cluster["upstream_bind_config"]["socket_options"]
        # IPPROTO_TCP, TCP_USER_TIMEOUT, milliseconds.
        assert (option["level"], option["name"], option["int_value"]) == (6, 18, 5000)
        assert cluster["connect_timeout"] == "0.25s"


def test_dns_is_asked_less_often_for_many_replicas() -> None:
    def rate(replicas: int) -> str:
        [http, _] = files(stateful(replicas=replicas))["cds"]["resources"]
        found: str = http["cluster_type"]["typed_config"]["dns_refresh_rate"]
        return found

    assert [rate(replicas) for replicas in (1, 32, 64, 1000)] == ["2s", "2s", "4s", "5s"]


def test_it_listens_where_the_services_port_leads_for_http_and_grpc_alike() -> None:
    [listener] = files(stateful())["lds"]["resources"]
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": names.HTTP_PORT}
    [container] = pod(stateful())["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {names.PORT_NAME_HTTP: names.HTTP_PORT, names.PORT_NAME_METRICS: names.METRICS_PORT}
    [service] = [
        child
        for child in desired.children(stateful(), builders.cluster(), Step())
        if (child["kind"], child["metadata"]["name"]) == ("Service", "sentiment")
    ]
    assert {port["port"]: port["targetPort"] for port in service["spec"]["ports"]} == {80: "http", 8001: "http"}
    assert service["spec"]["selector"][names.LABEL_COMPONENT] == names.COMPONENT_ROUTER


def test_where_services_have_ipv6_addresses_it_listens_on_both() -> None:
    [listener] = files(stateful(), ipv6=True)["lds"]["resources"]
    assert listener["address"]["socket_address"]["address"] == "::"
    assert listener["address"]["socket_address"]["ipv4_compat"] is True


def test_the_admin_interface_is_for_the_pod_alone() -> None:
    assert files(stateful())["bootstrap"]["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    [container] = pod(stateful())["containers"]
    assert 9901 not in {port["containerPort"] for port in container["ports"]}


def test_a_new_bootstrap_makes_new_pods_and_nothing_else_does() -> None:
    def annotations(service: Service, **cluster: Any) -> Manifest:
        found: Manifest = one("Deployment", service, **cluster)["spec"]["template"]["metadata"]["annotations"]
        return found

    assert annotations(stateful()) != annotations(stateful(), ipv6=True)
    assert annotations(stateful()) == annotations(stateful(), domain="example.org")


def test_there_are_two_on_different_hosts_and_one_is_always_there() -> None:
    spec = one("Deployment", stateful())["spec"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]) == (2, {"maxSurge": 1, "maxUnavailable": 0})
    assert one("PodDisruptionBudget", stateful())["spec"]["maxUnavailable"] == 1
    [apart] = pod(stateful())["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart["podAffinityTerm"]["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"]


def test_its_end_is_waited_for() -> None:
    spec = pod(stateful())
    [container] = spec["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"][:2] == ["/bin/bash", "-c"]
    assert spec["terminationGracePeriodSeconds"] > 60


def test_it_runs_the_image_of_the_installation_under_an_account_of_its_own() -> None:
    service = stateful(accelerator={"type": "nvidia.com/gpu"}, pod={"serviceAccountName": "reader"})
    spec = pod(service)
    [container] = spec["containers"]
    assert container["image"] == "envoyproxy/envoy:v1.40.2"
    assert spec["serviceAccountName"] == ROUTER == one("ServiceAccount", service)["metadata"]["name"]
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_it_goes_where_it_may_and_not_where_the_models_must() -> None:
    wishes = {
        "labels": {"app": "theirs"},
        "annotations": {"note": "kept"},
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "dedicated", "value": "x"}],
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
    }
    template = one("Deployment", stateful(pod=wishes))["spec"]["template"]
    spec = template["spec"]
    assert "nodeSelector" not in spec
    assert "runtimeClassName" not in spec
    assert spec["tolerations"] == [{"key": "dedicated", "operator": "Equal", "value": "x"}]
    assert (spec["imagePullSecrets"], spec["priorityClassName"]) == ([{"name": "registry"}], "high")
    assert "app" not in template["metadata"]["labels"]
    assert template["metadata"]["annotations"]["note"] == "kept"
