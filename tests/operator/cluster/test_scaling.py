"""Whether a number of replicas is what the autoscaler wants."""

from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.cluster.scaling import measured_cpu, scaled_by
from mooring_operator.facts import Manifest, ObjectKey
from tests.support import builders

HPA = names.AUTOSCALER_FIELD_MANAGER


def stands(running: int, autoscaler: Manifest | None) -> dict[ObjectKey, Manifest]:
    workload = {"status": {"replicas": running + 3, "readyReplicas": running}}
    found = {ObjectKey("StatefulSet", builders.NAME): workload}
    return found if autoscaler is None else {**found, ObjectKey("HorizontalPodAutoscaler", builders.NAME): autoscaler}


def autoscaler(utilization: int | None, active: str = "True") -> Manifest:
    current: dict[str, Any] = {} if utilization is None else {"averageUtilization": utilization}
    return measured([cpu("target", {"averageUtilization": 50})], [cpu("current", current)], active)


def measured(asked: list[Manifest], current: list[Manifest], active: str = "True") -> Manifest:
    conditions = [{"type": "AbleToScale", "status": "True"}, {"type": "ScalingActive", "status": active}]
    # Its own count of replicas is what was written, and so no help.
    status = {"conditions": conditions, "currentReplicas": 2, "currentMetrics": current}
    return {"spec": {"metrics": asked}, "status": status}


def cpu(field: str, value: dict[str, Any]) -> Manifest:
    return {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "server", field: value}}


def external(field: str, average: str, name: str = "mooring_desired_replicas") -> Manifest:
    selector = {"matchLabels": {"mooring_service": builders.NAME}}
    return {
        "type": "External",
        "external": {"metric": {"name": name, "selector": selector}, field: {"averageValue": average}},
    }


def wants(*averages: tuple[str, str, str]) -> Manifest:
    """By name of the metric: what one replica may have of it, and what it has."""
    return measured(
        [external("target", target, name) for name, target, _ in averages],
        [external("current", current, name) if current else {"type": ""} for name, _, current in averages],
    )


@pytest.mark.parametrize(
    ("asked", "found", "believed"),
    [
        (2, autoscaler(10), True),  # the load of 8 at a fifth of the target fits on 2
        (2, autoscaler(50), False),  # 8 are at their target: somebody applied a 1, and it was lifted to the minimum
        (7, autoscaler(43), True),
        (7, autoscaler(48), True),  # within the tolerance
        (5, autoscaler(43), False),
        (2, autoscaler(10, "False"), False),
        (2, autoscaler(None), False),
        (2, {"status": {}}, False),
        (2, {}, False),
        (2, None, False),
    ],
)
def test_a_number_that_was_measured_is_believed(asked: int, found: Manifest | None, believed: bool) -> None:
    scaling = {"minReplicas": 2, "maxReplicas": 8, "cpu": {"target": 50}}
    service = builders.service(state={"volume": {"size": "1Gi"}}, replicas=asked, scaling=scaling)
    assert scaled_by(service, HPA, stands(8, found)) == (HPA if believed else "")


@pytest.mark.parametrize(
    ("asked", "found", "believed"),
    [
        # The sum is what one of all 11 replicas has, 8 of which answer, times 11.
        (3, wants(("mooring_desired_replicas", "1", "273m")), True),
        (2, wants(("mooring_desired_replicas", "1", "273m")), False),
        (2, wants(("mooring_queue_depth", "4", "500m")), True),
        # Each of them must fit, and be known: an autoscaler that cannot see one of them never goes down.
        (3, wants(("mooring_desired_replicas", "1", "273m"), ("mooring_queue_depth", "4", "500m")), True),
        (2, wants(("mooring_desired_replicas", "1", "273m"), ("mooring_queue_depth", "4", "500m")), False),
        (3, wants(("mooring_desired_replicas", "1", "273m"), ("mooring_queue_depth", "4", "")), False),
        # Measured before the spec was changed.
        (3, measured([external("target", "1")], [external("current", "100m", "mooring_load")]), False),
    ],
)
def test_external_metrics_are_believed_too(asked: int, found: Manifest, believed: bool) -> None:
    scaling = {"minReplicas": 2, "maxReplicas": 12, "latency": {"target": "80ms"}}
    service = builders.service(state={"volume": {"size": "1Gi"}}, replicas=asked, scaling=scaling)
    assert scaled_by(service, HPA, stands(8, found)) == (HPA if believed else "")
    assert scaled_by(service, HPA, stands(8, None), found) == (HPA if believed else "")  # KEDA's


def test_the_cpu_that_was_measured() -> None:
    assert measured_cpu(autoscaler(43)) == 43
    assert measured_cpu(autoscaler(None)) is None
    assert measured_cpu(wants(("mooring_load", "4", "3"))) is None
    assert measured_cpu(None) is None


def test_other_writers_are_told_as_they_are() -> None:
    assert scaled_by(builders.service(), "kubectl", {}) == "kubectl"
    assert scaled_by(builders.service(), "", {}) == ""
    assert scaled_by(builders.service(), HPA, {}) == ""
