"""The operator's looks at Prometheus: what one service does to the others."""

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from mooring_operator.api import names
from mooring_operator.cluster import kinds, metrics_api
from mooring_operator.cluster.cache import Cache
from mooring_operator.cluster.connection import Connection
from mooring_operator.cluster.kube import Kube
from mooring_operator.cluster.looks import Looks
from mooring_operator.cluster.prometheus import Prometheus
from mooring_operator.cluster.prometheus_http import Access
from mooring_operator.facts import Key
from mooring_operator.handlers import series
from mooring_operator.handlers.scaling import Looking, ScalingWatcher
from mooring_operator.scaling import teller
from mooring_operator.work import Queue
from tests.support import odd_numbers


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    series.clear()


def load(name: str) -> float | None:
    labels = {names.METRIC_LABEL_NAMESPACE: odd_numbers.NAMESPACE, names.METRIC_LABEL_SERVICE: name}
    return REGISTRY.get_sample_value(names.METRIC_LOAD, labels)


async def test_a_service_of_odd_numbers_loses_its_own_series_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: Any) -> None:
        """There is no API server that could tell who serves external metrics."""

    monkeypatch.setattr(metrics_api, "find", nobody)
    cache, looks = Cache(), Looks()
    cache.begin(kinds.WATCHED)
    for version, name in enumerate(("even", "odd"), 1):
        cache.put(kinds.INFERENCE_SERVICE, odd_numbers.live(name, version))
    how = Looking("mooring", period=15.0, scrape=15.0, tolerance=True)
    with odd_numbers.prometheus() as server:
        async with Prometheus(Access(server.url)) as asked, Kube(Connection(None), 1) as kube:
            watcher = ScalingWatcher(kube, cache, Queue(), looks, asked, how)
            await watcher.look()
            assert (load("even"), load("odd")) == (3.0, 3.0)
            monkeypatch.setattr(teller, "answers", odd_numbers.answers_but_for("odd"))
            await watcher.look()
    assert (load("even"), load("odd")) == (3.0, None)
    told = looks.by_service[Key(odd_numbers.NAMESPACE, "odd")].answers[names.METRIC_LOAD]
    assert told.reason == "InternalError" and "ZeroDivisionError" in told.message
    assert looks.by_service[Key(odd_numbers.NAMESPACE, "even")].answers[names.METRIC_LOAD].reason == "OK"
