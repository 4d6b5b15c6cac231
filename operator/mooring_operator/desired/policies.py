"""The NetworkPolicies: who reaches the pods of a service, and whom they reach."""

import ipaddress
from typing import Any

from ..api import names
from ..facts import Cluster, Manifest, Service, Step
from .metadata import metadata, pod_selector
from .model import store
from .router import router_name, router_selector

OPERATOR_LABELS = {names.LABEL_NAME: "mooring-operator"}
"""On the operator's own pods."""
# Instance metadata and its like: whoever reaches it may get the node's own credentials.
_NOT_A_STORE = {
    "0.0.0.0/0": ["169.254.0.0/16"],
    "::/0": ["fd00:ec2::/32", "fd20:ce::/32", "fe80::/10"],
}
# A policy is checked behind the Service's address translation, where some clusters' DNS pods listen on 5353.
_DNS_PORTS = (53, 5353)


def network_policy(service: Service, cluster: Cluster, step: Step) -> Manifest:
    """Return the policy of the pods that have the model: those that serve, and the one that checks.

    In: HTTP and gRPC from anywhere in the cluster, or, where there are sessions, from the router; metrics from the
    monitoring namespace; what replicas say to each other from them and from the operator. Out: DNS, other replicas,
    and the store of a model that the pod itself fetches.
    """
    ingress = [
        {"from": [_clients(service)], "ports": [_port(names.HTTP_PORT), _port(names.GRPC_PORT)]},
        {"from": [_monitoring(cluster)], "ports": [_port(names.METRICS_PORT)]},
    ]
    # To any address: a cache on the node answers from a link-local one, which no selector matches.
    egress = [_dns(), *_stores(service, step)]
    if service.spec.state is not None:
        operator = {**_namespace(cluster.operator_namespace), "podSelector": {"matchLabels": dict(OPERATOR_LABELS)}}
        ingress.append({"from": [_replicas(service), operator], "ports": [_port(names.PEER_PORT)]})
        egress.append({"to": [_replicas(service)], "ports": [_port(names.PEER_PORT)]})
    return _policy(metadata(service), _pods(service), ingress, egress)


def router_policy(service: Service, cluster: Cluster) -> Manifest:
    """Return the policy of the router. In: what the clients of a service send. Out: DNS, and the replicas."""
    return _policy(
        metadata(service, router_name(service), component=names.COMPONENT_ROUTER),
        {"matchLabels": router_selector(service)},
        [
            {"from": [_anywhere()], "ports": [_port(names.HTTP_PORT)]},
            {"from": [_monitoring(cluster)], "ports": [_port(names.METRICS_PORT)]},
        ],
        [_dns(), {"to": [_replicas(service)], "ports": [_port(names.HTTP_PORT), _port(names.GRPC_PORT)]}],
    )


def _policy(its_metadata: Manifest, pods: Manifest, ingress: list[Manifest], egress: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": its_metadata,
        "spec": {
            "podSelector": pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def _pods(service: Service) -> Manifest:
    """Return the selector of all pods that have the model."""
    selector: Manifest = {"matchLabels": {names.LABEL_SERVICE: service.name}}
    if service.spec.state is not None:
        # What one policy lets in, no other one can keep out.
        router = {"key": names.LABEL_COMPONENT, "operator": "NotIn", "values": [names.COMPONENT_ROUTER]}
        selector["matchExpressions"] = [router]
    return selector


def _clients(service: Service) -> Manifest:
    return _anywhere() if service.spec.state is None else {"podSelector": {"matchLabels": router_selector(service)}}


def _stores(service: Service, step: Step) -> list[Manifest]:
    """Return the rules that let the pods reach every store that a pod of this round may fetch from."""
    stores = {store(service.spec.model.uri)}
    if step.template is not None:
        # What is put back fetches its own model, when a pod of it must start anew.
        stores |= {store(uri) for uri in _uris(step.template)}
    if step.hold:
        # The Deployment stays at a template that we do not have here; if it fetches, then almost surely from 443.
        stores.add(("", 443))
    rules: list[Manifest] = []
    ports = sorted({port for host, port in filter(None, stores) if not _in_cluster(host)})
    if ports:
        blocks = [{"ipBlock": {"cidr": cidr, "except": list(holes)}} for cidr, holes in _NOT_A_STORE.items()]
        rules.append({"to": [*blocks, _anywhere()], "ports": [_port(port) for port in ports]})
    if any(_in_cluster(host) for host, _ in filter(None, stores)):
        # Behind a Service the pod's port is another one, which we cannot know.
        rules.append({"to": [_anywhere()], "ports": [{"protocol": "TCP"}]})
    return rules


def _uris(template: Manifest) -> list[str]:
    containers: list[Any] = template.get("spec", {}).get("initContainers", [])
    return [
        variable.get("value", "")
        for container in containers
        for variable in container.get("env", [])
        if variable["name"] == names.ENV_MODEL_URI
    ]


def _in_cluster(host: str) -> bool:
    """Tell whether a host is a Service: a bare name, or one that ends in .svc or the usual cluster domain."""
    if not host or ":" in host or _is_address(host):
        return False
    return "." not in host or host.endswith((".svc", ".svc.cluster.local"))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _anywhere() -> Manifest:
    """Return the peer that every pod of the cluster is."""
    return {"namespaceSelector": {}}


def _replicas(service: Service) -> Manifest:
    return {"podSelector": {"matchLabels": pod_selector(service)}}


def _monitoring(cluster: Cluster) -> Manifest:
    return _namespace(cluster.monitoring_namespace)


def _namespace(name: str) -> Manifest:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _dns() -> Manifest:
    return {"ports": [_port(port, protocol) for port in _DNS_PORTS for protocol in ("TCP", "UDP")]}


def _port(port: int, protocol: str = "TCP") -> Manifest:
    return {"port": port, "protocol": protocol}
