"""Two operators, one leader: who leads, and how soon the other does."""

import time
from collections.abc import Callable

import pytest

from mooring_operator.cluster import kinds
from mooring_operator.cluster.kube import Call
from mooring_operator.facts import Manifest
from tests.cluster.processes import wait_until
from tests.support import chart
from tests.support.operator import Operator, elapsed
from tests.support.world import MERGE, World, eventually

NewOperator = Callable[..., Operator]


async def holder(world: World) -> str:
    lease: Manifest = await world.kube.get(kinds.LEASE, chart.NAMESPACE, "mooring-operator")
    return str(lease["spec"]["holderIdentity"])


async def passes_to(world: World, name: str, patience: float) -> None:
    async def leads() -> bool:
        return await holder(world) == name

    await eventually(f"{name} holds the lease", leads, patience)


@pytest.mark.timeout(180)
async def test_one_leads_and_the_other_takes_over(world: World, new_operator: NewOperator) -> None:
    first, second = new_operator("first").start_leading(), new_operator("second").start()
    wait_until(second.follows, 30, "the second operator to stand by")
    assert (await holder(world), first.leads(), second.leads()) == ("first", True, False)

    # A stop gives the lease back.
    began = time.monotonic()
    assert first.stop() == 0
    await passes_to(world, "second", patience=10)
    assert elapsed(began) <= 3
    wait_until(second.leads, 30, "the second operator to fill its cache")
    await world.make("after-stop")
    await world.appears(kinds.DEPLOYMENT, "after-stop")

    # A kill leaves it to run out.
    third = new_operator("third").start()
    wait_until(third.follows, 30, "the third operator to stand by")
    began = time.monotonic()
    second.kill()
    await passes_to(world, "third", patience=30)
    assert elapsed(began) <= 20
    wait_until(third.leads, 30, "the third operator to fill its cache")
    await world.make("after-kill")
    await world.appears(kinds.DEPLOYMENT, "after-kill")
    assert third.stop() == 0


@pytest.mark.timeout(120)
async def test_a_leader_that_loses_its_lease_ends(world: World, new_operator: NewOperator) -> None:
    operator = new_operator("loser").start_leading()
    await world.kube.call(_taken_by("another"))
    wait_until(lambda: operator.process.poll() is not None, 15, "the operator to end")
    assert operator.process.returncode == 1
    assert await holder(world) == "another"
    # The same pod, started again, stands by; and leads when the lease has run out.
    operator.start()
    wait_until(operator.follows, 30, "the operator to stand by")
    await world.kube.call(_taken_by(""))
    wait_until(operator.leads, 30, "the operator to lead")


async def test_a_crashed_leader_leads_again_at_once(new_operator: NewOperator) -> None:
    # Under the name of its pod: kubelet starts the next container when the last one is dead.
    operator = new_operator("again").start_leading()
    operator.kill()
    began = time.monotonic()
    operator.start_leading()
    assert elapsed(began) < 12


async def test_a_follower_stops_when_told(new_operator: NewOperator) -> None:
    leader, follower = new_operator("leader").start_leading(), new_operator("follower").start()
    wait_until(follower.follows, 30, "the second operator to stand by")
    assert follower.stop() == 0
    assert leader.stop() == 0


def _taken_by(name: str) -> Call:
    path = kinds.LEASE.path(chart.NAMESPACE, "mooring-operator")
    return Call("patch", "PATCH", path, (), {"spec": {"holderIdentity": name}}, MERGE)
