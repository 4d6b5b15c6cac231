"""The chart, rendered once."""

from pathlib import Path

import pytest

from tests.cluster import assets
from tests.support import chart


@pytest.fixture(scope="session")
def helm() -> Path:
    """The helm binary; built on a machine that has none yet."""
    return assets.build() / "helm"


@pytest.fixture(scope="session")
def manifests(helm: Path) -> list[chart.Manifest]:
    """The chart with its default values."""
    return chart.render(helm)
