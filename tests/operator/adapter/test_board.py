from mooring_operator.adapter.board import answered
from mooring_operator.adapter.services import Pods
from mooring_operator.api import names
from mooring_operator.facts import Manifest
from mooring_operator.scaling.answers import Answer
from mooring_operator.scaling.findings import Findings
from mooring_operator.scaling.look import stepped
from tests.support.builders import service

LOAD, DESIRED = names.METRIC_LOAD, names.METRIC_DESIRED_REPLICAS
NOW = 1_795_330_800.0
SERVICE = service(scaling={"maxReplicas": 9, "latency": {"target": "400ms"}})
SLOW = Findings(
    time=NOW, newest=NOW, pods=2, copies=1, ready=2, queued=2.0, in_flight=6.0, latency={95: 0.8}, answered=500.0
)


def autoscaler(concurrency: str) -> Manifest:
    return {"metadata": {"annotations": {names.ANNOTATION_CONCURRENCY: concurrency}}}


def test_latency_pushes_the_load_only_where_there_is_load_by_the_autoscalers_word() -> None:
    # 8 requests, and twice the target: they are doubled, unless that is little for two replicas of such a concurrency.
    pods = Pods(2, 2)
    assert answered(SERVICE, SLOW, 15.0, pods, autoscaler("4"))[LOAD].value == 16.0
    assert answered(SERVICE, SLOW, 15.0, pods, autoscaler("400"))[LOAD].value == 8.0


def test_pods_that_prometheus_does_not_see_are_missed() -> None:
    assert answered(SERVICE, SLOW, 15.0, Pods(9, 9), None)[LOAD].reason == "MissingSeries"
    assert answered(SERVICE, SLOW, 15.0, Pods(9, 9), None)[LOAD].value is None
    assert answered(SERVICE, SLOW, 15.0, Pods(0, None), None)[LOAD].value is not None


def test_numbers_that_nobody_has_thought_of_are_no_answer_and_no_end() -> None:
    broken = Findings(time=NOW, newest=NOW, pods="two")  # type: ignore[arg-type]
    found = answered(SERVICE, broken, 15.0, Pods(2, 2), None)
    assert {(answer.value, answer.reason) for answer in found.values()} == {(None, "InternalError")}


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
