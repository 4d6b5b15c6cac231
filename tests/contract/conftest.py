"""helm, and the chart that it renders."""

import shutil
from pathlib import Path

import pytest

from tests.cluster import assets
from tests.support import chart

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            # Without its fixtures: on a new machine the first of them builds helm, which takes minutes.
            item.add_marker(pytest.mark.timeout(60, func_only=True))
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.process)


@pytest.fixture(scope="session")
def helm() -> Path:
    """The helm binary: the cluster's, built when there is none yet, or the one on the PATH."""
    if assets.missing() and (reason := assets.buildable()):
        found = shutil.which("helm")
        if found is None:
            pytest.skip(f"no helm: {reason}")
        return Path(found)
    return assets.build() / "helm"


@pytest.fixture(scope="session")
def manifests(helm: Path) -> list[chart.Manifest]:
    """The chart with its default values."""
    return chart.render(helm)
