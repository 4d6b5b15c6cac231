"""The operator's own metrics, each named once."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

RECONCILES: Final = Counter(
    "mooring_operator_reconciles", "Rounds of the loop, by result (ok, or the kind of the error)", ["result"]
)
RECONCILE_SECONDS: Final = Histogram(
    "mooring_operator_reconcile_seconds",
    "Duration of one round of the loop",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
QUEUE_DEPTH: Final = Gauge("mooring_operator_queue_depth", "Services that wait for a worker")
QUEUE_SECONDS: Final = Histogram(
    "mooring_operator_queue_seconds",
    "Time that a service waited for a worker",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
API_REQUESTS: Final = Counter(
    "mooring_operator_api_requests",
    "Requests to the API server, by verb and HTTP code (0: no answer)",
    ["verb", "code"],
)
API_SECONDS: Final = Histogram(
    "mooring_operator_api_request_seconds",
    "Duration of one request to the API server",
    ["verb"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
PEER_REQUESTS: Final = Counter(
    "mooring_operator_peer_requests",
    "Questions and records to replicas of stateful services, by method and HTTP code (0: no answer)",
    ["method", "code"],
)
PEER_SECONDS: Final = Histogram(
    "mooring_operator_peer_request_seconds",
    "Duration of one question or record to a replica",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)
RECORDS_WRITTEN: Final = Counter("mooring_operator_records_written", "Membership records that were kept")
EVICTIONS: Final = Counter(
    "mooring_operator_evictions", "Pods of stateful services that a rollout evicted, by result", ["result"]
)
CHILDREN_WRITTEN: Final = Counter(
    "mooring_operator_children_written",
    "Children written, by kind and action (created, changed, deleted)",
    ["kind", "action"],
)
EVENTS_DROPPED: Final = Counter("mooring_operator_events_dropped", "Kubernetes Events that the rate limit left out")
CACHED_OBJECTS: Final = Gauge("mooring_operator_cached_objects", "Objects in the cache, by kind", ["kind"])
GHOSTS_DROPPED: Final = Counter(
    "mooring_operator_ghosts_dropped", "Cached objects that were gone without a word, by kind", ["kind"]
)
LAST_RESYNC: Final = Gauge(
    "mooring_operator_last_resync_timestamp_seconds", "When the cache was last held against the API server"
)
LEADER: Final = Gauge("mooring_operator_leader", "1 while this process leads")
PROMETHEUS_LOOKS: Final = Counter(
    "mooring_operator_prometheus_looks",
    "Looks at Prometheus for all services, by result (ok, or the reason why there is none)",
    ["result"],
)
PROMETHEUS_SECONDS: Final = Histogram(
    "mooring_operator_prometheus_look_seconds",
    "Duration of one look, all its queries together",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
