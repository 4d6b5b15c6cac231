"""The replicas of a stateful service by name: how the router and they themselves find each one."""

from ..api import names
from ..facts import Cluster, Manifest, Service
from .metadata import metadata, pod_selector, scraped


def peers_service(service: Service) -> Manifest:
    """Return the headless Service that gives each replica a name of its own, also while it is not ready.

    A replica that loads its model, or waits for its volume, is asked for its sessions all the same: it says what
    is the matter, where a name that does not resolve would leave the others guessing.
    """
    ports = (
        (names.PORT_NAME_HTTP, names.HTTP_PORT),
        (names.PORT_NAME_GRPC, names.GRPC_PORT),
        (names.PORT_NAME_PEERS, names.PEER_PORT),
    )
    return _headless(service, peers_name(service), ports, publish_all=True)


def ready_service(service: Service) -> Manifest:
    """Return the headless Service of the replicas that are ready.

    Whoever asks for no session in particular must not come to one that still loads its model: that could only refuse.
    """
    ports = ((names.PORT_NAME_HTTP, names.HTTP_PORT), (names.PORT_NAME_GRPC, names.GRPC_PORT))
    return _headless(service, service.name + names.SUFFIX_READY, ports, publish_all=False)


def _headless(service: Service, name: str, ports: tuple[tuple[str, int], ...], *, publish_all: bool) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        # Of those that are not ready as well: what a replica counts before it answers is counted from 0.
        "metadata": scraped(metadata(service, name)) if publish_all else metadata(service, name),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": publish_all,
            "selector": pod_selector(service),
            "ports": [{"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, port in ports],
        },
    }


def peers_name(service: Service) -> str:
    """Return the headless Service's name."""
    return service.name + names.SUFFIX_PEERS


def ready_host(service: Service, cluster: Cluster) -> str:
    """Return the host name of all replicas that are ready."""
    return _host(service, cluster, service.name + names.SUFFIX_READY)


def replica_host(service: Service, cluster: Cluster, ordinal: int) -> str:
    """Return the host name of one replica, for the router, which asks for it every few seconds."""
    return f"{service.name}-{ordinal}.{_host(service, cluster, peers_name(service))}"


def _host(service: Service, cluster: Cluster, name: str) -> str:
    # Where the domain is known, the dot at the end says that the name is whole: without it a resolver first tries it
    # below each of the search domains, three questions for each answer and the more for a replica that is not there.
    # Where it is not known, they are what completes it. Never a name without the namespace: in another one, of the
    # Service's name, somebody could make it exist.
    domain = f".{cluster.domain}." if cluster.domain else ""
    return f"{name}.{service.namespace}.svc{domain}"


def peer_address(service: Service) -> str:
    """Return the address by which replicas find each other, with a place for the ordinal.

    It stands in the pods, so it may not depend on what an operator finds out of the cluster: another finding would be
    another template, and a rollout.
    """
    host = f"{service.name}-{{ordinal}}.{peers_name(service)}.{service.namespace}.svc"
    return f"http://{host}:{names.PEER_PORT}"
