"""The protocol holds in every reachable world of its model, and each broken variant is caught."""

import pytest

from tests.faults.protocol_model.checker import explore
from tests.faults.protocol_model.mutations import MUTATIONS
from tests.faults.protocol_model.world import SCENARIOS

LONG = {"up-down-up", "up-up-down", "lost-twice-sent-there", "torn-twice-sent-there"}
"""Half a minute on a busy machine; the others take some seconds."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_protocol_holds(name: str, long: bool) -> None:
    if name in LONG and not long:
        pytest.skip("a long one: --long")
    outcome = explore(name)
    assert outcome.violation == "", "\n".join(outcome.run)
    assert outcome.states > 400


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_variant_is_caught(name: str) -> None:
    outcome = explore(MUTATIONS[name][1], name)
    assert outcome.violation, f"{name}: {MUTATIONS[name][0]}: nobody notices"
    assert outcome.run
