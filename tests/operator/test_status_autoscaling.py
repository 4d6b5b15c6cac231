"""What the status says of an autoscaler, and which reason each way of being blind has."""

from dataclasses import replace
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.api.v1alpha1 import InferenceServiceStatus
from mooring_operator.facts import Manifest, Problem, Scaler, Service, Step
from mooring_operator.scaling.answers import LEARNING, OK, TARGET_UNREACHABLE, Answer, unanswered
from mooring_operator.scaling.findings import Findings
from mooring_operator.scaling.look import Look
from mooring_operator.scaling.refusals import refusal, whose
from mooring_operator.scaling.slo import Decision
from mooring_operator.status import Rendered, Transition, Verdicts, status_of, transitions
from mooring_operator.status.autoscaling import rounded
from tests.support import builders

LATENCY = {"maxReplicas": 4, "latency": {"target": "80ms"}, "queue": {"target": 4}}
DECISION = Decision(3, 22.512, 61.37, 0.0, learning=False, reason="rise")
TOLD = "the HPA was able to successfully calculate a replica count"


def hpa(active: str = "True", reason: str = "ValidMetricFound", message: str = TOLD, **meta: str) -> Manifest:
    condition = {"type": "ScalingActive", "status": active, "reason": reason, "message": message}
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": builders.NAME, **meta},
        "status": {"conditions": [{"type": "AbleToScale", "status": "True"}, condition]},
    }


def look(
    replicas: float | None = 3.0, reason: str = OK, message: str = "", decision: Decision | None = DECISION
) -> Look:
    rule = Answer(names.METRIC_DESIRED_REPLICAS, replicas, 990.0, 3, reason, message, decision)
    queue = Answer(names.METRIC_QUEUE_DEPTH, 2.0, 990.0, 3)
    found = {each.metric: each for each in (rule, queue, replace(queue, metric=names.METRIC_LOAD))}
    return Look(found, Findings(1000.0))


def told(
    now: Look | None,
    *children: Manifest,
    scaling: dict[str, Any] = LATENCY,
    scaler: Scaler | None = None,
    problem: Problem | None = None,
    of_keda: Manifest | None = None,
    ready: int = 2,
    before: dict[str, Any] | None = None,
) -> tuple[tuple[str, str, str], dict[str, Any]]:
    """AutoscalingReady as status, reason and message; and `status.autoscaling`."""
    service: Service = builders.service(scaling=scaling)
    observed = builders.observed(
        builders.deployment("v1", replicas=2, ready=ready), *children, status=before, keda_autoscaler=of_keda
    )
    verdicts = Verdicts((), () if problem is None else (problem,), now)
    rendered = Rendered("v1", {"a": "1"}, "http://sentiment")
    written = status_of(service, observed, Step(scaler=scaler or Scaler()), rendered, verdicts)
    InferenceServiceStatus.model_validate(written, by_alias=True, by_name=False)
    [found] = [each for each in written["conditions"] if each["type"] == "AutoscalingReady"]
    return (found["status"], found["reason"], found["message"]), written.get("autoscaling", {})


def test_it_says_what_is_asked_for_and_why() -> None:
    condition, fields = told(look(), hpa())
    assert condition == (
        "True",
        "ValidMetricFound",
        "mooring_desired_replicas asks for 3 replicas for a rise that the last hour has shown more than once, "
        "61 req/s at 23 a replica",
    )
    assert fields == {
        "backend": "adapter",
        "wanted": 3,
        "heldBy": "mooring_desired_replicas",
        "capacity": "23",
        "planned": "61",
        "backlog": "0",
        "plan": "rise",
        "learning": False,
        "metrics": [
            {
                "name": "mooring_desired_replicas",
                "healthy": True,
                "reason": "OK",
                "value": "3",
                "replicas": 3,
                "series": 3,
                "age": "10s",
            },
            {
                "name": "mooring_queue_depth",
                "healthy": True,
                "reason": "OK",
                "value": "2",
                "replicas": 1,
                "series": 3,
                "age": "10s",
            },
        ],
    }


