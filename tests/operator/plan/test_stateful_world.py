"""The plan in a simulated cluster where everything goes wrong: a few seeds here, hundreds with `--long`.

Each broken plan is noticed, or the simulation proves nothing.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mooring_operator import sessions
from mooring_operator.api import names
from mooring_operator.api.membership import Record
from mooring_operator.facts import Members, Observed, Service, Step
from mooring_operator.plan import growth, membership, stateful, stateful_rollout
from tests.support.stateful_world.cluster import Cluster
from tests.support.stateful_world.world import Scenario, World

SCENARIOS = {
    "by hand": Scenario(),
    "autoscaled": Scenario(autoscaler=True),
    "two operators": Scenario(operators=2),
    "volumes go with their replicas": Scenario(keeps=False),
    "volumes go, two operators": Scenario(keeps=False, operators=2),
    "killed all the time": Scenario(kills=0.3),
}
SHORT, LONG = 8, 300
Patch = pytest.MonkeyPatch


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_session_is_lost_and_all_comes_to_rest(name: str, long: bool) -> None:
    for seed in range(LONG if long else SHORT):
        assert World(seed, SCENARIOS[name]).run().violations == [], f"seed {seed} of {name}"


@pytest.mark.timeout(120)
def test_the_worlds_are_not_empty() -> None:
    worlds = [World(seed, Scenario(autoscaler=True)).run() for seed in range(9)]
    assert sum(world.judge.evictions for world in worlds) > 10
    assert all(len(world.judge.acknowledged) > 3 for world in worlds)
    assert sum(world.cluster.config_map.record.epoch for world in worlds if world.cluster.config_map) > 40
    assert any(world.cluster.config_map.record.lost for world in worlds if world.cluster.config_map)


def lowered_at_once(patch: Patch) -> str:
    """The StatefulSet goes down with the wish."""
    patch.setattr(stateful, "replicas", lambda service, observed, wanted, record: wanted)
    return "by hand"


def lowered_by_members_only(patch: Patch) -> str:
    """Replicas go when the members are clean."""
    patch.setattr(Record, "reach", property(lambda self: self.size))
    return "by hand"


def lowered_after_the_time_in_any_case(patch: Patch) -> str:
    """Replicas go after the drain's time, though their volumes go with them."""
    patch.setattr(stateful, "timed_out", sessions.drained)
    return "volumes go with their replicas"


def believes_every_shrink(patch: Patch) -> str:
    """Whoever writes `replicas` under an autoscaler is believed."""

    def wanted(service: Service, members: Members) -> int:
        return service.spec.replicas

    patch.setattr(stateful, "wanted_size", wanted)
    return "autoscaled"


def takes_nothing_over(patch: Patch) -> str:
    """What replicas know is not heard."""
    patch.setattr(membership, "taken_over", lambda members: None)
    return "by hand"


def hears_some_only(patch: Patch) -> str:
    """Without a record it goes on before every volume was heard."""
    patch.setattr(membership, "unheard_claims", lambda members: [])
    return "by hand"


def replaces_silently(patch: Patch) -> str:
    """The record names whatever store an ordinal reports."""
    stores = membership._stores

    def any_store(members: Members, reach: int) -> dict[int, str]:
        reported = {o: report.store for o, report in members.reports.items() if o < reach}
        return stores(members, reach) | reported

    patch.setattr(membership, "_stores", any_store)
    return "by hand"


def abandons_the_living(patch: Patch) -> str:
    """A store is given up as soon as somebody asks, without another one in its place."""

    def at_once(service: Service, observed: Observed, members: Members) -> int | None:
        record = members.record
        if record is None or members.abandon in {"", *record.lost}:
            return None
        return next((o for o, store in record.stores.items() if store == members.abandon), None)

    patch.setattr(membership, "abandonable", at_once)
    return "by hand"


def takes_two_down(patch: Patch) -> str:
    """The next replica is taken while another one is down."""

    def turn(view: Any, target: str) -> tuple[Any, str]:
        outdated = [pod for pod in view.pods.values() if pod.template_hash != target]
        return (outdated[0] if outdated else None), ""

    patch.setattr(stateful_rollout, "_turn", turn)
    return "by hand"


def asks_nobody_for_unreadable_state(patch: Patch) -> str:
    """A replica that is ready again is taken for one that can go on with its sessions."""
    patch.setattr(stateful_rollout, "_failure", lambda view: "")
    return "by hand"


def never_goes_back(patch: Patch) -> str:
    """A version that failed stays."""
    patch.setattr(stateful_rollout._View, "good", lambda self: None)
    return "by hand"


def has_all_the_time(patch: Patch) -> str:
    """A replica that does not come back is waited for, for ever."""
    patch.setattr(stateful_rollout, "_late", lambda view, marks: "")
    return "by hand"


def forgets_what_failed(patch: Patch) -> str:
    """What failed is not marked, and tried again."""
    plan = stateful.plan

    def forgets(service: Service, observed: Observed, wanted: str) -> Step:
        step = plan(service, observed, wanted)
        marks = {key: mark for key, mark in step.marks.items() if key != names.ANNOTATION_FAILED_TEMPLATE}
        return replace(step, marks=marks)

    patch.setattr(stateful, "plan", forgets)
    return "by hand"


def shrinks_volumes(patch: Patch) -> str:
    """The claim template is what the spec says, in every round."""
    patch.setattr(stateful, "growth", lambda service, observed, steady: growth.Growth())
    return "by hand"


def marks_whatever_stands(patch: Patch) -> str:
    """An operator that was held up writes the marks of its old plan."""

    def mark(cluster: Cluster, marks: dict[str, str], _seen: int) -> bool:
        if cluster.stateful_set is not None:
            cluster.stateful_set.marks = dict(marks)
        return True

    patch.setattr(Cluster, "mark", mark)
    return "two operators"


def counts_the_time_that_a_service_was_away(patch: Patch) -> str:
    """The drain's time runs on while a service is deleted."""
    patch.setattr(sessions, "_made", lambda stateful_set: datetime.min.replace(tzinfo=UTC))
    return "by hand"


MUTATIONS = (
    marks_whatever_stands,
    counts_the_time_that_a_service_was_away,
    lowered_at_once,
    lowered_by_members_only,
    lowered_after_the_time_in_any_case,
    believes_every_shrink,
    takes_nothing_over,
    hears_some_only,
    replaces_silently,
    abandons_the_living,
    takes_two_down,
    asks_nobody_for_unreadable_state,
    never_goes_back,
    has_all_the_time,
    forgets_what_failed,
    shrinks_volumes,
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_broken_plan_is_noticed(mutation: Callable[[Patch], str], monkeypatch: Patch) -> None:
    scenario = SCENARIOS[mutation(monkeypatch)]
    for seed in itertools.count():
        assert seed < 400, mutation.__doc__
        if World(seed, scenario).run().violations:
            return
