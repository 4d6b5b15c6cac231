"""What one service's autoscaler asks of Prometheus itself, where KEDA is the one who asks. Pure."""

from typing import Final

from ..api import names
from ..facts import Service

_IN_FLIGHT: Final = "mooring_in_flight"


def decided(metric: str, service: Service) -> str:
    """Return the query of a metric that the operator works out and exports.

    Only the operator that leads has the series; for a moment after a change of leaders there may be two.
    """
    return f"max({metric}{_matchers(service)})"


def measured(metric: str, service: Service) -> str:
    """Return the query of a metric that is a sum over the servers' own series, so that it needs no operator.

    Raises `ValueError` for a metric that is not such a sum.
    """
    at, queued = _matchers(service), names.METRIC_QUEUE_DEPTH
    if metric == queued:
        return f"sum({queued}{at})"
    if metric == names.METRIC_LOAD:
        return f"sum({_IN_FLIGHT}{at}) + sum({queued}{at})"
    raise ValueError(f"{metric} is no sum over the servers' series")


def _matchers(service: Service) -> str:
    namespace, name = names.METRIC_LABEL_NAMESPACE, names.METRIC_LABEL_SERVICE
    return f'{{{namespace}="{service.namespace}", {name}="{service.name}"}}'
