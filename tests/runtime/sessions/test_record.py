"""The membership record and its text."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.sessions.record import ALONE, Record, parse

_SIZES = st.integers(1, 99)
_STORES = st.text("0123456789abcdef", min_size=1, max_size=32)


@given(st.integers(1, 2**52), _SIZES, st.sets(_SIZES), st.dictionaries(st.integers(0, 99), _STORES), st.lists(_STORES))
def test_a_record_is_read_back_from_its_text(
    epoch: int, size: int, past: set[int], stores: dict[int, str], lost: list[str]
) -> None:
    record = Record(epoch, size, tuple(sorted(past)), stores, tuple(lost))
    assert parse(record.to_json()) == record


def test_what_is_left_out_is_empty() -> None:
    assert parse(b'{"epoch": 1, "size": 1}') == ALONE
    assert ALONE.settled


def test_past_sizes_rise_without_doubles() -> None:
    record = parse(b'{"epoch": 4, "size": 2, "past": [3, 1, 3]}')
    assert record.past == (1, 3)
    assert not record.settled


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "must be a JSON object"),
        ({"size": 1}, "epoch of a membership record is None"),
        ({"epoch": 0, "size": 1}, "epoch of a membership record is 0"),
        ({"epoch": 1, "size": 1.0}, "size of a membership record is 1.0"),
        ({"epoch": True, "size": 1}, "epoch of a membership record is True"),
        ({"epoch": 1, "size": 1, "past": [0]}, "past of a membership record is 0"),
        ({"epoch": 1, "size": 1, "past": 3}, "past of a membership record is 3"),
        ({"epoch": 1, "size": 1, "stores": {"x": "s"}}, "stores of a membership record"),
        ({"epoch": 1, "size": 1, "stores": {"1": 2}}, "stores of a membership record"),
        ({"epoch": 1, "size": 1, "lost": "s"}, "lost of a membership record is 's'"),
    ],
)
def test_what_is_no_record_is_told(document: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse(orjson.dumps(document))


@pytest.mark.parametrize(("size", "past", "least"), [(3, (), 3), (3, (1, 2), 1), (1, (2, 3), 1), (2, (3,), 2)])
def test_who_is_a_member_whatever_the_record(size: int, past: tuple[int, ...], least: int) -> None:
    assert Record(9, size, past).least == least


def test_no_json_is_told() -> None:
    with pytest.raises(ValueError, match="must be JSON"):
        parse(b"{")
