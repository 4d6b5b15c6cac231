"""Quantities and durations."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring_operator.api.quantities import is_duration, is_quantity, quantity, seconds

UNITS = ("n", "u", "m", "", "k", "Ki", "M", "Mi", "G", "Gi", "T", "Ti", "P", "Pi", "E", "Ei")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", "1"),
        (2, "2"),
        ("500m", "0.5"),
        ("1.5Gi", "1610612736"),
        (".5", "0.5"),
        ("5.", "5"),
        ("+1", "1"),
        ("-1k", "-1000"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1E", "1000000000000000000"),
        ("1e-3", "0.001"),
        ("0", "0"),
    ],
)
def test_quantity(written: str | int, value: str) -> None:
    assert quantity(written) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "x", "1K", "1 Gi", "1GiB", "1mi", "Gi", ".", "1e", "1ee3", "1_0", "1\n", "\uff11", "1,5"]
)
def test_no_quantity(text: str) -> None:
    assert not is_quantity(text)
    with pytest.raises(ValueError, match="is not a quantity: write a number with a unit such as 500m, 2 or 4Gi"):
        quantity(text)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(UNITS))
def test_quantities_of_one_unit_are_in_order(one: int, other: int, unit: str) -> None:
    assert (quantity(f"{one}{unit}") < quantity(f"{other}{unit}")) == (one < other)


@settings(deadline=None)
@given(st.integers(1, 10**6))
def test_units_are_in_order(number: int) -> None:
    values = [quantity(f"{number}{unit}") for unit in UNITS]
    assert values == sorted(set(values))


@settings(deadline=None)
@given(st.integers(-(10**9), 10**9))
def test_a_number_is_its_own_quantity(number: int) -> None:
    assert quantity(number) == quantity(str(number)) == quantity(f"{number * 1000}m") == number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("80ms", 0.08),
        ("30s", 30.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("2us", 2e-6),
        ("9.9s100ms", 10.0),
        ("999999h", 3599996400.0),
    ],
)
def test_duration(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text", ["", "80", "80 ms", "1d", "P1D", "-1s", "+1s", "1ns", ".5s", "1.s", "1s\n", "1S", "1000000s"]
)
def test_no_duration(text: str) -> None:
    assert not is_duration(text)
    with pytest.raises(ValueError, match="is not a duration: write a number with a unit such as 80ms, 30s or 10m"):
        seconds(text)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 999999), st.sampled_from(["us", "ms", "s", "m", "h"])), min_size=1, max_size=4)
)
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    whole = "".join(f"{number}{unit}" for number, unit in parts)
    assert seconds(whole) == pytest.approx(sum(seconds(f"{number}{unit}") for number, unit in parts))
