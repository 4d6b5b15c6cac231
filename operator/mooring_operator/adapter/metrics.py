"""The adapter's own metrics, each named once."""

from typing import Final

from prometheus_client import Counter, Gauge

REQUESTS: Final = Counter("mooring_adapter_requests", "Requests to the external-metrics API, by HTTP code", ["code"])
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
