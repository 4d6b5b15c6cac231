"""Whether a number of replicas is what the autoscaler wants."""

from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.cluster.scaling import scaled_by
from mooring_operator.facts import Manifest, ObjectKey
from tests.support import builders

HPA = names.AUTOSCALER_FIELD_MANAGER


def stands(running: int, autoscaler: Manifest | None) -> dict[ObjectKey, Manifest]:
    workload = {"status": {"replicas": running + 3, "readyReplicas": running}}
    found = {ObjectKey("StatefulSet", builders.NAME): workload}
    return found if autoscaler is None else {**found, ObjectKey("HorizontalPodAutoscaler", builders.NAME): autoscaler}


def autoscaler(utilization: int | None, active: str = "True") -> Manifest:
    current: dict[str, Any] = {} if utilization is None else {"averageUtilization": utilization}
    metric = {"type": "ContainerResource", "containerResource": {"name": "cpu", "current": current}}
    conditions = [{"type": "AbleToScale", "status": "True"}, {"type": "ScalingActive", "status": active}]
    # Its own count of replicas is what was written, and so no help.
    return {"status": {"conditions": conditions, "currentReplicas": 2, "currentMetrics": [metric]}}


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


def test_other_writers_are_told_as_they_are() -> None:
    assert scaled_by(builders.service(), "kubectl", {}) == "kubectl"
    assert scaled_by(builders.service(), "", {}) == ""
    assert scaled_by(builders.service(), HPA, {}) == ""
