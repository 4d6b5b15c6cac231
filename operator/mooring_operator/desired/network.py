"""Traffic: the Service that clients call."""

from ..api import names
from ..facts import Manifest, Service
from .metadata import metadata, pod_selector, scraped
from .router import router_selector


def client_service(service: Service) -> Manifest:
    """Return the Service: port 80 in front of the server's HTTP port, and gRPC under its own number.

    With sessions the router is behind both: it takes HTTP and gRPC on one port and tells them apart by themselves.
    """
    selector, grpc, its_metadata = pod_selector(service), names.PORT_NAME_GRPC, scraped(metadata(service))
    if service.spec.state is not None:
        selector, grpc, its_metadata = router_selector(service), names.PORT_NAME_HTTP, metadata(service)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": its_metadata,
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [
                _port(names.PORT_NAME_HTTP, names.SERVICE_PORT, names.PORT_NAME_HTTP),
                # Without the protocol a mesh or a gateway speaks HTTP/1.1 to it.
                {**_port(names.PORT_NAME_GRPC, names.GRPC_PORT, grpc), "appProtocol": "kubernetes.io/h2c"},
            ],
        },
    }


def url(service: Service) -> str:
    """Return the address of the service inside the cluster."""
    return f"http://{service.name}.{service.namespace}.svc"


def _port(name: str, port: int, target: str) -> Manifest:
    return {"name": name, "port": port, "targetPort": target, "protocol": "TCP"}
