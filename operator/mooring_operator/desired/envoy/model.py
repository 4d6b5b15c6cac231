"""What Envoy's files are made of."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from ...api import names

Document = dict[str, Any]
"""A message of Envoy's API as plain JSON."""

BOOTSTRAP, LDS, CDS = "bootstrap.json", "lds.json", "cds.json"


class Address(NamedTuple):
    """An IP address or the name of a host, and a port."""

    host: str
    port: int

    def document(self) -> Document:
        """Return it as Envoy's `Address`."""
        # Where Services have IPv6 addresses first, some have one of IPv4 besides.
        both: Document = {"ipv4_compat": True} if self.host == "::" else {}
        return {"socket_address": {"address": self.host, "port_value": self.port, **both}}


LISTEN = Address("0.0.0.0", names.HTTP_PORT)
STATUS = Address("0.0.0.0", names.METRICS_PORT)
ADMIN = Address("127.0.0.1", 9901)


@dataclass(frozen=True)
class Router:
    """One service's router. Every address and every port of its files stands here."""

    service: str
    replicas: tuple[str, ...]
    """Host of each ordinal that there may be; a replica that does not exist is not in DNS."""
    ready: str
    """Host with the addresses of all replicas that are ready."""
    http_port: int = names.HTTP_PORT
    """Of the replicas; `grpc_port` likewise."""
    grpc_port: int = names.GRPC_PORT
    live_port: int = names.HTTP_PORT
    """Of the replicas: where they are asked whether they answer at all."""
    check_seconds: float = 2.0
    """Between two such looks."""
    patience_seconds: float = 3.0
    """How long each waits for an answer."""
    listen: Address = LISTEN
    """Where clients come, with HTTP and with gRPC."""
    status: Address = STATUS
    """Where the metrics are."""
    admin: Address = ADMIN
    folder: str = "/etc/envoy"
    """Where the files are."""
    settle_seconds: int = 10
    """At its end: until every proxy of the cluster knows that it is gone."""
    resolvers: tuple[Address, ...] = ()
    """DNS servers; empty: those of the pod."""

    def replica(self, ordinal: int | str) -> str:
        """Return the name of a replica in metadata, where requests and endpoints meet; of any one, without ordinal."""
        return f"{self.service}-{ordinal}"

    @property
    def any_replica(self) -> str:
        """The name under which a request goes to whichever replica is ready."""
        return self.replica("")


def typed(name: str, kind: str, **fields: Any) -> Document:
    """Return an extension's configuration; `kind` is the message, without what all of them begin with."""
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{kind}", **fields}}


def discovery(kind: str, resources: list[Document]) -> Document:
    """Return a file of LDS or CDS."""
    return {"resources": [{"@type": f"type.googleapis.com/{kind}", **resource} for resource in resources]}
