import pytest

from mooring_operator.adapter.board import Refresher
from mooring_operator.adapter.services import Services
from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.cluster.connection import Connection
from mooring_operator.cluster.kube import Kube
from mooring_operator.cluster.prometheus import Prometheus
from mooring_operator.cluster.prometheus_http import Access
from mooring_operator.facts import Key
from mooring_operator.scaling import teller
from mooring_operator.scaling.answers import Answer
from mooring_operator.scaling.look import stepped
from tests.support import odd_numbers

LOAD, DESIRED = names.METRIC_LOAD, names.METRIC_DESIRED_REPLICAS
NOW = 1_795_330_800.0


class Known(Services):
    """Services that were listed."""

    def __init__(self, kube: Kube, *found: str) -> None:
        super().__init__(kube)
        for version, name in enumerate(found, 1):
            self._cache.put(kinds.INFERENCE_SERVICE, odd_numbers.live(name, version))


async def test_a_service_of_odd_numbers_is_no_gap_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teller, "answers", odd_numbers.answers_but_for("odd"))
    with odd_numbers.prometheus() as server:
        async with Prometheus(Access(server.url)) as asked, Kube(Connection(None), 1) as kube:
            refresher = Refresher(Known(kube, "even", "odd"), None, tolerance=True, interval=15.0, lasts=7.0)
            await refresher.look(asked)
    assert refresher.board.problem is None
    found = {key.name: answers[LOAD] for key, answers in refresher.board.answers.items()}
    assert (found["even"].value, found["odd"].value, found["odd"].reason) == (3.0, None, "InternalError")
    assert Key(odd_numbers.NAMESPACE, "odd") in refresher.board.answers


async def test_what_a_look_gave_stands_while_the_next_ones_fail_and_then_no_more() -> None:
    async with Kube(Connection(None), 1) as kube:
        refresher = Refresher(Known(kube, "even"), None, tolerance=True, interval=15.0, lasts=7.0)
        with odd_numbers.prometheus() as server:
            async with Prometheus(Access(server.url)) as asked:
                await refresher.look(asked)
        first = refresher.board
        async with Prometheus(Access(server.url)) as asked:  # It is gone.
            await refresher.look(asked)
    assert refresher.board.problem is not None
    assert refresher.board.problem[0] == "PrometheusUnreachable"
    assert (refresher.board.taken, refresher.board.answers) == (first.taken, first.answers)
    assert refresher.board.fresh(first.taken + 7.0)
    assert not refresher.board.fresh(first.taken + 7.5)


def test_an_autoscaler_without_tolerance_is_led_over_its_dead_band() -> None:
    def told(value: float | None) -> dict[str, Answer]:
        return {metric: Answer(metric, value, NOW, 2) for metric in names.EXTERNAL_METRICS}

    def desired(value: float | None, live: int) -> float | None:
        return stepped(told(value), live)[DESIRED].value

    assert desired(11.0, 10) == 12.0
    assert desired(12.0, 10) == 12.0
    assert desired(9.0, 10) == 9.0
    assert desired(3.0, 0) == 3.0
    assert desired(None, 10) is None
    assert stepped(told(11.0), 10)[LOAD].value == 11.0
