"""The clusters of a test run: taken, kept or borrowed, and given back."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cluster import assets, host, keda, lifecycle, processes
from tests.cluster.cluster import Cluster, borrow, find
from tests.cluster.places import ROOT, ClusterError

_FOLDER = ROOT / "build" / "cluster"
# So many runs may share a checkout; each has clusters of its own.
_RUNS = 8


def skip_reason(nodes: int) -> str | None:
    """Why tests of such a cluster cannot run here, in one line; None when they can."""
    return None if borrowed_context() else host.unfit(nodes)


def borrowed_context() -> str | None:
    """The context of KUBECONFIG that the user lends to the tests: never the one that happens to be current."""
    return os.environ.get("MOORING_TEST_CONTEXT") or None


def prepare(nodes: int) -> None:
    """Builds the binaries if they are missing: before the first test, since it takes longer than any may."""
    if skip_reason(nodes) is None and not borrowed_context():
        assets.build()


def prepare_keda() -> None:
    """Builds KEDA if it is missing, and can be."""
    if keda.unusable() is None:
        keda.build()


@contextmanager
def session_cluster(name: str, nodes: int) -> Iterator[Cluster]:
    """The cluster of one test run, taken down at its end.

    With MOORING_KEEP_CLUSTER=1 it stays, and the next run with that variable takes it over.
    With MOORING_TEST_CONTEXT the user's own cluster is used instead.
    """
    if reason := skip_reason(nodes):
        pytest.skip(reason)
    if context := borrowed_context():
        yield borrow(context, _FOLDER / "borrowed")
        return
    keep = os.environ.get("MOORING_KEEP_CLUSTER") == "1"
    with ExitStack() as claims:
        state = _claim(name, claims)
        _remove_abandoned(name)
        cluster = (_standing(state, nodes) if keep else None) or lifecycle.up(state.name, state, nodes)
        (state / "kept").touch() if keep else (state / "kept").unlink(missing_ok=True)
        yield cluster
        if not keep:
            lifecycle.down(state)


def _claim(name: str, claims: ExitStack) -> Path:
    """The first state folder called `name`, `name-2`, … that no other run holds."""
    for number in range(1, _RUNS + 1):
        state = _FOLDER / (name if number == 1 else f"{name}-{number}")
        try:
            claims.enter_context(lifecycle.held(state))
        except ClusterError:
            continue
        return state
    raise ClusterError(f"{_RUNS} test runs hold clusters in {_FOLDER} already")


def _remove_abandoned(name: str) -> None:
    """Takes down what killed runs of other numbers left, unless someone wanted it kept."""
    for state in _FOLDER.glob(f"{name}*"):
        if not state.is_dir() or (state / "kept").exists():
            continue
        try:
            with lifecycle.held(state):
                lifecycle.down(state)
        except ClusterError:
            continue  # a living run's


def _standing(state: Path, nodes: int) -> Cluster | None:
    try:
        cluster = find(state)
    except ClusterError:
        return None
    alive = all(component.alive() for component in processes.components(state))
    return cluster if alive and cluster.nodes == nodes else None
