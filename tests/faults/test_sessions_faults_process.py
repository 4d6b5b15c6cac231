"""A minute of faults against real servers; `make soak` goes on for as long as one likes."""

import os
from pathlib import Path

import pytest

from tests.faults import nemesis
from tests.faults.round import Plan, run

pytestmark = pytest.mark.timeout(180)

SECONDS = 24
SEED = int.from_bytes(os.urandom(3))
"""Another one each time; who wants the same round again gives it to `make soak`."""


@pytest.mark.parametrize(
    ("replicas", "kinds"), [(1, {*nemesis.ALWAYS}), (3, {*nemesis.ALWAYS, *nemesis.MEMBERS})], ids=["alone", "members"]
)
def test_nothing_acknowledged_is_lost_doubled_or_mixed(tmp_path: Path, replicas: int, kinds: set[str]) -> None:
    plan = Plan(SEED, seconds=SECONDS, replicas=replicas)
    result = run(plan, tmp_path / "round")
    assert not result.failed, f"{result}\nagain: {plan.again}"
    # A run in which nothing happened proves nothing.
    assert kinds <= set(result.faults), result
    counts = result.verdict.counts
    assert counts["ok"] > 1000, result
    assert counts["unknown"] > 10, result
    assert counts["applied in the dark"] > 0, result


def test_what_an_interval_may_lose_is_its_end_and_is_told(tmp_path: Path) -> None:
    plan = Plan(SEED, seconds=8, durability="interval")
    result = run(plan, tmp_path / "round")
    assert not result.failed, f"{result}\nagain: {plan.again}"
    counts = result.verdict.counts
    assert min(counts["undone"], counts["[rewound]"], counts["[gap]"]) > 0, result
