"""The documents of external.metrics.k8s.io/v1beta1, as the API machinery wants them. Pure.

Method: the types of k8s.io/metrics `external_metrics/v1beta1` and of `metav1.Status`. An error is always a Status with
the HTTP code inside, since clients take their reason from there.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from ..api import names

Document = dict[str, Any]

GROUP_VERSION: Final = f"{names.EXTERNAL_METRICS_GROUP}/{names.EXTERNAL_METRICS_VERSION}"
_REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    500: "InternalError",
    503: "ServiceUnavailable",
}
_LARGEST = 2.0**53
"""Above it a float no longer counts in ones, and a quantity of thousandths comes near the end of 64 bits."""


class ApiError(Exception):
    """A question that gets no value: the HTTP code of the answer, and what the asker is told."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Item(NamedTuple):
    """One value of a metric: of which series, when it was sampled (Unix seconds), and how much."""

    labels: Mapping[str, str]
    time: float
    value: float


def status(error: ApiError) -> Document:
    """Return the body of an answer that is an error."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": _REASONS.get(error.code, "InternalError"),
        "code": error.code,
    }


def api_group() -> Document:
    """Return what stands at /apis/external.metrics.k8s.io."""
    version = {"groupVersion": GROUP_VERSION, "version": names.EXTERNAL_METRICS_VERSION}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": names.EXTERNAL_METRICS_GROUP,
        "versions": [version],
        "preferredVersion": version,
    }


def api_resources(metrics: Iterable[str]) -> Document:
    """Return what stands at /apis/external.metrics.k8s.io/v1beta1: the same at all times, whatever Prometheus says.

    The verb is get alone. The garbage collector and the deletion of namespaces skip what cannot be listed and deleted;
    else they would ask for every metric of every namespace.
    """
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": GROUP_VERSION,
        "resources": [
            {
                "name": metric,
                "singularName": "",
                "namespaced": True,
                "kind": "ExternalMetricValueList",
                "verbs": ["get"],
            }
            for metric in metrics
        ],
    }


def value_list(metric: str, items: Iterable[Item]) -> Document:
    """Return the values of a metric. Raises `ValueError` for what a quantity cannot say."""
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": GROUP_VERSION,
        "metadata": {},
        "items": [
            {
                "metricName": metric,
                "metricLabels": dict(item.labels),
                "timestamp": datetime.fromtimestamp(item.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "value": quantity(item.value),
            }
            for item in items
        ],
    }


def quantity(value: float) -> str:
    """Return a number as a Kubernetes quantity, in thousandths where it is not whole.

    Raises `ValueError` for NaN, infinity, what is negative and what is too large: an autoscaler would take the first
    for an error at best, and none of them is ever a count of requests or replicas.
    """
    if not math.isfinite(value) or not 0 <= value < _LARGEST:
        raise ValueError(f"{value} is no amount that an autoscaler could use")
    thousandths = round(value * 1000)
    whole, rest = divmod(thousandths, 1000)
    return f"{thousandths}m" if rest else str(whole)


def check_accept(accept: str) -> None:
    """Return when whoever sends this Accept header takes plain JSON. Raises `ApiError` 406.

    `application/json;as=Table` and `;as=APIGroupDiscoveryList` are other documents, not ours; who asks for them names
    plain JSON after them.
    """
    ranges = [[part.strip().lower() for part in each.split(";")] for each in accept.split(",")]
    if accept.strip() and not any(
        kind in {"application/json", "application/*", "*/*"} and not any(part.startswith("as=") for part in parameters)
        for kind, *parameters in ranges
    ):
        raise ApiError(406, f"only application/json is served here, and {accept!r} takes none")
