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

_SERVICE: Final = ("mooring_namespace", "mooring_service")
"""Not `namespace` and `service`: those belong to the scraper, which may rename them."""
SERVICE_LOAD_SECONDS: Final = Gauge(
    "mooring_service_load_seconds",
    "Time from a pod's creation until it answers: nine of ten took at most this",
    _SERVICE,
)
SERVICE_AUTOSCALING_READY: Final = Gauge(
    "mooring_service_autoscaling_ready",
    "1 while the autoscaler reads its metrics and can do what is asked, else 0; `reason` as in AutoscalingReady",
    (*_SERVICE, "reason"),
)
DESIRED_REPLICAS: Final = Gauge(
    "mooring_desired_replicas", "Replicas that meet the latency target under the load that is coming", _SERVICE
)
LOAD: Final = Gauge(
    "mooring_load",
    "Requests in flight and queued; where no batch curve is known, times the latency by its target (1 to 2)",
    _SERVICE,
)
SERVICE_QUEUE_DEPTH: Final = Gauge("mooring_service_queue_depth", "Queued requests of all pods of a service", _SERVICE)
LATENCY_RATIO: Final = Gauge("mooring_latency_ratio", "Percentile of the latency target by the target", _SERVICE)
PLANNED_RATE: Final = Gauge("mooring_scaling_planned_rate", "Requests a second that replicas are wanted for", _SERVICE)
REPLICA_RATE: Final = Gauge(
    "mooring_scaling_replica_rate", "Requests a second that one replica holds at the latency target", _SERVICE
)
BACKLOG_RATE: Final = Gauge(
    "mooring_scaling_backlog_rate", "Requests a second on top of the planned ones, to work off the queue", _SERVICE
)
SCALING_LEARNING: Final = Gauge(
    "mooring_scaling_learning", "1 while too little of the last hour is known to expect a rise", _SERVICE
)
