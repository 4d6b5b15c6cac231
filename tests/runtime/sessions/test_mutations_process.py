"""Each broken variant of the protocol, put into the real classes, is noticed by the simulation."""

import logging
from collections.abc import Iterator

import pytest

from tests.support.simulation.mutations import MUTATIONS
from tests.support.simulation.world import BIRTHS, EVERYTHING, LONG_DOWN, RETURNS, World

pytestmark = pytest.mark.process
SCENARIOS = {
    "absent-unadopted": (BIRTHS, None),
    "create-unchecked": (BIRTHS, None),
    "drop-ended": (RETURNS, LONG_DOWN),
    "drop-tombstones": (RETURNS, LONG_DOWN),
    "mint-early": (RETURNS, LONG_DOWN),
}
SEEDS = 1000
"""Most are noticed by the first; the rarest by one in two hundred."""
LONG = {"mint-early", "taken-before-commit"}
"""The rarest: tens of seconds each."""


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch, long: bool) -> None:
    if name in LONG and not long:
        pytest.skip("a long one: --long")
    scenario, faults = SCENARIOS.get(name, (EVERYTHING, None))
    MUTATIONS[name](monkeypatch)
    found = next(
        (run.violations for seed in range(SEEDS) if (run := World(seed, scenario, faults).run()).violations), []
    )
    assert found, f"{SEEDS} seeds do not notice {name}"
    assert not [each for each in found if each.startswith("unhandled")], found
