"""The API server goes away and comes back: nothing is lost, nothing is kept that is gone."""

import time
from collections.abc import Callable

import pytest

from mooring_operator.cluster import kinds
from mooring_operator.cluster.lease import DEADLINE
from tests.cluster.cluster import Cluster
from tests.support.operator import Operator, elapsed, written
from tests.support.world import World, eventually

NewOperator = Callable[..., Operator]


@pytest.mark.timeout(180)
async def test_changes_are_seen_soon_after_an_outage(
    world: World, control_plane: Cluster, new_operator: NewOperator
) -> None:
    operator = new_operator().start_leading()
    for name in ("before", "kept"):
        await world.make(name)
        await world.appears(kinds.DEPLOYMENT, name)
        await world.settled(name)
    control_plane.restart_apiserver(downtime=4)
    back = time.monotonic()
    await world.change("before", replicas=2)
    await world.make("after")
    await world.delete(kinds.SERVICE, "kept")
    await world.becomes(kinds.DEPLOYMENT, "before", lambda found: found["spec"]["replicas"] == 2, "has 2 replicas")
    await world.appears(kinds.DEPLOYMENT, "after")
    await world.appears(kinds.SERVICE, "kept")
    assert elapsed(back) <= 3
    assert operator.leads()


@pytest.mark.timeout(180)
async def test_what_went_without_a_word_is_no_ghost(
    world: World, control_plane: Cluster, new_operator: NewOperator
) -> None:
    operator = new_operator().start_leading()
    for attempt in range(5):
        ghost, orphan = f"ghost-{attempt}", f"orphan-{attempt}"
        for name in (ghost, orphan):
            await world.make(name)
            await world.appears(kinds.DEPLOYMENT, name)
            await world.settled(name)
        start, began = control_plane.audit_size(), time.monotonic()
        # Stopped, it sees no deletion; the restart takes the history from which it could have caught up.
        with operator.paused():
            await world.delete(kinds.INFERENCE_SERVICE, ghost)
            await world.delete(kinds.SERVICE, orphan)
            await world.vanishes(kinds.DEPLOYMENT, ghost)
            control_plane.restart_apiserver()
        if elapsed(began) < DEADLINE - 1:
            break
        operator.kill()  # on a slow machine: it has lost its lease meanwhile, and knows nothing of before
        operator.start_leading()
    else:
        pytest.fail(f"the API server did not restart within {DEADLINE} s in 5 attempts")
    await world.appears(kinds.SERVICE, orphan)
    there = sum([len(page) async for page in world.kube.pages(kinds.INFERENCE_SERVICE, metadata_only=True)])

    async def forgotten() -> bool:
        return operator.metric('mooring_operator_cached_objects{kind="InferenceService"}') == there

    await eventually("the cache holds what there is", forgotten)
    assert operator.metric("mooring_operator_ghosts_dropped_total") >= 1
    assert [about for about in written(control_plane, start) if about[2] == ghost] == []
    assert operator.leads()
