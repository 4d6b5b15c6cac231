"""When the StatefulSet is written only as it was seen."""

import pytest

from mooring_operator.cluster.moves import guarded
from mooring_operator.facts import Manifest
from tests.support.builders import NAME, observed, service, stateful_set


def live(replicas: int) -> Manifest:
    found = stateful_set("v1", replicas=replicas)
    return {**found, "metadata": {**found["metadata"], "resourceVersion": "77"}}


@pytest.mark.parametrize(
    ("keeps", "before", "after", "version"),
    [("Delete", 3, 2, "77"), ("Delete", 3, 3, None), ("Delete", 3, 4, None), ("Retain", 3, 1, None)],
    ids=["volumes go", "all stay", "more come", "volumes are kept"],
)
def test_volumes_are_taken_away_only_by_who_has_seen_the_latest(
    keeps: str, before: int, after: int, version: str | None
) -> None:
    asked = service(state={"volume": {"size": "1Gi"}, "retention": {"whenScaled": keeps}})
    other = {"kind": "Service", "metadata": {"name": NAME}}
    first, second = guarded(asked, [other, stateful_set("v1", replicas=after)], observed(live(before)))
    assert first == other
    assert second["metadata"].get("resourceVersion") == version


def test_a_statefulset_that_is_not_there_is_made() -> None:
    asked = service(state={"volume": {"size": "1Gi"}, "retention": {"whenScaled": "Delete"}})
    children = [stateful_set("v1")]
    assert guarded(asked, children, observed()) == children
