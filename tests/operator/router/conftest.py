"""One router for most tests, in front of replicas in every state that one can be in."""

from collections.abc import Iterator

import pytest

from tests.support.router_world import GONE, LIVE, REFUSING, SILENT, World, world_of

STATES = (LIVE, LIVE, GONE, REFUSING, SILENT)


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(tmp_path_factory.mktemp("envoy"), STATES) as made:
        yield made


@pytest.fixture
def world(standing: World) -> World:
    """The router that stands for all tests; its replicas have forgotten what earlier ones asked."""
    for each in standing.replicas.values():
        each.forget()
    return standing
