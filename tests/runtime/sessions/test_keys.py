"""Ids of sessions, and the bytes that stand for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.errors.sessions import BadSession
from mooring_runtime.sessions.keys import LONGEST_ID, Key, mint, minted_ordinal, session_id


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, "7"), ("7", "7"), (2**64 - 1, "18446744073709551615"), ("Grüße", "Grüße"), (0, None), ("", None), ("0", "0")],
)
def test_an_id_is_what_the_client_means(value: int | str, expected: str | None) -> None:
    assert session_id(value) == expected


@pytest.mark.parametrize(
    "value", [-1, 2**64, True, 1.5, None, "a\nb", "\x7f", "a\x00", "\ud800", "x" * (LONGEST_ID + 1), "ü" * 101]
)
def test_what_cannot_be_an_id_is_refused(value: object) -> None:
    with pytest.raises(BadSession):
        session_id(value)  # type: ignore[arg-type]


def test_minted_ids_name_their_ordinal_and_differ() -> None:
    ids = {mint(12) for _ in range(100)}
    assert len(ids) == 100
    assert {minted_ordinal(each) for each in ids} == {12}


@pytest.mark.parametrize(
    "chosen",
    [
        "12",
        "12.",
        "12." + "a" * 25,
        "12." + "a" * 27,
        "01." + "a" * 26,
        "1." + "A" * 26,
        "1." + "1" * 26,
        "-1." + "a" * 26,
    ],
)
def test_any_other_form_is_chosen_by_a_client(chosen: str) -> None:
    assert minted_ordinal(chosen) is None


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=50)


@given(_TEXT, _TEXT)
def test_a_key_is_read_back_from_its_bytes(model: str, session: str) -> None:
    assert Key.decoded(Key(model, session).encoded()) == Key(model, session)
