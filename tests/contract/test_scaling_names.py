"""What the operator asks Prometheus for is what the runtime shows, and nothing else."""

import re
from collections.abc import Iterator

import pytest

from mooring_operator.api import names
from mooring_operator.scaling import queries
from mooring_operator.scaling.queries import POD, arrivals, latencies, signals
from mooring_operator.scaling.scraping import Scraping
from mooring_runtime.metrics import METRICS, REJECT_CAUSES, Kind, constant_labels
from tests.support.prometheus_pages import Replica

OPERATORS = {names.METRIC_SERVICE_LOAD_SECONDS}
"""Series of the operator itself."""
SCRAPERS = {POD}
"""Labels that Prometheus adds."""
_SELECTOR = re.compile(r"\b((?:mooring|nv|request|process)_\w+)\{([^}]*)\}")
_SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_count", "_sum"), Kind.SUMMARY: ("_count", "_sum")}

EVERY: dict[str, str] = {
    **{str(signal): query for signal, query in signals(Scraping()).items()},
    **{f"p{percentile}": query for percentile, query in latencies(Scraping(), {90, 95, 99}).items()},
    "history": arrivals(Scraping()),
}


def series() -> dict[str, set[str]]:
    """Each series of the runtime, and the labels that it has."""
    own = set(constant_labels("sentiment", "models"))
    found: dict[str, set[str]] = {}
    for metric in METRICS.values():
        for suffix in _SUFFIXES.get(metric.kind, ("",)):
            found[metric.name + suffix] = {*metric.labels, *own, *(["le"] if suffix == "_bucket" else [])}
    return found


def test_the_runtime_says_whose_its_series_are_by_the_labels_that_are_asked_for() -> None:
    assert constant_labels("sentiment", "models") == {
        names.METRIC_LABEL_SERVICE: "sentiment",
        names.METRIC_LABEL_NAMESPACE: "models",
    }


@pytest.mark.parametrize("query", EVERY.values(), ids=EVERY)
def test_each_series_and_each_label_that_is_asked_for_exists(query: str) -> None:
    found = {**series(), **{name: set(constant_labels("sentiment", "models")) for name in OPERATORS}}
    asked = _SELECTOR.findall(query)
    assert asked
    for name, matchers in asked:
        assert name in found, f"the runtime has no series {name}"
        assert set(re.findall(r"(\w+)(?:=~|!=|=)", matchers)) <= found[name]
    assert set(_grouped(query)) - SCRAPERS <= set().union(*(found[name] for name, _ in asked))


def _grouped(query: str) -> Iterator[str]:
    for group in re.findall(r" by \(([^)]*)\)", query):
        yield from (label.strip() for label in group.split(","))


@pytest.mark.parametrize("query", [query for query in EVERY.values() if "rate(" in query or "increase(" in query])
def test_rates_are_taken_of_what_only_grows(query: str) -> None:
    for name in re.findall(r"(?:rate|increase)\((\w+)\{", query):
        metric = next(metric for metric in METRICS.values() if name in {metric.name, *_named(metric.name)})
        assert metric.kept, f"{name} is a gauge"


def _named(name: str) -> Iterator[str]:
    yield from (name + suffix for suffix in ("_bucket", "_count", "_sum"))


def test_the_causes_of_refusals_are_the_runtimes() -> None:
    assert set(queries.REFUSED) <= set(REJECT_CAUSES)


def test_the_page_of_a_replica_has_all_of_them() -> None:
    page = Replica("sentiment", "models").text()
    for query in EVERY.values():
        for name, _ in _SELECTOR.findall(query):
            assert name in OPERATORS or f"\n{name}{{" in page, name
    assert 'term="a"' in page and 'term="b"' in page and 'mooring_service="sentiment"' in page
