"""The services by list and watch: also across an API server that was away."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from mooring_operator.adapter.services import Pods, Services
from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.facts import Key
from tests.cluster.cluster import Cluster
from tests.support import builders
from tests.support.world import World, eventually

pytestmark = [pytest.mark.usefixtures("awake_controllers"), pytest.mark.timeout(120)]


@pytest.fixture
async def services(world: World, operator_env: dict[str, str]) -> AsyncIterator[Services]:
    found = Services(world.kube)
    task = asyncio.create_task(found.run(lambda: None))
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_services_come_change_and_go(
    world: World, services: Services, control_plane: Cluster, namespace: str
) -> None:
    key = Key(namespace, "demo")

    def target() -> int | None:
        service = dict(services)[key].service if key in dict(services) else None
        scaling = service.spec.scaling if service is not None else None
        return scaling.concurrency.target if scaling is not None and scaling.concurrency is not None else None

    async def has(wanted: int | None) -> bool:
        return target() == wanted

    async def counts(wanted: int) -> bool:
        found = dict(services)[key].service
        return found is not None and services.pods(found) == Pods(wanted, 0)

    made = await world.make("demo", scaling={"maxReplicas": 4, "concurrency": {"target": 3}})
    await eventually("the service to be seen", lambda: has(3))
    control_plane.kubectl("create", "deployment", "demo", "--image=localhost/none:1", "--replicas=2", "-n", namespace)
    assert services.pods(builders.service("demo", namespace=namespace)) == Pods(0, None)  # it is not the operator's
    control_plane.kubectl("label", "deployment", "demo", names.MANAGED_SELECTOR, "-n", namespace)
    await eventually("its pods to be seen", lambda: counts(2))
    assert target() == 3
    await world.change("demo", scaling={"maxReplicas": 4, "concurrency": {"target": 5}})
    await eventually("the change to be seen", lambda: has(5))

    control_plane.restart_apiserver(downtime=0.5)
    await world.change("demo", scaling={"maxReplicas": 4, "concurrency": {"target": 6}})
    await eventually("a change after the API server's return", lambda: has(6))
    assert services.ready

    # Its time tells about certificates: it is that of the API server's answers, to the second.
    assert abs((world.kube.now() - datetime.now(UTC)).total_seconds()) < 3
    await world.kube.delete(kinds.INFERENCE_SERVICE, namespace, "demo", made["metadata"]["uid"])
    await eventually("the service to be gone", lambda: has(None))
    assert key not in dict(services)
