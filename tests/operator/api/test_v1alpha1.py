"""The service as it is written and read."""

from collections.abc import Iterator
from typing import Any

import pytest

from mooring_operator.api import crd, v1alpha1
from mooring_operator.api.v1alpha1 import InferenceServiceSpec, InferenceServiceStatus, Scaling, parse
from tests.support.good_specs import GOOD_SPECS
from tests.support.specs import GOOD


def written_fields(value: Any, path: str = "spec") -> Iterator[str]:
    """Yield the path of every field that a spec sets."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{path}.{name}"
            yield from written_fields(item, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from written_fields(item, path)


def known_fields(node: dict[str, Any], path: str = "spec") -> Iterator[str]:
    """Yield the path of every field that a schema has."""
    node = node.get("items", node)
    for name, item in node.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from known_fields(item, f"{path}.{name}")


@pytest.mark.parametrize("spec", GOOD_SPECS.values(), ids=GOOD_SPECS)
def test_good_spec(spec: dict[str, Any]) -> None:
    parsed = parse({"metadata": {"name": "sentiment"}, "spec": spec}).spec
    assert parse({"metadata": {"name": "sentiment"}, "spec": parsed.model_dump(by_alias=True)}).spec == parsed


def test_the_good_specs_use_every_field() -> None:
    known = set(known_fields(crd.schema()["properties"]["spec"]))
    used = {field for spec in GOOD_SPECS.values() for field in written_fields(spec)}
    assert known - used == set()


def test_the_least_spec_has_plain_defaults() -> None:
    spec = parse({"metadata": {"name": "sentiment"}, "spec": GOOD}).spec
    assert spec.model_dump(by_alias=True, exclude_none=True) == {
        "model": GOOD["model"],
        "replicas": 1,
        "resources": {"cpu": "1", "memory": "1Gi"},
        "runtime": {"allowUnsafeFormats": False},
        "pod": {},
        "rollout": {"progressDeadline": "10m"},
        "suspend": False,
    }


def test_what_the_server_adds_is_left_aside() -> None:
    live = {
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "sentiment", "uid": "1", "managedFields": [], "labels": {"a": "b"}},
        "spec": GOOD,
        "status": {"conditions": []},
    }
    assert parse(live) == parse({"metadata": {"name": "sentiment"}, "spec": GOOD})


def test_models_are_immutable() -> None:
    spec = InferenceServiceSpec.model_validate(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        spec.replicas = 2  # type: ignore[misc]


def test_scaling_is_empty_without_a_maximum() -> None:
    assert Scaling().is_empty()
    assert not Scaling(max_replicas=2, cpu=v1alpha1.CpuTarget(target=50)).is_empty()
    assert Scaling(max_replicas=2, cpu=v1alpha1.CpuTarget(target=50)).targets() == ("cpu",)


def test_every_exported_name_exists() -> None:
    assert [name for name in v1alpha1.__all__ if not hasattr(v1alpha1, name)] == []


def test_a_status_is_read_as_it_was_written() -> None:
    status = {
        "observedGeneration": 3,
        "replicas": 1,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "observedGeneration": 3,
                "lastTransitionTime": "2026-11-22T12:00:00Z",
                "reason": "Serving",
                "message": "the model answers",
            }
        ],
    }
    assert InferenceServiceStatus.model_validate(status).model_dump(by_alias=True, exclude_none=True) == status
