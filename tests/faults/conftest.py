"""Marks what takes longer than unit tests may."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real servers belong to `make faults`; what is pure stays short."""
    for item in items:
        if item.path.stem.endswith("_process"):
            item.add_marker(pytest.mark.process)
