"""Traffic: the Service that clients call, and the NetworkPolicy of its pods."""

import ipaddress
from typing import Any

from ..api import names
from ..facts import Cluster, Manifest, Service, Step
from .metadata import metadata, pod_selector
from .model import store

# Instance metadata and its like: whoever reaches it may get the node's own credentials.
_NOT_A_STORE = {
    "0.0.0.0/0": ["169.254.0.0/16"],
    "::/0": ["fd00:ec2::/32", "fd20:ce::/32", "fe80::/10"],
}
# A policy is checked behind the Service's address translation, where some clusters' DNS pods listen on 5353.
_DNS_PORTS = (53, 5353)


def client_service(service: Service) -> Manifest:
    """Return the Service: port 80 in front of the server's HTTP port, and gRPC under its own number."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(service),
        "spec": {
            "type": "ClusterIP",
            "selector": pod_selector(service),
            "ports": [
                _service_port(names.PORT_NAME_HTTP, names.SERVICE_PORT),
                # Without the protocol a mesh or a gateway speaks HTTP/1.1 to it.
                {**_service_port(names.PORT_NAME_GRPC, names.GRPC_PORT), "appProtocol": "kubernetes.io/h2c"},
            ],
        },
    }


def url(service: Service) -> str:
    """Return the address of the service inside the cluster."""
    return f"http://{service.name}.{service.namespace}.svc"


def network_policy(service: Service, cluster: Cluster, step: Step) -> Manifest:
    """Return the policy of all pods of the service, those that serve and the one that checks.

    In: HTTP and gRPC from anywhere in the cluster, metrics from the monitoring namespace. Out: DNS, and the store of a
    model that the pod itself fetches.
    """
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cluster.monitoring_namespace}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(service),
        "spec": {
            "podSelector": {"matchLabels": {names.LABEL_SERVICE: service.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [_anywhere()], "ports": [_port(names.HTTP_PORT), _port(names.GRPC_PORT)]},
                {"from": [monitoring], "ports": [_port(names.METRICS_PORT)]},
            ],
            "egress": [
                # To any address: a cache on the node answers from a link-local one, which no selector matches.
                {"ports": [_port(port, protocol) for port in _DNS_PORTS for protocol in ("TCP", "UDP")]},
                *_stores(service, step),
            ],
        },
    }


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


def _service_port(name: str, port: int) -> Manifest:
    return {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}


def _port(port: int, protocol: str = "TCP") -> Manifest:
    return {"port": port, "protocol": protocol}
