import ipaddress
from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.facts import Manifest, Service, Step
from tests.support import builders


def policy(service: Service, step: Step | None = None, **cluster: Any) -> Manifest:
    children = desired.children(service, builders.cluster(**cluster), step or Step())
    [found] = [child for child in children if child["kind"] == "NetworkPolicy"]
    spec: Manifest = found["spec"]
    return spec


def https(uri: str) -> Service:
    return builders.service(model={"uri": uri, "sha256": builders.SHA256})


def allows(spec: Manifest, address: str, port: int) -> bool:
    """Tell whether a TCP connection to an address outside the cluster is let out."""
    for rule in spec["egress"]:
        ports = [one for one in rule["ports"] if one["protocol"] == "TCP" and one.get("port", port) == port]
        if ports and ("to" not in rule or any(_in_block(peer.get("ipBlock"), address) for peer in rule["to"])):
            return True
    return False


def _in_block(block: Manifest | None, address: str) -> bool:
    if block is None:
        return False
    found = ipaddress.ip_address(address)
    inside = found in ipaddress.ip_network(block["cidr"])
    return inside and not any(found in ipaddress.ip_network(hole) for hole in block["except"])


def test_default_is_to_deny() -> None:
    assert policy(builders.service())["policyTypes"] == ["Ingress", "Egress"]


def test_metrics_come_from_the_monitoring_namespace_only() -> None:
    http, metrics = policy(builders.service(), monitoring_namespace="observability")["ingress"]
    assert (http["from"], http["ports"][0]["port"]) == ([{"namespaceSelector": {}}], 8000)
    assert metrics["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}]
    assert metrics["ports"][0]["port"] == 8002


@pytest.mark.parametrize("uri", ["pvc://claim/m.onnx", "oci://registry.example/a:1"])
def test_a_mounted_model_lets_nothing_out_but_dns(uri: str) -> None:
    [dns] = policy(builders.service(model={"uri": uri}))["egress"]
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {
        (53, "TCP"),
        (53, "UDP"),
        (5353, "TCP"),
        (5353, "UDP"),
    }


@pytest.mark.parametrize(("uri", "port"), [("https://h.example/m.onnx", 443), ("https://h.example:8443/m.onnx", 8443)])
def test_a_fetched_model_opens_its_port_but_not_the_nodes_metadata(uri: str, port: int) -> None:
    spec = policy(https(uri))
    assert allows(spec, "203.0.113.7", port)
    assert allows(spec, "10.1.2.3", port)
    assert allows(spec, "2001:db8::7", port)
    assert not allows(spec, "203.0.113.7", port + 1)
    for metadata in ("169.254.169.254", "169.254.170.2", "fe80::a9fe:a9fe", "fd00:ec2::254", "fd20:ce::254"):
        assert not allows(spec, metadata, port)


@pytest.mark.parametrize("host", ["store", "store.models.svc", "store.models.svc.cluster.local"])
def test_a_store_behind_a_service_is_reached_on_whatever_port_its_pods_have(host: str) -> None:
    spec = policy(https(f"https://{host}/m.onnx"))
    assert {"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP"}]} in spec["egress"]
    assert not allows(spec, "203.0.113.7", 443)


def test_an_address_is_no_service() -> None:
    assert allows(policy(https("https://10.0.0.7:9000/m.onnx")), "10.0.0.7", 9000)


def test_a_held_deployment_may_still_fetch_its_own_model() -> None:
    spec = policy(builders.service(), Step(hold=True))
    assert allows(spec, "203.0.113.7", 443)
    assert not allows(spec, "169.254.169.254", 443)
