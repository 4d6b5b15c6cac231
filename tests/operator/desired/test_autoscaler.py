from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.facts import Manifest, Step
from tests.support import builders


def autoscaler(scaling: dict[str, Any] | None, **cluster: Any) -> Manifest | None:
    service = builders.service(scaling=scaling)
    children = desired.children(service, builders.cluster(**cluster), Step())
    return next((child for child in children if child["kind"] == "HorizontalPodAutoscaler"), None)


def behavior(given: dict[str, Any], **cluster: Any) -> Manifest:
    found = autoscaler({"maxReplicas": 4, "cpu": {"target": 50}, "behavior": given}, **cluster)
    assert found is not None
    made: Manifest = found["spec"]["behavior"]
    return made


@pytest.mark.parametrize(
    "scaling",
    [None, {"maxReplicas": 3, "queue": {"target": 4}}, {"maxReplicas": 3, "latency": {"target": "80ms"}}],
)
def test_only_for_cpu(scaling: dict[str, Any] | None) -> None:
    assert autoscaler(scaling) is None


def test_it_scales_the_deployment_by_the_servers_cpu() -> None:
    found = autoscaler({"minReplicas": 2, "maxReplicas": 9, "cpu": {"target": 70}})
    assert found is not None
    spec = found["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sentiment"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    [metric] = spec["metrics"]
    assert metric["containerResource"]["container"] == "server"
    assert metric["containerResource"]["target"] == {"type": "Utilization", "averageUtilization": 70}


def test_up_at_once_and_down_slowly() -> None:
    found = behavior({})
    assert found["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert {policy["type"]: policy["value"] for policy in found["scaleUp"]["policies"]} == {"Percent": 900, "Pods": 10}
    assert found["scaleDown"] == {"stabilizationWindowSeconds": 300}


def test_what_the_user_writes_replaces_our_default_and_nothing_else() -> None:
    policies = [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    found = behavior({"scaleUp": {"policies": policies}, "scaleDown": {"selectPolicy": "Disabled"}})
    assert found["scaleUp"] == {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": policies}
    assert found["scaleDown"] == {"stabilizationWindowSeconds": 300, "selectPolicy": "Disabled"}
    assert len(behavior({})["scaleUp"]["policies"]) == 2  # the default is as it was


@pytest.mark.parametrize(("percent", "expected"), [("5%", "50m"), ("0%", "0m"), ("100%", "1000m"), ("0150%", "1500m")])
def test_tolerance_is_a_quantity_where_the_cluster_knows_it(percent: str, expected: str) -> None:
    given = {"scaleDown": {"tolerance": percent}}
    assert behavior(given)["scaleDown"]["tolerance"] == expected
    assert "tolerance" not in behavior(given, hpa_tolerance=False)["scaleDown"]