def test_an_operator_that_has_just_been_started_says_what_the_one_before_saw() -> None:
    def standing(reason: str) -> dict[str, Any]:
        condition = {"type": "AutoscalingReady", "status": "True", "reason": reason, "message": "it was so"}
        return {
            "conditions": [{**condition, "lastTransitionTime": "2026-11-01T12:00:00Z"}],
            "autoscaling": {"wanted": 3},
        }

    assert told(None, hpa(), before=standing("Learning")) == (("True", "Learning", "it was so"), {"wanted": 3})
    # But for what can be seen without Prometheus.
    assert told(None, before=standing("Learning"))[0][1] == "NoAutoscaler"
    assert told(None, hpa(), before=standing("NoMetricYet"))[0] == ("True", "ValidMetricFound", TOLD)
    assert told(look(), hpa(), before=standing("Learning"))[0][1] == "ValidMetricFound"


def test_more_than_the_most_is_told() -> None:
    condition, fields = told(look(9.0), hpa())
    assert condition[:2] == ("True", "AtMaximum")
    assert "asks for 9 replicas" in condition[2]
    assert "spec.scaling.maxReplicas is 4: raise it" in condition[2]
    assert fields["wanted"] == 9


def test_a_queue_that_holds_the_fleet_up_is_told() -> None:
    now = look(1.0)
    queue = replace(now.answers[names.METRIC_QUEUE_DEPTH], value=9.0)
    condition, fields = told(replace(now, answers={**now.answers, queue.metric: queue}), hpa())
    assert condition == ("True", "ValidMetricFound", "mooring_queue_depth asks for 3 replicas")
    assert (fields["wanted"], fields["heldBy"]) == (3, "mooring_queue_depth")


def test_learning_and_a_target_that_nobody_can_meet_are_told() -> None:
    condition, fields = told(look(2.0, LEARNING, "30 s of arrivals are known", replace(DECISION, learning=True)), hpa())
    assert condition[:2] == ("True", "Learning")
    assert "30 s of arrivals are known" in condition[2]
    assert fields["learning"] is True
    condition, _ = told(look(2.0, TARGET_UNREACHABLE, "a lone request takes 90 ms"), hpa())
    assert condition == ("False", "TargetUnreachable", "a lone request takes 90 ms")


@pytest.mark.parametrize("reason", ["NoSeries", "TooManySeries", "StaleSeries", "NoCurve"])
def test_a_metric_that_says_nothing_is_told_with_its_reason(reason: str) -> None:
    condition, fields = told(look(None, reason, "what is the matter", None), hpa())
    assert condition == (
        "False",
        reason,
        "mooring_desired_replicas: what is the matter. Replicas stay as they are",
    )
    blind, queue = fields["metrics"]
    assert (blind["healthy"], blind["reason"], blind["message"]) == (False, reason, "what is the matter")
    assert "value" not in blind
    assert queue["healthy"] is True


def test_what_every_start_passes_through_is_no_fault() -> None:
    assert told(look(None, LEARNING, "one scrape", None), hpa())[0][:2] == ("Unknown", LEARNING)
    for reason, status in (("NoSeries", "Unknown"), ("NoCurve", "Unknown"), ("TooManySeries", "False")):
        found, _ = told(look(None, reason, "", None), hpa(), ready=0)
        assert found[:2] == (status, reason)


def test_prometheus_that_cannot_be_reached_is_told() -> None:
    condition, fields = told(Look(unanswered("PrometheusUnreachable", "no route")), hpa())
    assert condition[:2] == ("False", "PrometheusUnreachable")
    assert [each["healthy"] for each in fields["metrics"]] == [False, False]
    assert "wanted" not in fields


def test_what_no_alert_can_tell_while_prometheus_is_down_is_told_by_an_event() -> None:
    condition, _ = told(Look(unanswered("PrometheusUnreachable", "no route")), hpa())
    wrote = [dict(zip(("type", "status", "reason", "message"), ("AutoscalingReady", *condition), strict=True))]
    assert condition[2].endswith("no route. Replicas stay as they are")
    assert transitions({}, {"conditions": wrote}) == [Transition("Warning", "PrometheusUnreachable", condition[2])]


def test_an_autoscaler_that_cannot_see_what_we_see_lacks_its_server() -> None:
    words = "unable to get external metric: the server is currently unable to handle the request"
    blind = hpa("False", "FailedGetExternalMetric", words)
    condition, _ = told(look(), blind)
    assert condition[:2] == ("False", "AdapterDown")
    assert words in condition[2]
    # Nobody has looked yet: then its own words are all that is known.
    condition, _ = told(None, blind)
    assert condition == ("False", "FailedGetExternalMetric", words)


