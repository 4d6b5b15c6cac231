"""New versions of models with state: one that reads the old state, one that converts it, one that can do neither."""

from collections.abc import Iterator

import pytest

from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful, spec, uids
from tests.support.e2e_subjects import Both, made
from tests.support.e2e_watch import condition, is_true

SIZE = 2


@pytest.fixture
def both(site: Site) -> Iterator[Both]:
    with made(site, SIZE) as services:
        yield services


def test_a_version_takes_the_state_over_or_is_taken_back(site: Site, both: Both) -> None:
    def taken_over(service: Stateful, version: str) -> None:
        before = uids(service.replicas())
        service.apply(**spec(site, f"{service.name}-{version}", replicas=SIZE))
        with service.watch() as watch:
            watch.until(is_true("Ready"), 120, f"to serve the {version} version")
        after = uids(service.replicas())
        assert before.keys() == after.keys()
        assert not set(before.values()) & set(after.values()), f"a replica of {service.name} does not serve {version}"

    def taken_back(service: Stateful) -> str:
        before = uids(service.replicas())
        service.apply(**spec(site, f"{service.name}-unreadable", replicas=SIZE))
        with service.watch() as watch:
            stalled = watch.until(is_true("Stalled"), 120, "to say that the version cannot read the state")
        service.settled_pods(SIZE)
        after = uids(service.replicas())
        assert sum(before[ordinal] != after[ordinal] for ordinal in range(SIZE)) == 1, "a second replica was touched"
        assert condition(stalled, "WorkloadReady")["status"] == "True"
        # The right spec goes on from here, without a hand on anything.
        service.apply(**spec(site, f"{service.name}-converted", replicas=SIZE))
        service.ready(90)
        return str(condition(stalled, "Stalled")["message"])

    with both.asked("a version with equal state, one that converts it, and one that cannot read it"):
        for version in ("equal", "converted"):
            both.each(taken_over, version)
        messages = both.each(taken_back)
    for message in messages:
        print(f"\n{message}")
        assert "state" in message
