"""The operator's definition, account and rights on the control plane, once a run; and a client for the tests."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mooring_operator.cluster.connection import Connection
from mooring_operator.cluster.kinds import INFERENCE_SERVICE
from mooring_operator.cluster.kube import Kube
from tests.cluster.cluster import Cluster
from tests.support import operator
from tests.support.operator import Operator
from tests.support.stateful import STORAGE_CLASS
from tests.support.world import World


@pytest.fixture(scope="module")
def operator_env(control_plane: Cluster) -> dict[str, str]:
    """The environment of an operator that has the chart's rights and no other."""
    return operator.install(control_plane)


@pytest.fixture
def new_operator(
    control_plane: Cluster, operator_env: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Operator]]:
    """Makes operators that are gone after the test: `new_operator(name, **settings)`. They are not started."""
    operator.drop_lease(control_plane)
    with ExitStack() as stack:

        def make(name: str = "operator-0", **settings: str) -> Operator:
            log = control_plane.state / f"{Path(request.node.name).name}-{name}.log"
            return stack.enter_context(Operator(operator_env, log, name, settings))

        yield make


@pytest.fixture(scope="module")
def leading(control_plane: Cluster, operator_env: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Operator]:
    """One operator that leads, for all tests of a module."""
    operator.drop_lease(control_plane)
    log = control_plane.state / f"{request.path.stem}.log"
    with Operator(operator_env, log, "leading") as one:
        yield one.start_leading()
        assert one.stop() == 0


@pytest.fixture(scope="module")
def growing_class(control_plane: Cluster) -> None:
    """A storage class whose volumes grow."""
    control_plane.apply(STORAGE_CLASS)


@pytest.fixture
async def world(control_plane: Cluster, namespace: str) -> AsyncIterator[World]:
    """A namespace of the test's own.

    Its services go with the test: a namespace that is being deleted takes its time, and the operator of the next test
    would still work on what is left of them.
    """
    async with Kube(await Connection.load(control_plane.kubeconfig), concurrency=8) as kube:
        yield World(kube, namespace)
        left = [found async for page in kube.pages(INFERENCE_SERVICE, namespace=namespace) for found in page]
        for metadata in (found["metadata"] for found in left):
            await kube.delete(INFERENCE_SERVICE, namespace, metadata["name"], metadata["uid"])
