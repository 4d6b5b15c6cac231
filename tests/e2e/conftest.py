"""One installation for all, a namespace and services of its own for each test."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.support import e2e_metrics, e2e_site
from tests.support.e2e_autoscaling_timeline import Row, table
from tests.support.e2e_metrics import Metrics
from tests.support.e2e_moves import Figures
from tests.support.e2e_service import Served
from tests.support.e2e_site import Site

_HERE = Path(__file__).parent
_SECONDS, _LONG_SECONDS = 180, 1800
_FIGURES = pytest.StashKey[Figures]()
_TIMELINES = pytest.StashKey[list[tuple[str, list[Row]]]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seconds = _LONG_SECONDS if config.getoption("--long") else _SECONDS
    for item in items:
        if _HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            # Without its fixtures: on a new machine the first of them builds the images, which takes minutes.
            item.add_marker(pytest.mark.timeout(seconds, func_only=True))


def pytest_terminal_summary(config: pytest.Config) -> None:
    """Prints what moves and crashes of sessions cost, where that was measured, and writes build/bench/moves.json; and
    what happened while services were scaled.
    """
    for title, rows in config.stash.get(_TIMELINES, []):
        print(f"\n{table(title, rows)}")
    if (figures := config.stash.get(_FIGURES, None)) is not None:
        figures.write()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """Where tests put what they measure; the summary shows it."""
    return pytestconfig.stash.setdefault(_FIGURES, Figures())


@pytest.fixture(scope="session")
def timelines(pytestconfig: pytest.Config) -> list[tuple[str, list[Row]]]:
    """Where tests put what they record of a service that is scaled, with a title; the summary shows it."""
    return pytestconfig.stash.setdefault(_TIMELINES, [])


@pytest.fixture
def metrics(site: Site, tmp_path: Path) -> Iterator[Metrics]:
    """The resource metrics API, which tells of every pod what the test says."""
    with e2e_metrics.serving(site.cluster, tmp_path) as serving:
        yield serving


@pytest.fixture(scope="session")
def site(node_cluster: Cluster) -> Site:
    """The cluster with Mooring on it, installed by helm as the README says."""
    return e2e_site.make(node_cluster)


@pytest.fixture
def namespace(site: Site) -> Iterator[str]:
    """A namespace in which only pods of the level `restricted` are taken; deleted without waiting."""
    name = f"test-{secrets.token_hex(4)}"
    e2e_site.make_namespace(site.cluster, name)
    yield name
    site.cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def served(site: Site, namespace: str) -> Callable[[str], Served]:
    """Handles of services in the test's namespace, by name."""
    return lambda name: Served(site.cluster, namespace, name)
