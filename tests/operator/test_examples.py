"""The examples are specs that the operator takes."""

from pathlib import Path

import pytest
import yaml

from mooring_operator.api import names
from mooring_operator.api.v1alpha1 import parse

ROOT = Path(__file__).parents[2]
SERVICES = [
    document
    for path in sorted((ROOT / "examples").rglob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
    if document.get("kind") == names.KIND
]


def test_there_are_services() -> None:
    assert "file-type" in {service["metadata"]["name"] for service in SERVICES}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service["metadata"]["name"])
def test_service_is_valid(service: dict[str, object]) -> None:
    assert service["apiVersion"] == names.API_VERSION
    assert "status" not in service
    parse(service)
