"""A minute of faults against real servers; `make soak` goes on for as long as one likes."""

import os
from pathlib import Path

import pytest

from tests.faults import nemesis
from tests.faults.round import Plan, run

pytestmark = pytest.mark.timeout(90)

SEED = int.from_bytes(os.urandom(3))
"""Another one each time; who wants the same round again gives it to `make soak`."""


def test_nothing_acknowledged_is_lost_doubled_or_mixed(tmp_path: Path) -> None:
    plan = Plan(SEED, seconds=50)
    result = run(plan, tmp_path / "round")
    again = f'make soak ARGS="--seed {plan.seed} --rounds 1 --round-seconds {plan.seconds:g}"'
    assert not result.failed, f"{result}\nagain: {again}"
    # A run in which nothing happened proves nothing.
    assert set(nemesis.ALWAYS) <= set(result.faults)
    counts = result.verdict.counts
    assert counts["ok"] > 1000
    assert counts["unknown"] > 10
    assert counts["unanswered and applied"] > 0
