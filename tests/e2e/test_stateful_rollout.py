"""New versions of a model with state: one that reads the old state, one that converts it, one that can do neither."""

from collections.abc import Iterator

import pytest

from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful, made, spec, uids
from tests.support.e2e_watch import condition, is_true

SIZE = 2


@pytest.fixture
def ledger(site: Site) -> Iterator[Stateful]:
    with made(site, SIZE) as service:
        yield service


def test_a_version_takes_the_state_over_or_is_taken_back(site: Site, ledger: Stateful) -> None:
    with ledger.asked("a version with equal state, one that converts it, and one that cannot read it"):
        for model in ("ledger-equal", "ledger-converted"):
            before = uids(ledger.replicas())
            ledger.apply(**spec(site, model, replicas=SIZE))
            with ledger.watch() as watch:
                watch.until(is_true("Ready"), 120, f"to serve {model}")
            after = uids(ledger.replicas())
            assert before.keys() == after.keys()
            assert not set(before.values()) & set(after.values()), f"a replica does not serve {model}"
        before = uids(ledger.replicas())
        ledger.apply(**spec(site, "ledger-unreadable", replicas=SIZE))
        with ledger.watch() as watch:
            stalled = watch.until(is_true("Stalled"), 120, "to say that the version cannot read the state")
        ledger.settled_pods(SIZE)
        after = uids(ledger.replicas())
        assert sum(before[ordinal] != after[ordinal] for ordinal in range(SIZE)) == 1, "a second replica was touched"
        assert condition(stalled, "WorkloadReady")["status"] == "True"
        message = condition(stalled, "Stalled")["message"]
        # The right spec goes on from here, without a hand on anything.
        ledger.apply(**spec(site, "ledger-converted", replicas=SIZE))
        ledger.ready(90)
    print(f"\n{message}")
    assert "state" in message
