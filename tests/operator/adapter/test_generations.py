from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring_operator.adapter.generations import Generation, bundle, make, read, renew, serving

HOSTS = ("mooring-adapter.system.svc", "mooring-adapter.system")
NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
LIFE = timedelta(days=80)


def test_a_new_generation_is_what_a_server_needs() -> None:
    made = make(HOSTS, NOW, LIFE)
    assert (made.created, made.expires) == (NOW, NOW + LIFE)
    assert read(made.certificate, made.key, HOSTS) == made


def test_what_is_not_ours_cannot_be_served() -> None:
    made, other = make(HOSTS, NOW, LIFE), make(HOSTS, NOW, LIFE)
    with pytest.raises(ValueError, match="does not belong"):
        read(made.certificate, other.key, HOSTS)
    with pytest.raises(ValueError, match=r"not for mooring-adapter.elsewhere.svc"):
        read(made.certificate, made.key, ("mooring-adapter.elsewhere.svc", *HOSTS))
    with pytest.raises(ValueError):
        read("hello", made.key, HOSTS)


def test_renewed_half_way_served_an_eighth_later_dropped_when_expired() -> None:
    [first] = found = renew((), NOW, HOSTS, LIFE)
    trusted = bundle(found)
    assert serving(found, trusted, NOW) == first
    assert renew(found, NOW + LIFE * 0.49, HOSTS, LIFE) == found

    found = renew(found, NOW + LIFE * 0.5, HOSTS, LIFE)
    _, second = found
    assert serving(found, bundle(found), NOW + LIFE * 0.62) == first
    assert serving(found, bundle(found), NOW + LIFE * 0.63) == second
    # While the API server does not trust it yet, it is not served, however old it is.
    assert serving(found, trusted, NOW + LIFE * 0.63) == first

    found = renew(found, NOW + LIFE, HOSTS, LIFE)
    assert found[0] == second
    assert len(found) == 2


def test_where_the_api_server_trusts_none_of_ours_there_is_one_all_the_same() -> None:
    found = renew((), NOW, HOSTS, LIFE)
    assert serving(found, "", NOW) == found[0]


@pytest.mark.parametrize("step", [timedelta(days=-11), timedelta(days=-4000), timedelta(days=81), timedelta(days=4000)])
def test_a_clock_that_jumps_leaves_what_is_valid_then(step: timedelta) -> None:
    # By the API server's clock: what it would refuse is not served.
    found = renew(renew((), NOW, HOSTS, LIFE), NOW + step, HOSTS, LIFE)
    assert [each.created for each in found] == [NOW + step]
    assert all(each.valid(NOW + step) for each in found)


def test_api_servers_whose_clocks_differ_take_a_new_one() -> None:
    [made] = renew((), NOW, HOSTS, LIFE)
    assert made.valid(NOW - timedelta(days=9))
    assert renew([made], NOW - timedelta(days=9), HOSTS, LIFE) == (made,)


def test_a_shorter_lifetime_holds_for_what_stands() -> None:
    found = renew((), NOW, HOSTS, LIFE)
    assert len(renew(found, NOW + timedelta(hours=1), HOSTS, timedelta(hours=2))) == 2


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1 / 60)), min_size=120, max_size=200))
def test_every_api_server_trusts_what_every_replica_serves(looks: list[tuple[bool, float]]) -> None:
    """Two replicas look after one Secret and one APIService; the API servers hear of the latter with a delay."""
    now = NOW
    known: tuple[Generation, ...] = ()
    written: list[tuple[datetime, str]] = []
    shown: dict[str, Generation] = {}
    for swapped, wait in looks:
        for replica in ("b", "a") if swapped else ("a", "b"):
            now += LIFE * wait / 2
            known = renew(known, now, HOSTS, LIFE)
            if not written or bundle(known) != written[-1][1]:
                written.append((now, bundle(known)))
            shown[replica] = serving(known, bundle(known), now)
            # One API server hears of it at once, another has not heard for a twentieth of a lifetime.
            for delay in (0.0, 0.05):
                heard = next((text for at, text in reversed(written) if at <= now - LIFE * delay), written[0][1])
                for each in shown.values():
                    assert each.valid(now)
                    assert each.certificate.strip() in heard
    assert len(known) <= 3
