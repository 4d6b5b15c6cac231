"""The listener of the traffic: which replica a request goes to, when it is tried again, how long it may take."""

from ...api import names
from .clusters import GRPC, HTTP, KEY
from .model import Address, Document, Router, discovery, typed
from .replies import FAILURES, replies

READY_PATH = "/router-ready"
"""On the port of the traffic, so that it proves the listener, too. 503 while the router drains."""
IDLE_SECONDS = 300
"""A request ends after this long without a byte in either direction."""
_FILTERS = "envoy.extensions.filters.http"
_BODY_KEPT = 4 * 2**20
"""Bytes of a body that are kept until its answer begins, so that it can go to another replica when none took it."""


def lds(router: Router) -> Document:
    """Return the file of LDS."""
    hosts = {
        "name": "traffic",
        "domains": ["*"],
        "routes": _routes(),
        "request_body_buffer_limit": _BODY_KEPT,
    }
    traffic = {
        **manager("traffic", hosts, [_ready(), _ordinals(router)]),
        "use_remote_address": True,
        # No client is one of us: none may ask by x-envoy- headers for retries, which could apply a step twice.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        # Paths go through as they came: there is no rule about paths here, and ids of sessions stand in them.
        "normalize_path": False,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": f"{IDLE_SECONDS}s",
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": router.service},
        "http2_protocol_options": {"initial_stream_window_size": 2**20, "initial_connection_window_size": 2**24},
        "local_reply_config": replies(),
        "access_log": [_log()],
    }
    return discovery("envoy.config.listener.v3.Listener", [listener("traffic", router.listen, traffic)])


def listener(name: str, address: Address, http: Document) -> Document:
    """Return a listener for HTTP."""
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": http}
    return {"name": name, "address": address.document(), "filter_chains": [{"filters": [network]}]}


def manager(name: str, host: Document, filters: list[Document]) -> Document:
    """Return the HTTP connection manager of a listener with one virtual host."""
    last = typed("envoy.filters.http.router", f"{_FILTERS}.router.v3.Router", suppress_envoy_headers=True)
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "http_filters": [*filters, last],
        "route_config": {"name": name, "virtual_hosts": [host]},
    }


def _ready() -> Document:
    return typed(
        "envoy.filters.http.health_check",
        f"{_FILTERS}.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": READY_PATH}}],
    )


def _ordinals(router: Router) -> Document:
    # The last rule wins: a header over a cookie, which browsers send unasked.
    rules = [_rule(router, "cookie", names.COOKIE_SESSION), _rule(router, "header", names.HEADER_SESSION)]
    return typed(
        "envoy.filters.http.header_to_metadata", f"{_FILTERS}.header_to_metadata.v3.Config", request_rules=rules
    )


def _rule(router: Router, kind: str, name: str) -> Document:
    """Return the rule that takes the replica from a session's id.

    An id of another form becomes a replica that there is not, and so goes to any: as it stands it could be the number
    of one, and all clients that count their sessions from 1 would meet at the first replicas.
    """
    minted = {"regex": "^(?:([0-9]{1,5})[.][a-z2-7]+|.*)$"}
    rewrite = {"pattern": minted, "substitution": router.replica("\\1")}
    value = {"metadata_namespace": "envoy.lb", "key": KEY, "type": "STRING", "regex_value_rewrite": rewrite}
    return {kind: name, "on_header_present": value}


def _routes() -> list[Document]:
    return [
        {"match": {"prefix": "/", "grpc": {}}, "route": _route(GRPC)},
        {"match": {"prefix": "/"}, "route": _route(HTTP)},
    ]


def _route(cluster: str) -> Document:
    retry = "envoy.extensions.retry"
    return {
        "cluster": cluster,
        "timeout": "0s",
        "idle_timeout": f"{IDLE_SECONDS}s",
        "retry_policy": {
            # Failures in which nothing was sent, and no others.
            "retry_on": "connect-failure,refused-stream",
            # The first goes to the replica itself and each second one to another of all: so two may be dead besides.
            "num_retries": 5,
            "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.050s"},
            "retry_priority": typed(
                "envoy.retry_priorities.previous_priorities",
                f"{retry}.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                update_frequency=1,
            ),
            "retry_host_predicate": [
                typed(
                    "envoy.retry_host_predicates.previous_hosts",
                    f"{retry}.host.previous_hosts.v3.PreviousHostsPredicate",
                )
            ],
            "host_selection_retry_max_attempts": 16,
        },
    }


def _log() -> Document:
    """Return the log of requests that the router itself answered, or that broke off."""
    fields = {
        "time": "%START_TIME%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "upstream": "%UPSTREAM_HOST%",
        "milliseconds": "%DURATION%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    log = typed(
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": fields},
    )
    return {**log, "filter": {"response_flag_filter": {"flags": list(FAILURES)}}}
