"""What Envoy reads once, at its start: where the other files are, what it shows of itself, and how much it takes."""

from .listener import listener, manager
from .model import BOOTSTRAP, CDS, LDS, Document, Router, typed

LIVE_PATH = "/live"
METRICS_PATH = "/stats/prometheus"
THREADS = 2
_OLD_LISTENER_SECONDS = 300
"""When the listener's file changes, what runs on the old one may go on for this long."""
MAX_CONNECTIONS = 8192
"""Of clients at once; one more is closed at once."""


def arguments(router: Router) -> list[str]:
    """Return what Envoy is started with."""
    return [
        *("--config-path", f"{router.folder}/{BOOTSTRAP}"),
        # Else a thread for each CPU of the node.
        *("--concurrency", str(THREADS)),
        # That is for two processes side by side; it wants shared memory.
        "--disable-hot-restart",
        *("--drain-time-s", str(_OLD_LISTENER_SECONDS)),
        *("--log-level", "warning"),
    ]


def bootstrap(router: Router) -> Document:
    """Return the bootstrap: a change of it needs new pods."""
    return {
        # Envoy starts with no names, but not with LDS then.
        "node": {"id": router.service, "cluster": router.service},
        "admin": {"address": router.admin.document()},
        "dynamic_resources": {"lds_config": _file(router, LDS), "cds_config": _file(router, CDS)},
        "static_resources": {"listeners": [_status(router)], "clusters": [_admin(router)]},
        "overload_manager": {
            "resource_monitors": [
                typed(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=MAX_CONNECTIONS,
                )
            ]
        },
    }


def _status(router: Router) -> Document:
    """Return the listener that shows the metrics, and nothing else of the admin interface."""
    routes = [
        {"match": {"path": LIVE_PATH}, "direct_response": {"status": 200}},
        {"match": {"path": METRICS_PATH}, "route": {"cluster": "admin"}},
    ]
    host = {"name": "status", "domains": ["*"], "routes": routes}
    return {**listener("status", router.status, manager("status", host, [])), "ignore_global_conn_limit": True}


def _admin(router: Router) -> Document:
    endpoint = {"endpoint": {"address": router.admin.document()}}
    assignment = {"cluster_name": "admin", "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": "admin", "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}


def _file(router: Router, name: str) -> Document:
    # The folder is watched, not the file: kubelet swaps a link to the folder when the ConfigMap changes.
    source = {"path": f"{router.folder}/{name}", "watched_directory": {"path": router.folder}}
    return {"resource_api_version": "V3", "path_config_source": source}
