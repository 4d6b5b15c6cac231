"""What the operator exports of its services, as Prometheus reads it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mooring_operator.api import names
from mooring_operator.cluster.cache import Cache
from mooring_operator.cluster.looks import Looks
from mooring_operator.facts import Key
from mooring_operator.handlers import scaling, series
from mooring_operator.scaling.answers import Answer
from mooring_operator.scaling.look import Look
from mooring_operator.work import Queue

VALUE = st.none() | st.floats(0, 1e6)
LOOK = st.fixed_dictionaries(dict.fromkeys(names.EXTERNAL_METRICS, VALUE))
KEY = st.builds(Key, st.sampled_from(["a", "b"]), st.sampled_from(["c", "d"]))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    series.clear()


def exported() -> dict[tuple[str, Key], float]:
    """The series that scale, and their values."""
    page = generate_latest().decode()
    return {
        (sample.name, Key(sample.labels["mooring_namespace"], sample.labels["mooring_service"])): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name in names.SERIES.values()
    }


@given(st.dictionaries(KEY, LOOK))
def test_each_answer_has_a_series_while_it_has_a_value_and_no_longer(looks: dict[Key, dict[str, float | None]]) -> None:
    series.clear()
    for key, values in looks.items():
        series.export_rule(key, Look({metric: Answer(metric, value, 1.0, 1) for metric, value in values.items()}))
    assert exported() == {
        (names.SERIES[metric], key): value
        for key, values in looks.items()
        for metric, value in values.items()
        if value is not None
    }
    series.clear()
    assert exported() == {}


class Silent:
    """An API server that takes each question and answers none."""

    async def get(self, *_: Any) -> None:
        await asyncio.Event().wait()


async def test_what_was_known_goes_when_a_look_does_not_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "LONGEST", 0.05)
    how = scaling.Looking(namespace="mooring", period=60.0, scrape=15.0, tolerance=True)
    silent: Any = Silent()
    watcher = scaling.ScalingWatcher(silent, Cache(), Queue(), Looks(), None, how)
    series.export_rule(Key("a", "b"), Look({names.METRIC_LOAD: Answer(names.METRIC_LOAD, 7.0, 1.0, 1)}))
    task = asyncio.create_task(watcher.run())
    await asyncio.sleep(0.01)
    assert set(exported().values()) == {7.0}, "it is looked at this moment"
    await asyncio.sleep(0.2)
    assert exported() == {}
    task.cancel()
