"""Options, time limits and clusters of all tests."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import clusters, order

# How long one example takes says more of the machine's load than of the code; the limits below bound whole tests.
hypothesis.settings.register_profile("mooring", deadline=None)
hypothesis.settings.load_profile("mooring")

_HERE = Path(__file__).parent
# Unit tests use no clock but a virtual one: whoever takes longer waits for something it should not. Alone each takes
# less than two seconds; beside others, on a machine that has no core left, some of them do not.
_UNIT_SECONDS = 5
# A property test is a hundred small ones.
_PROPERTY_SECONDS = 60
_MARKERS = {"controlplane": pytest.mark.controlplane, "e2e": pytest.mark.e2e}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files with what the code makes now")
    parser.addoption("--long", action="store_true", help="run the checks that have a long form in that form")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        order.longest_first(items)
    for item in items:
        if _HERE not in item.path.parents:
            continue
        folder = item.path.relative_to(_HERE).parts[0]
        if folder in _MARKERS:
            item.add_marker(_MARKERS[folder])
        if folder in {"operator", "runtime"} and item.get_closest_marker("timeout") is None:
            is_property = hasattr(getattr(item, "obj", None), "hypothesis")
            item.add_marker(pytest.mark.timeout(_PROPERTY_SECONDS if is_property else _UNIT_SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds the cluster's binaries before the first test, and shows the progress."""
    needed = {mark for item in session.items for mark in ("controlplane", "e2e") if item.get_closest_marker(mark)}
    if any("helm" in getattr(item, "fixturenames", ()) for item in session.items):
        needed.add("controlplane")
    if not needed or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    try:
        clusters.prepare(nodes=0 if "controlplane" in needed else 2)
        if session.config.option.long and any("keda" in getattr(item, "fixturenames", ()) for item in session.items):
            clusters.prepare_keda()
    finally:
        if capture is not None:
            capture.resume_global_capture()


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten instead of compared."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether checks run in their long form."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """An API server with its controllers and scheduler, one for the whole run; no node runs a pod."""
    with clusters.session_cluster("test-control", nodes=0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def awake_controllers(control_plane: Cluster) -> Iterator[None]:
    """For modules that take the API server away: leaves controllers that do not wait before they look again."""
    yield
    control_plane.restart_controllers()


@pytest.fixture(scope="session")
def node_cluster() -> Iterator[Cluster]:
    """Two nodes that run pods, one cluster for the whole run; for end-to-end tests."""
    with clusters.session_cluster("test-nodes", nodes=2) as cluster:
        yield cluster


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace of the test's cluster, in which pods are accepted; deleted without waiting."""
    end_to_end = request.node.get_closest_marker("e2e") is not None
    cluster: Cluster = request.getfixturevalue("node_cluster" if end_to_end else "control_plane")
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    # Until its default account exists every pod is refused.
    account = ["get", "serviceaccount", "default", "--namespace", name, "--ignore-not-found"]
    wait_until(lambda: bool(cluster.kubectl(*account)), 30, f"the default account of namespace {name}")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