@pytest.mark.parametrize(
    ("reason", "status"),
    [("PrometheusUnreachable", "False"), ("NoSeries", "False"), ("Learning", "Unknown"), ("NoMetricYet", "Unknown")],
)
def test_an_adapter_that_has_answered_is_not_down_and_its_own_reason_is_told(reason: str, status: str) -> None:
    # As for some seconds after Prometheus has come back: we see it, and the autoscaler has not asked again.
    said = refusal(names.METRIC_DESIRED_REPLICAS, reason, "it was so", whose(builders.NAMESPACE, builders.NAME))
    condition, fields = told(look(), hpa("False", "FailedGetExternalMetric", f"unable to get external metric: {said}"))
    assert condition[:2] == (status, reason)
    words = "Prometheus has the metrics now, and the server of external metrics last told the autoscaler"
    assert f"{words}: {reason}: it was so" in condition[2]
    assert all(each["healthy"] for each in fields["metrics"])


def test_a_server_that_answers_in_words_of_its_own_is_not_down() -> None:
    blind = hpa("False", "FailedGetExternalMetric", "rpc error: no answer from http://prometheus: connection refused")
    condition, _ = told(look(), blind, scaler=Scaler(keda=True), of_keda=blind)
    assert condition[:2] == ("False", "FailedGetExternalMetric")
    assert "KEDA gives the autoscaler none: rpc error" in condition[2]


def test_what_stands_in_the_way_comes_first() -> None:
    conflict = Problem("spec.scaling.backend", "it belongs to datadog/agent", "MetricsAPIConflict")
    condition, _ = told(look(), hpa(), problem=conflict)
    assert condition == ("False", "MetricsAPIConflict", "spec.scaling.backend: it belongs to datadog/agent")


def test_before_there_is_one() -> None:
    assert told(look())[0] == ("False", "NoAutoscaler", "the HorizontalPodAutoscaler does not exist yet")
    new = {**hpa(), "status": {}}
    assert told(look(), new)[0][:2] == ("Unknown", "NoMetricYet")
    waits = Scaler(waits="ScaledObject sentiment")
    condition, _ = told(look(), scaler=waits)
    assert condition[:2] == ("False", "SwitchingBackend")
    assert condition[2].startswith("ScaledObject sentiment is being deleted")


def test_keda_speaks_by_its_own_autoscaler() -> None:
    keda = Scaler(keda=True)
    scaled_object = {"kind": "ScaledObject", "metadata": {"name": builders.NAME}, "status": {}}
    assert told(look(), scaler=keda)[0][:2] == ("False", "NoAutoscaler")
    assert told(look(), scaled_object, scaler=keda)[0][:2] == ("False", "KedaNotReady")
    failed = {"conditions": [{"type": "Ready", "status": "False", "message": "no such trigger"}]}
    condition, _ = told(look(), {**scaled_object, "status": failed}, scaler=keda)
    assert "no such trigger" in condition[2]
    condition, fields = told(look(), scaled_object, scaler=keda, of_keda=hpa())
    assert condition[0] == "True"
    assert fields["backend"] == "keda"


def test_the_cpu_has_no_server() -> None:
    only_cpu = {"maxReplicas": 4, "cpu": {"target": 50}}
    condition, fields = told(Look({}, None, 0.0, 80), hpa(), scaling=only_cpu)
    assert condition == ("True", "ValidMetricFound", "cpu asks for 4 replicas")
    cpu = {"name": "cpu", "healthy": True, "reason": "OK", "value": "80%", "replicas": 4}
    assert fields == {"wanted": 4, "heldBy": "cpu", "metrics": [cpu]}
    _, fields = told(Look({}), hpa(), scaling=only_cpu)
    assert fields == {"metrics": [{"name": "cpu", "healthy": False, "reason": "NoMetricYet"}]}


def test_nothing_without_an_autoscaler() -> None:
    observed = builders.observed(builders.deployment("v1"))
    written = status_of(builders.service(), observed, Step(), Rendered("v1", {}, ""), Verdicts((), (), look()))
    assert "autoscaling" not in written
    assert "AutoscalingReady" not in {each["type"] for each in written["conditions"]}


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.0123, "12m"), (1.26, "1300m"), (22.5, "22"), (99.9, "100"), (1234.0, "1230")]
)
def test_numbers_are_rounded(value: float, text: str) -> None:
    assert rounded(value) == text
