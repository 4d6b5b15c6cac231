import pytest

from mooring_runtime.frontends.shown import cut, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a'b", '"a\'b"'),
        (1.5, "1.5"),
        (-1, "-1"),
        (True, "True"),
        (None, "None"),
        ([1, "x"], "[1, 'x']"),
        ({}, "{}"),
        ({"a": 1}, "{...}"),
    ],
)
def test_a_short_value_is_shown_whole(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("value", ["x" * 10**6, [[7] * 100] * 100, [2**31] * 10**6, 10**4000, [{"a": 1}] * 1000])
def test_a_long_value_is_cut(value: object) -> None:
    assert 50 < len(shown(value)) <= 100


def test_a_name_is_cut() -> None:
    assert cut("name") == "name"
    assert cut("x" * 101) == "x" * 97 + "..."
