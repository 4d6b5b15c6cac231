"""Where sessions should be. The vectors are law: sessions that are on disk stand where they say."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.sessions.keys import Key, mint
from mooring_runtime.sessions.placement import place, places

VECTORS = [
    ("m", "1", {1: 0, 2: 1, 3: 1, 4: 3, 7: 3, 16: 3, 100: 31}),
    ("m", "42", {1: 0, 2: 1, 3: 1, 4: 1, 7: 4, 16: 15, 100: 37}),
    ("speech", "alice", {1: 0, 2: 0, 3: 0, 4: 0, 7: 0, 16: 14, 100: 14}),
    ("speech", "Grüße", {1: 0, 2: 1, 3: 1, 4: 3, 7: 6, 16: 6, 100: 64}),
    ("m", "18446744073709551615", {1: 0, 2: 0, 3: 0, 4: 0, 7: 0, 16: 0, 100: 88}),
    ("a b", "s/1?x", {1: 0, 2: 1, 3: 2, 4: 2, 7: 2, 16: 8, 100: 59}),
    ("m", "2.aaaaaaaaaaaaaaaaaaaaaaaaaa", {1: 0, 2: 1, 3: 2, 4: 2, 7: 2, 16: 2, 100: 2}),
    ("m", "11.q7q7q7q7q7q7q7q7q7q7q7q7q7", {1: 0, 2: 0, 3: 2, 4: 3, 7: 3, 16: 11, 100: 11}),
    ("m", "2.AAAAAAAAAAAAAAAAAAAAAAAAAA", {1: 0, 2: 0, 3: 2, 4: 2, 7: 6, 16: 15, 100: 74}),
]
KEYS = [Key("m", f"s{number}") for number in range(2000)]


@pytest.mark.parametrize(("model", "session", "by_size"), VECTORS)
def test_the_vectors_hold(model: str, session: str, by_size: dict[int, int]) -> None:
    assert {size: place(Key(model, session), size) for size in by_size} == by_size


@given(st.text(min_size=1, max_size=20).filter(str.isprintable), st.integers(1, 40))
def test_growing_moves_sessions_to_the_new_ordinal_only(session: str, size: int) -> None:
    before, after = place(Key("m", session), size), place(Key("m", session), size + 1)
    assert 0 <= before < size
    assert after in (before, size)


@pytest.mark.parametrize("size", [2, 3, 5, 16])
def test_ordinals_get_like_shares(size: int) -> None:
    shares = Counter(place(key, size) for key in KEYS)
    assert set(shares) == set(range(size))
    assert all(0.6 < share * size / len(KEYS) < 1.4 for share in shares.values()), shares


def test_a_minted_session_is_at_home_while_its_ordinal_is_a_member() -> None:
    for ordinal in range(8):
        key = Key("m", mint(ordinal))
        assert [place(key, size) for size in range(ordinal + 1, 12)] == [ordinal] * (11 - ordinal)
        assert all(place(key, size) < size for size in range(1, ordinal + 1))


def test_minted_sessions_of_a_removed_ordinal_spread_over_the_others() -> None:
    assert {place(Key("m", mint(9)), 3) for _ in range(60)} == {0, 1, 2}


def test_models_do_not_share_places() -> None:
    assert [place(Key("a", key.session), 5) for key in KEYS] != [place(Key("b", key.session), 5) for key in KEYS]


def test_places_under_several_sizes() -> None:
    for key in KEYS[:50]:
        assert places(key, [3, 1, 2, 3]) == sorted({0, place(key, 2), place(key, 3)})
