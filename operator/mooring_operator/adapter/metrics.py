"""The adapter's own metrics, each named once."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter("mooring_adapter_requests", "Requests to the external-metrics API, by HTTP code", ["code"])
REVIEWS: Final = Counter(
    "mooring_adapter_access_reviews", "Questions to the API server of who may read what, by answer", ["result"]
)
PROMETHEUS_SECONDS: Final = Histogram(
    "mooring_adapter_prometheus_seconds",
    "Duration of one look at Prometheus, for all services",
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
PROMETHEUS_ERRORS: Final = Counter(
    "mooring_adapter_prometheus_errors", "Looks at Prometheus that gave nothing, by reason", ["reason"]
)
DATA_TIMESTAMP: Final = Gauge(
    "mooring_adapter_data_timestamp_seconds", "When Prometheus last gave what is answered from; 0: never"
)
SERVICES: Final = Gauge("mooring_adapter_services", "Services that there are answers for")
API_SERVICE: Final = Gauge(
    "mooring_adapter_api_service_ours",
    "1 while the APIService of external metrics leads here, 0 while it belongs to somebody else",
)
CERTIFICATE_EXPIRES: Final = Gauge(
    "mooring_adapter_certificate_expiry_timestamp_seconds", "When the certificate that is served expires"
)
