"""The plan as the operator of the protocol's model: every interleaving with replicas, a client and a user."""

from collections.abc import Callable

import pytest

from mooring_operator.api.membership import Record
from mooring_operator.facts import Members
from mooring_operator.plan import membership
from tests.faults.protocol_model.checker import explore, explore_model
from tests.faults.protocol_model.world import SCENARIOS
from tests.support import planned_model
from tests.support.planned_model import PlannedModel

QUICK = ("grow", "shrink", "shrink-cancelled", "minted-while-growing", "minted-and-sent-away", "ended")
"""Scenarios of a second; the others are looked through with `--long`."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_plan_does_what_the_operator_of_the_protocol_does(name: str, long: bool) -> None:
    if name not in QUICK and not long:
        pytest.skip("a long one: --long")
    outcome = explore_model(PlannedModel(SCENARIOS[name]))
    assert outcome.violation == "", "\n".join(outcome.run)
    protocol = explore(name)
    assert (outcome.states, outcome.edges) == (protocol.states, protocol.edges)


def members_only(patch: pytest.MonkeyPatch) -> str:
    """It settles when the members are clean, without the replicas that leave."""
    patch.setattr(Record, "reach", property(lambda self: self.size))
    return "shrink"


def any_epoch(patch: pytest.MonkeyPatch) -> str:
    """A replica that is clean under an older record counts as clean."""

    def clean(members: Members, ordinal: int) -> bool:
        report = members.reports.get(ordinal)
        return report is not None and report.clean

    patch.setattr(membership, "clean", clean)
    return "shrink-cancelled"


def forgotten_past(patch: pytest.MonkeyPatch) -> str:
    """A resize forgets what the ones before it had left."""
    resized = membership._resized

    def forgets(members: Members, wanted: int, arrived: int) -> Record | None:
        new = resized(members, wanted, arrived)
        assert members.record is not None
        return new and Record(new.epoch, new.size, (members.record.size,), new.stores, new.lost)

    patch.setattr(membership, "_resized", forgets)
    return "shrink-by-steps"


def settled_at_once(patch: pytest.MonkeyPatch) -> str:
    """A resize begins a record without past: nobody is asked for what is still elsewhere."""
    resized = membership._resized

    def settled(members: Members, wanted: int, arrived: int) -> Record | None:
        new = resized(members, wanted, arrived)
        return new and Record(new.epoch, new.size, (), new.stores, new.lost)

    patch.setattr(membership, "_resized", settled)
    return "grow"


def never_settled(patch: pytest.MonkeyPatch) -> str:
    """Nothing is ever settled."""
    patch.setattr(membership, "_settled", lambda members: None)
    return "grow"


MUTATIONS = (members_only, any_epoch, forgotten_past, settled_at_once, never_settled)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_broken_plan_is_caught(
    mutation: Callable[[pytest.MonkeyPatch], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned_model.forget()
    outcome = explore_model(PlannedModel(SCENARIOS[mutation(monkeypatch)]))
    planned_model.forget()
    assert outcome.violation, mutation.__doc__
