import re

import pytest

from mooring_operator.scaling.queries import BY, arrivals, latencies, signals
from mooring_operator.scaling.scraping import Scraping, matchers_of


def every(scraping: Scraping) -> dict[str, str]:
    found: dict[str, str] = {str(signal): query for signal, query in signals(scraping).items()}
    found |= {f"p{percentile}": query for percentile, query in latencies(scraping, {90, 95, 99}).items()}
    return {**found, "history": arrivals(scraping)}


@pytest.mark.parametrize("name", every(Scraping()))
def test_each_series_is_chosen_by_the_runtimes_own_labels_and_those_of_the_installation(name: str) -> None:
    query = every(Scraping(matchers='cluster="a"'))[name]
    chosen = re.findall(r"\b(?:mooring|nv)_\w+\{([^}]*)\}", query)
    assert chosen
    for matchers in chosen:
        assert 'mooring_namespace!=""' in matchers and 'mooring_service!=""' in matchers and 'cluster="a"' in matchers


@pytest.mark.parametrize("name", every(Scraping()))
def test_no_series_is_chosen_without_matchers(name: str) -> None:
    query = re.sub(r'"\w*"', "", every(Scraping())[name].replace(BY, ""))
    bare = re.sub(r"\{[^}]*\}", "{}", query)
    assert re.findall(r"\b((?:mooring|nv)_\w+)(?!\w|\{)", bare) == []


@pytest.mark.parametrize("name", every(Scraping()))
def test_services_of_one_name_in_two_namespaces_stay_apart(name: str) -> None:
    query = every(Scraping())[name]
    groups = re.findall(r" by \(([^)]*)\)", query)
    assert groups
    assert all(group.startswith("mooring_namespace, mooring_service") for group in groups)


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("east", '"east"'),
        ('"} or vector(1) #', '"\\"} or vector(1) #"'),
        ("back\\slash\nline\x00", '"back\\\\slash\\nline\\u0000"'),
        ("é", '"é"'),
    ],
)
def test_a_value_stays_within_its_quotes(value: str, quoted: str) -> None:
    assert matchers_of({"cluster": value}) == f"cluster={quoted}"
    assert matchers_of({"b": "2", "a": value}) == f'a={quoted}, b="2"'


@pytest.mark.parametrize("name", ["", "a-b", "0a", 'a="b",c', "a b", "a\n"])
def test_what_is_no_name_of_a_label_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="found the label"):
        matchers_of({"fine": "a", name: "b"})


def test_a_rate_takes_three_scrapes_and_a_percentile_four_and_a_minute_at_least() -> None:
    fast, slow = Scraping(interval=5.0), Scraping(interval=30.0)
    assert "[15000ms]" in arrivals(fast) and "[90000ms]" in arrivals(slow)
    assert "[60000ms]" in latencies(fast, {95})[95] and "[120000ms]" in latencies(slow, {95})[95]
    assert "[60000ms:5000ms]" in latencies(fast, {95})[95]


def test_a_percentile_is_asked_for_only_where_somebody_has_it_as_target() -> None:
    assert set(latencies(Scraping(), {99})) == {99}
    assert "histogram_quantile(0.99," in latencies(Scraping(), {99})[99]
    assert latencies(Scraping(), set()) == {}


def test_refusals_count_that_more_pods_would_have_prevented() -> None:
    assert 'cause=~"queue_full|timeout"' in signals(Scraping())["refused"]
