"""The clusters: the replicas by HTTP/1.1, and by HTTP/2 for gRPC.

In the first priority each replica is there by its own name, ready or not, in a subset of one: that is where a request
of its sessions goes. In the next priority those that are ready are in the subset of each: that is where such a request
goes when its replica is not in DNS, and where it is tried again when no connection can be made. All other requests are
for a subset that only these are in, so that none comes to a replica that still loads its model. This needs no health
checks, and no change at a resize.
"""

from .model import Address, Document, Router, discovery, typed

KEY = "replica"
"""Key of the metadata by which requests and endpoints meet."""
HTTP, GRPC = "http", "grpc"
CONNECT_SECONDS = 0.25
"""A replica whose node is gone answers nothing, not even no: the next one is tried after this."""
REST_SECONDS = 300
"""How long a connection to a replica may rest; the runtime closes one after 620 s."""
DEAD_SECONDS = 5
"""What was sent and is not even acknowledged by the other side's kernel for so long, never will be."""
_FASTEST, _SLOWEST = 2, 5
"""Seconds between two looks at DNS, for few and for many replicas."""
_NAMES_A_SECOND = 16
_LIMIT = 16384
_BALANCING = "envoy.extensions.load_balancing_policies"
_TCP, _TCP_USER_TIMEOUT = 6, 18


def cds(router: Router) -> Document:
    """Return the file of CDS."""
    return discovery("envoy.config.cluster.v3.Cluster", [_http(router), _grpc(router)])


def _http(router: Router) -> Document:
    return _cluster(router, HTTP, router.http_port, {"explicit_http_config": {"http_protocol_options": {}}})


def _grpc(router: Router) -> Document:
    # No pings: a replica that is busy for long would answer them late, and lose all that runs on the connection. That
    # its node is there, TCP finds out.
    options = {"initial_stream_window_size": 2**20, "initial_connection_window_size": 2**24}
    return _cluster(router, GRPC, router.grpc_port, {"explicit_http_config": {"http2_protocol_options": options}})


def _cluster(router: Router, name: str, port: int, protocol: Document) -> Document:
    return {
        "name": name,
        "cluster_type": _dns(router),
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "load_assignment": {"cluster_name": name, "endpoints": _endpoints(router, port)},
        "load_balancing_policy": {"policies": [{"typed_extension_config": _subsets(router)}]},
        # A priority is left when it has no host, and for nothing else; a host is gone when it is gone from DNS.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "ignore_health_on_host_removal": True,
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": _LIMIT,
                    "max_pending_requests": _LIMIT,
                    "max_requests": _LIMIT,
                    # When a replica dies, all requests to it are tried again at once.
                    "max_retries": _LIMIT,
                }
            ]
        },
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 2, "keepalive_time": DEAD_SECONDS, "keepalive_interval": 2}
        },
        # Else a request on a connection that is open waits a quarter of an hour for a node that is gone.
        "upstream_bind_config": {
            "socket_options": [
                {
                    "description": "TCP_USER_TIMEOUT, in milliseconds",
                    "level": _TCP,
                    "name": _TCP_USER_TIMEOUT,
                    "int_value": DEAD_SECONDS * 1000,
                    "state": "STATE_PREBIND",
                }
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                # It is the router that closes what rests: a request that crosses the replica's own end of it is lost.
                "common_http_protocol_options": {"idle_timeout": f"{REST_SECONDS}s"},
                **protocol,
            }
        },
    }


def _endpoints(router: Router, port: int) -> list[Document]:
    every = [router.replica(ordinal) for ordinal in range(len(router.replicas))]
    own = [_endpoint(Address(host, port), every[ordinal]) for ordinal, host in enumerate(router.replicas)]
    # One name for all of them, and a list of the subsets that each of its addresses is in.
    ready = Address(router.ready, port)
    return [
        {"priority": 0, "lb_endpoints": own},
        {"priority": 1, "lb_endpoints": [_endpoint(ready, [*every, router.any_replica])]},
    ]


def _endpoint(address: Address, value: str | list[str]) -> Document:
    return {
        "endpoint": {"address": address.document()},
        "metadata": {"filter_metadata": {"envoy.lb": {KEY: value}}},
    }


def _subsets(router: Router) -> Document:
    even = typed("envoy.load_balancing_policies.round_robin", f"{_BALANCING}.round_robin.v3.RoundRobin")
    return typed(
        "envoy.load_balancing_policies.subset",
        f"{_BALANCING}.subset.v3.Subset",
        subset_selectors=[{"keys": [KEY]}],
        list_as_any=True,
        # No id, or that of a replica that nobody has ever heard of.
        fallback_policy="DEFAULT_SUBSET",
        default_subset={KEY: router.any_replica},
        # Where none is ready, one that is not says what it waits for.
        panic_mode_any=True,
        # Not the one with the fewest requests: a replica that refuses connections always has none.
        subset_lb_policy={"policies": [{"typed_extension_config": even}]},
    )


def _dns(router: Router) -> Document:
    resolver = {"resolvers": [address.document() for address in router.resolvers]} if router.resolvers else {}
    seconds = min(max(len(router.replicas) // _NAMES_A_SECOND, _FASTEST), _SLOWEST)
    return typed(
        "envoy.cluster.dns",
        "envoy.extensions.clusters.dns.v3.DnsCluster",
        dns_refresh_rate=f"{seconds}s",
        dns_failure_refresh_rate={"base_interval": f"{seconds}s", "max_interval": f"{seconds}s"},
        respect_dns_ttl=False,
        dns_lookup_family="V4_PREFERRED",
        typed_dns_resolver_config=typed(
            "envoy.network.dns_resolver.cares",
            "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            **resolver,
        ),
    )
