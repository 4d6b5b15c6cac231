"""Who reaches whom where there are sessions: clients the router, the router the replicas, replicas each other."""

from typing import Any

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.facts import Manifest, Step
from tests.support import builders

HTTP, GRPC, METRICS, PEERS = 8000, 8001, 8002, 8003
ROUTER = {names.LABEL_SERVICE: "sentiment", names.LABEL_COMPONENT: "router"}
SERVER = {names.LABEL_SERVICE: "sentiment", names.LABEL_COMPONENT: "server"}


def policy(name: str, **cluster: Any) -> Manifest:
    service = builders.service(state={"volume": {"size": "1Gi"}})
    children = desired.children(service, builders.cluster(**cluster), Step())
    [found] = [child for child in children if (child["kind"], child["metadata"]["name"]) == ("NetworkPolicy", name)]
    spec: Manifest = found["spec"]
    return spec


def open_to(rules: list[Manifest], direction: str) -> dict[int, list[Any]]:
    """Each port, and who may come to it, or where it leads."""
    return {port["port"]: rule[direction] for rule in rules if direction in rule for port in rule["ports"]}


def namespace(name: str) -> Manifest:
    return {"matchLabels": {"kubernetes.io/metadata.name": name}}


def test_only_the_router_asks_the_replicas() -> None:
    ways = open_to(policy("sentiment")["ingress"], "from")
    assert ways[HTTP] == ways[GRPC] == [{"podSelector": {"matchLabels": ROUTER}}]


def test_only_replicas_and_the_operator_come_to_the_peer_port() -> None:
    ways = open_to(policy("sentiment", operator_namespace="ops")["ingress"], "from")
    operator = {"matchLabels": {names.LABEL_NAME: "mooring-operator"}}
    assert ways[PEERS] == [
        {"podSelector": {"matchLabels": SERVER}},
        {"namespaceSelector": namespace("ops"), "podSelector": operator},
    ]


def test_metrics_are_for_the_monitoring_namespace() -> None:
    for name in ("sentiment", "sentiment-router"):
        ways = open_to(policy(name, monitoring_namespace="seen")["ingress"], "from")
        assert ways[METRICS] == [{"namespaceSelector": namespace("seen")}]


def test_anybody_in_the_cluster_asks_the_router_and_it_asks_the_replicas() -> None:
    found = policy("sentiment-router")
    assert found["podSelector"] == {"matchLabels": ROUTER}
    assert open_to(found["ingress"], "from")[HTTP] == [{"namespaceSelector": {}}]
    ways = open_to(found["egress"], "to")
    assert ways == {port: [{"podSelector": {"matchLabels": SERVER}}] for port in (HTTP, GRPC)}


def test_replicas_reach_each_other_and_nothing_else() -> None:
    assert open_to(policy("sentiment")["egress"], "to") == {PEERS: [{"podSelector": {"matchLabels": SERVER}}]}
