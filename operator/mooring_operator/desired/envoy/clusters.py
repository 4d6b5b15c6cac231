"""The clusters: the replicas by HTTP/1.1, and by HTTP/2 for gRPC.

In the first priority each replica is there by its own name, ready or not, in a subset of one: that is where a request
of its sessions goes. In the next priority those that are ready are in the subset of each: that is where such a request
goes when its replica is not in DNS, and where it is tried again when no connection can be made. All other requests are
for a subset that only these are in, so that none comes to a replica that still loads its model. This needs no change at
a resize.

A replica that takes connections and answers nothing (its process hangs, its disk stands still) would keep its sessions'
requests for minutes. So each is asked whether it answers at all; while it does not, its requests go where they go when
it is not there. What is under way at it is left to it: it may only be busy.
"""

from ...api import names
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
MISSES = 3
"""Looks in a row that a replica leaves without an answer, until it is taken for one that is not there."""
_AGAIN_SECONDS = 0.5
"""Between two looks at such a one: where there is no other replica, its sessions wait for the next."""
MERGE_SECONDS = 0.1
"""For which news of replicas that answer, or do not any more, are kept to be told to Envoy's threads at once. Its own
is a second; without any, the start of a thousand replicas is a thousand times all of its subsets."""
_ANY_STATUS = {"start": 100, "end": 600}
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
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": f"{MERGE_SECONDS}s"},
        "ignore_health_on_host_removal": True,
        "health_checks": [_check(router)],
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
    own = [_endpoint(router, Address(host, port), every[ordinal]) for ordinal, host in enumerate(router.replicas)]
    # One name for all of them, and a list of the subsets that each of its addresses is in.
    ready = _endpoint(router, Address(router.ready, port), [*every, router.any_replica])
    return [{"priority": 0, "lb_endpoints": own}, {"priority": 1, "lb_endpoints": [ready]}]


def _endpoint(router: Router, address: Address, value: str | list[str]) -> Document:
    elsewhere = address.port != router.live_port
    check: Document = {"health_check_config": {"port_value": router.live_port}} if elsewhere else {}
    return {
        "endpoint": {"address": address.document(), **check},
        "metadata": {"filter_metadata": {"envoy.lb": {KEY: value}}},
    }


def _check(router: Router) -> Document:
    """Return the look at a replica: any answer will do, also that it is not well."""
    again, regular = f"{_AGAIN_SECONDS}s", f"{router.check_seconds}s"
    return {
        "timeout": f"{router.patience_seconds}s",
        "interval": regular,
        # Else once a minute where no request has come yet.
        "no_traffic_interval": regular,
        "no_traffic_healthy_interval": regular,
        "unhealthy_interval": again,
        "unhealthy_edge_interval": again,
        "unhealthy_threshold": MISSES,
        "healthy_threshold": 1,
        # HTTP/1.1 to the port of HTTP, also for gRPC: there is one process behind both.
        "http_health_check": {
            "path": names.PATH_LIVE,
            "codec_client_type": "HTTP1",
            "expected_statuses": [_ANY_STATUS],
        },
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
