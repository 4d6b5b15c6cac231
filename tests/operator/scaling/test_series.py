"""What KEDA asks of Prometheus: one number that the operator has worked out, or nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.api import names
from mooring_operator.scaling.scraping import Scraping
from mooring_operator.scaling.series import query
from tests.support import builders

LABEL = st.from_regex(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@given(metric=st.sampled_from(names.EXTERNAL_METRICS), namespace=LABEL, name=LABEL, scrape=st.floats(1, 120))
def test_it_is_about_one_service_and_adds_nothing_up(metric: str, namespace: str, name: str, scrape: float) -> None:
    asked = query(metric, builders.service(name, namespace=namespace), Scraping(scrape))
    series = names.SERIES[metric]
    selected = f'{series}{{mooring_namespace="{namespace}", mooring_service="{name}"}}'
    # Each selector is that of the one service; the metric of the servers is never among them.
    assert re.findall(r"mooring_\w+(?=\{)", asked) == [series] * asked.count(selected)
    assert asked.startswith(f"max({selected} ")
    # Whatever puts a number where there is none would take the fleet away.
    assert re.findall(r"\b(sum|or|vector|scalar|absent)\b", asked) == []


@pytest.mark.parametrize(("scrape", "oldest"), [(1.0, "60"), (15.0, "60"), (30.0, "120"), (120.0, "480")])
def test_a_sample_may_be_as_old_as_those_of_the_pods(scrape: float, oldest: str) -> None:
    asked = query(names.METRIC_LOAD, builders.service(), Scraping(scrape))
    assert asked.endswith(f") < {oldest})")


def test_no_two_metrics_have_one_series() -> None:
    assert set(names.SERIES) == set(names.EXTERNAL_METRICS)
    assert len(set(names.SERIES.values())) == len(names.SERIES)
