"""What is counted: `names` every metric, `stats` the numbers, `page` what Prometheus reads."""

from mooring_runtime.metrics.names import (
    COMPUTE_SECONDS,
    IN_FLIGHT,
    MODEL_READY,
    NV_COMPUTE_INFER_DURATION,
    NV_COUNT,
    NV_EXEC_COUNT,
    NV_PENDING_REQUEST_COUNT,
    NV_QUEUE_DURATION,
    NV_REQUEST_DURATION,
    NV_REQUEST_FAILURE,
    NV_REQUEST_SUCCESS,
    QUEUE_DEPTH,
    QUEUE_SECONDS,
    REQUEST_SECONDS,
    REQUESTS_RECEIVED,
    REQUESTS_REJECTED,
)
from mooring_runtime.metrics.page import CONTENT_TYPE, LABELS, MetricsPage
from mooring_runtime.metrics.stats import BUCKETS, FAILURE_REASONS, REJECT_CAUSES, Histogram, ModelStats

__all__ = [
    "BUCKETS",
    "COMPUTE_SECONDS",
    "CONTENT_TYPE",
    "FAILURE_REASONS",
    "IN_FLIGHT",
    "LABELS",
    "MODEL_READY",
    "NV_COMPUTE_INFER_DURATION",
    "NV_COUNT",
    "NV_EXEC_COUNT",
    "NV_PENDING_REQUEST_COUNT",
    "NV_QUEUE_DURATION",
    "NV_REQUEST_DURATION",
    "NV_REQUEST_FAILURE",
    "NV_REQUEST_SUCCESS",
    "QUEUE_DEPTH",
    "QUEUE_SECONDS",
    "REJECT_CAUSES",
    "REQUESTS_RECEIVED",
    "REQUESTS_REJECTED",
    "REQUEST_SECONDS",
    "Histogram",
    "MetricsPage",
    "ModelStats",
]
