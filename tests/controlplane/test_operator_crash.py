"""The operator dies at any moment of making, changing and deleting, and the next one ends up with the same children."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from mooring_operator.cluster import kinds
from mooring_operator.cluster.kinds import Kind
from mooring_operator.facts import Manifest
from tests.support.operator import Operator
from tests.support.world import World, eventually

SCALED = {"scaling": {"maxReplicas": 4, "cpu": {"target": 50}}}
SPECS: list[dict[str, Any]] = [
    {"replicas": 2, "scaling": None},
    {"replicas": 1, **SCALED},
    {"replicas": 1, "scaling": None, "pod": {"labels": {"team": "red"}, "serviceAccountName": "theirs"}},
]
"""What services change to and fro between: each has a child that another has not, or none of it."""
ORDER = (kinds.SERVICE_ACCOUNT, kinds.NETWORK_POLICY, kinds.SERVICE, kinds.POD_DISRUPTION_BUDGET)
"""Children that others come after."""
KINDS = [kind for kind in kinds.CHILDREN if kind not in {kinds.SCALED_OBJECT, kinds.SERVICE_MONITOR}]
"""Of children, less those of others that this cluster does not know."""
WORKS = 0.2
"""Seconds within which the operator has done what a change asks for: it dies within them."""


async def children(world: World, name: str) -> dict[str, Manifest]:
    """All children of a service, without what differs from one service to the next of the same spec."""
    found: dict[str, Manifest] = {}
    for kind in KINDS:
        pages = world.kube.pages(kind, f"mooring.dev/inferenceservice={name}", namespace=world.namespace)
        for child in [child async for page in pages for child in page]:
            meta = child["metadata"]
            assert meta["name"] == name, f"{kind.kind} {meta['name']} belongs to no spec"
            found[kind.kind] = _plain(child, name)
    if kinds.HORIZONTAL_POD_AUTOSCALER.kind in found and kinds.DEPLOYMENT.kind in found:
        del found[kinds.DEPLOYMENT.kind]["spec"]["replicas"]  # the autoscaler goes on from where it was
    return found


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key.replace(name, "NAME"): _plain(item, name) for key, item in value.items() if key not in _OWN}
    if isinstance(value, list):
        return [_plain(item, name) for item in value]
    return value.replace(name, "NAME") if isinstance(value, str) else value


_OWN = {
    *(
        "status",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
        "clusterIP",
        "clusterIPs",
    ),
    *("deployment.kubernetes.io/revision", "mooring.dev/desired-hash", "mooring.dev/template-hash"),
}
"""Fields that two services of one spec do not share."""


@pytest.mark.timeout(900)
async def test_killed_at_random_moments(world: World, new_operator: Callable[..., Operator], long: bool) -> None:
    rounds, dice = (50 if long else 8), random.Random(20261122)
    operator = new_operator()
    wanted: dict[str, int] = {}
    cut_off = 0
    for number in range(rounds):
        if dice.random() < 0.25:
            operator.start()  # it dies while it starts
        else:
            operator.start_leading()
        name = ""
        for turn in range(2):
            await asyncio.sleep(dice.uniform(0, WORKS))
            name = await act(world, dice, wanted, f"crash-{number}-{turn}")
        if dice.random() < 0.5:
            await asyncio.sleep(dice.uniform(0, WORKS))
        else:
            await begun(world, name, dice.choice(ORDER))
        operator.kill()
        found = [await children(world, name) for name in wanted]
        cut_off += any(0 < len(child) < 4 for child in found)
    assert cut_off > rounds // 50, "the kills came too late or too early to hit anything"
    operator.start_leading()
    # The same specs, never disturbed.
    for index, spec in enumerate(SPECS):
        await world.make(f"calm-{index}", **spec)
    expected = [await complete(world, f"calm-{index}", index) for index in range(len(SPECS))]
    assert [sorted(one) for one in expected] == [sorted(kinds_of(index)) for index in range(len(SPECS))]
    for name, index in wanted.items():

        async def same(name: str = name, index: int = index) -> bool:
            return await children(world, name) == expected[index]

        try:
            await eventually(f"{name} has the children of spec {index}", same)
        except AssertionError:
            assert await children(world, name) == expected[index]
            raise
    alive = {f"calm-{index}" for index in range(len(SPECS))} | set(wanted)
    for kind in KINDS:

        async def only_theirs(kind: Kind = kind) -> bool:
            pages = world.kube.pages(kind, "app.kubernetes.io/managed-by=mooring", namespace=world.namespace)
            return {child["metadata"]["name"] async for page in pages for child in page} <= alive

        # The garbage collector takes what belonged to a deleted service in its own time.
        await eventually(f"every {kind.kind} belongs to a service", only_theirs, patience=60)
    assert operator.stop() == 0


async def begun(world: World, name: str, kind: Kind) -> None:
    """Wait, without a pause, until a child of a service is there, if it comes at all."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline and await world.get(kind, name) is None:
        pass


async def act(world: World, dice: random.Random, wanted: dict[str, int], fresh: str) -> str:
    """Create, change or delete a service, remember what must come of it, and return its name."""
    choice = dice.choice(["create", "create", "change", "delete"]) if wanted else "create"
    name = fresh if choice == "create" else dice.choice(sorted(wanted))
    if choice == "create":
        wanted[name] = dice.randrange(len(SPECS))
        await world.make(name, **{key: value for key, value in SPECS[wanted[name]].items() if value is not None})
    elif choice == "delete":
        del wanted[name]
        await world.delete(kinds.INFERENCE_SERVICE, name)
    else:
        wanted[name] = (wanted[name] + 1) % len(SPECS)
        await world.change(name, pod=None)
        await world.change(name, **SPECS[wanted[name]])
    return name


def kinds_of(index: int) -> list[str]:
    """The kinds of children of a spec."""
    found = ["NetworkPolicy", "PodDisruptionBudget", "Service", "Deployment"]
    if "pod" not in SPECS[index]:
        found.append("ServiceAccount")
    if SPECS[index]["scaling"]:
        found.append("HorizontalPodAutoscaler")
    return found


async def complete(world: World, name: str, index: int) -> dict[str, Manifest]:
    """Wait for all children of a service; return them."""

    async def all_there() -> dict[str, Manifest] | None:
        found = await children(world, name)
        return found if sorted(found) == sorted(kinds_of(index)) else None

    return await eventually(f"{name} is complete", all_there)
