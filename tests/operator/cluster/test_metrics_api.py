"""Whose the external metrics of a cluster are."""

from typing import Any

import pytest

from mooring_operator.cluster.metrics_api import metrics_api
from mooring_operator.facts import Manifest, MetricsApi


def api_service(namespace: str = "", name: str = "", available: str = "True", **labels: str) -> Manifest:
    service: dict[str, Any] = {"namespace": namespace, "name": name} if name else {}
    condition = {"type": "Available", "status": available, "reason": "FailedDiscoveryCheck", "message": "no response"}
    return {
        "metadata": {"name": "v1beta1.external.metrics.k8s.io", "labels": labels},
        "spec": {"service": service} if service else {},
        "status": {"conditions": [{"type": "Other", "status": "False"}, condition]},
    }


@pytest.mark.parametrize(
    ("live", "owner"),
    [
        (api_service("mooring", "mooring-adapter"), "mooring"),
        (api_service("elsewhere", "mooring-adapter"), "other"),  # another installation's
        (api_service("keda", "keda-operator-metrics-apiserver"), "keda"),
        (api_service("infra", "keda-metrics-apiserver"), "keda"),
        (api_service("infra", "renamed", **{"app.kubernetes.io/part-of": "keda-operator"}), "keda"),
        (api_service("monitoring", "prometheus-adapter"), "other"),
        (api_service(), "other"),
    ],
)
def test_whose_it_is(live: Manifest, owner: str) -> None:
    found = metrics_api(live, "mooring")
    assert found.owner == owner
    assert found.trouble == ""


def test_what_keeps_the_api_server_from_it() -> None:
    down = metrics_api(api_service("mooring", "mooring-adapter", "False"), "mooring")
    assert down == MetricsApi("mooring", "mooring/mooring-adapter", "no response")
    # Not looked at yet.
    assert metrics_api(api_service("mooring", "mooring-adapter", "Unknown"), "mooring").trouble == ""
