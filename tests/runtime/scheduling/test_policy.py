"""The policy under simulated clients: closed loops wait, open loops never do."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mooring_runtime.scheduling.policy import Returns, padded, patience

FIXED, EACH = 0.003, 0.00035
"""A run of n samples takes FIXED + EACH n seconds."""


def returned(*rounds: tuple[float, int, Sequence[float]], window: float = FIXED) -> Returns:
    """Answers at a time to so many clients, and the times of the requests after them."""
    returns = Returns()
    for time, count, arrivals in rounds:
        returns.answered(count, time, time, window)
        for arrival in arrivals:
            returns.arrived(arrival)
    return returns


def test_nobody_is_expected_before_anything_is_known() -> None:
    returns = Returns()
    assert returns.of(8) == 0
    assert returns.missing <= 0


def test_clients_that_come_back_at_once_are_expected() -> None:
    rounds = [(0.01 * turn, 8, [0.01 * turn + 0.0001] * 8) for turn in range(1, 10)]
    returns = returned(*rounds)
    assert returns.fraction == 1.0
    assert returns.missing == 0
    returns.answered(8, 0.1, 0.1, FIXED)
    assert returns.missing == 8
    returns.arrived(0.1001)
    assert returns.missing == 7


def test_clients_that_think_are_not_expected() -> None:
    rounds = [(0.01 * turn, 8, [0.01 * turn + 0.007] * 8) for turn in range(1, 10)]
    assert returned(*rounds).of(8) == 0


def test_clients_that_stop_coming_back_are_soon_not_expected() -> None:
    rounds: list[tuple[float, int, Sequence[float]]] = [
        (0.01 * turn, 8, [0.01 * turn + 0.0001] * 8) for turn in range(1, 30)
    ]
    rounds += [(0.01 * turn, 8, [0.01 * turn + 0.007] * 8) for turn in range(30, 50)]
    assert returned(*rounds).of(8) == 0


def test_some_of_several_clients_come_back() -> None:
    rounds = [(0.01 * turn, 8, [0.01 * turn + 0.0001] * 4) for turn in range(1, 30)]
    assert returned(*rounds).of(8) == 4


@pytest.mark.parametrize("rate", [100, 400, 850, 1360, 1615])
@pytest.mark.parametrize("seed", range(5))
def test_random_arrivals_are_hardly_ever_waited_for(rate: float, seed: int) -> None:
    """A greedy server under Poisson arrivals: how often would it think that its clients come back?"""
    random, returns = Random(seed), Returns()
    now = arrival = random.expovariate(rate)
    waits = runs = 0
    queue = 0
    while runs < 2000:
        if not queue:
            now = arrival
        while arrival <= now:
            returns.arrived(arrival)
            queue += 1
            arrival += random.expovariate(rate)
        taken = min(queue, 32)
        queue -= taken
        end = now + FIXED + EACH * taken
        while arrival <= end:
            returns.arrived(arrival)
            queue += 1
            arrival += random.expovariate(rate)
        now = end
        returns.answered(taken, now, now, FIXED)
        runs += 1
        waits += returns.of(taken) > 0
    assert waits / runs < 0.1


@given(st.integers(0, 64), st.integers(-5, 64), st.integers(1, 64), st.floats(0, 1))
@example(0, 3, 3, 0.2362474398269961)
def test_patience_is_bounded_by_what_it_can_save(waiting: int, missing: int, full: int, longest: float) -> None:
    seconds = patience(waiting, missing, full, longest)
    assert 0 <= seconds <= longest
    if waiting >= full or missing <= 0:
        assert seconds == 0


def test_the_last_straggler_is_waited_for_least() -> None:
    waits = [patience(32 - missing, missing, 32, FIXED) for missing in range(1, 32)]
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(FIXED / 32)


def test_only_as_many_are_waited_for_as_fit() -> None:
    assert patience(16, 32, 32, FIXED) == pytest.approx(FIXED / 2)


@given(st.integers(0, 100), st.lists(st.integers(1, 64), unique=True).map(sorted))
def test_padding_reaches_the_next_preferred_size(rows: int, preferred: list[int]) -> None:
    size = padded(rows, tuple(preferred))
    assert size >= rows
    assert size == rows or size in preferred
    assert not any(rows <= each < size for each in preferred)
