"""What of one service is told, and that one whose numbers make no sense is nobody else's trouble."""

from dataclasses import replace

import pytest

from mooring_operator.api import names
from mooring_operator.facts import Manifest
from mooring_operator.scaling.answers import Answer
from mooring_operator.scaling.findings import Findings
from mooring_operator.scaling.rule import Standing
from mooring_operator.scaling.teller import Teller
from tests.support.builders import service

LOAD = names.METRIC_LOAD
NOW = 1_795_330_800.0
SCALING = {"maxReplicas": 9, "latency": {"target": "400ms"}}
SERVICE, OTHER = service(scaling=SCALING), service("other", scaling=SCALING)
SLOW = Findings(
    time=NOW, newest=NOW, pods=2, copies=1, ready=2, queued=2.0, in_flight=6.0, latency={95: 0.8}, answered=500.0
)
BROKEN = replace(SLOW, pods="two")  # type: ignore[arg-type]
NOTHING = Standing()


def annotated(concurrency: str) -> Manifest:
    return {"metadata": {"annotations": {names.ANNOTATION_CONCURRENCY: concurrency}}}


def told(findings: Findings, standing: Standing = NOTHING, ready: int | None = 2) -> Answer:
    return Teller(15.0).tell(SERVICE, findings, standing, ready)[LOAD]


def test_latency_pushes_the_load_only_where_there_is_load_by_the_autoscalers_word() -> None:
    # 8 requests, and twice the target: they are doubled, unless that is little for two replicas of such a concurrency.
    assert told(SLOW, Standing(annotated("4"))).value == 16.0
    assert told(SLOW, Standing(annotated("400"))).value == 8.0
    assert told(SLOW, Standing(None, annotated("400"))).value == 8.0
    assert told(SLOW, Standing(annotated("4"), annotated("400"))).value == 16.0
    assert Standing(annotated("4"), annotated("400")).concurrency(keda=True) == 400.0


def test_pods_that_prometheus_does_not_see_are_missed() -> None:
    assert (told(SLOW, ready=9).value, told(SLOW, ready=9).reason) == (None, "MissingSeries")
    assert told(SLOW, ready=None).value is not None


def test_scrapes_are_as_far_apart_as_the_settings_say() -> None:
    old = replace(SLOW, newest=NOW - 100.0)
    assert Teller(15.0).tell(SERVICE, old, NOTHING, 2)[LOAD].reason == "StaleSeries"
    assert Teller(30.0).tell(SERVICE, old, NOTHING, 2)[LOAD].value is not None


def test_numbers_that_nobody_has_thought_of_are_no_answer_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    teller = Teller(15.0)

    def look(findings: Findings) -> set[tuple[float | None, str]]:
        return {(each.value, each.reason) for each in teller.tell(SERVICE, findings, NOTHING, 2).values()}

    for _ in range(3):
        assert look(BROKEN) == {(None, "InternalError")}
        assert teller.tell(OTHER, SLOW, NOTHING, 2)[LOAD].value is not None
        teller.keep({("models", SERVICE.name)})  # type: ignore[arg-type]
    assert len(caplog.records) == 1 and f"models/{SERVICE.name}" in caplog.text
    message = teller.tell(SERVICE, BROKEN, NOTHING, 2)[LOAD].message
    assert "TypeError" in message and "log" in message
    # Well again, or another service of that name: the next time is told again.
    for forget in (lambda: look(SLOW), lambda: teller.keep(())):
        caplog.clear()
        forget()
        look(BROKEN)
        assert len(caplog.records) == 1
