"""Whose the number of replicas is, and what stays of it when the autoscaler goes."""

from typing import Any

import pytest

from mooring_operator import plan
from mooring_operator.api import names
from mooring_operator.facts import Observed, Step
from tests.support import builders

MARK = names.ANNOTATION_REPLICAS
SCALED = {"maxReplicas": 12, "latency": {"target": "80ms"}}


def planned(stands: int, mark: str, **spec: Any) -> Step:
    live = builders.deployment("v1", replicas=stands, marks={MARK: mark} if mark else {})
    return plan.plan(builders.service(**spec), Observed(builders.NOW, {}, builders.observed(live).children), "v1")


@pytest.mark.parametrize(
    ("stands", "mark", "spec", "replicas", "marked"),
    [
        (3, "", {"replicas": 3}, 3, ""),
        (9, "", {"replicas": 3}, 3, ""),  # drift, which is put back
        (9, "", {"replicas": 3, "scaling": SCALED}, None, "3"),
        (9, "3", {"replicas": 2, "scaling": SCALED}, None, "2"),  # written while it is on
        (9, "3", {"replicas": 3}, 9, "3 9"),  # it goes
        (9, "1", {}, 9, "1 9"),
        (2, "3 9", {"replicas": 3}, 9, "3 9"),  # and stays so, whatever somebody does to the Deployment
        (9, "3", {"replicas": 4}, 4, ""),  # it goes, and somebody says how many
        (9, "3 9", {"replicas": 4}, 4, ""),
        (9, "3 9", {"replicas": 3, "scaling": SCALED}, None, "3"),  # it comes back
        (9, "3 many", {"replicas": 3}, 9, "3 9"),
    ],
)
def test_what_an_autoscaler_leaves_stays_until_somebody_writes_another_number(
    stands: int, mark: str, spec: dict[str, Any], replicas: int | None, marked: str
) -> None:
    step = planned(stands, mark, **spec)
    assert step.replicas == replicas
    assert step.marks.get(MARK, "") == marked


def test_a_service_that_begins_has_what_it_says() -> None:
    found = plan.plan(builders.service(replicas=3), builders.observed(), "v1")
    assert (found.replicas, dict(found.marks)) == (3, {})
