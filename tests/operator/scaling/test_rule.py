"""Who makes the autoscaler, what stands in its way, and when the load stands for the rule."""

from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.facts import KedaAccess, Manifest, MetricsApi, Observed, Scaler
from mooring_operator.scaling import rule
from mooring_operator.scaling.answers import NO_CURVE, OK, Answer
from mooring_operator.scaling.fallback import concurrency, load_target
from mooring_operator.scaling.findings import Findings
from mooring_operator.scaling.look import Look
from mooring_operator.scaling.rule import CURVELESS
from tests.support import builders

LATENCY = {"maxReplicas": 8, "latency": {"target": "80ms"}}
URL = "http://prometheus:9090"
NOBODY = MetricsApi()
OURS = MetricsApi("mooring", "mooring/mooring-adapter")
KEDA = MetricsApi("keda", "keda/keda-metrics-apiserver")
OTHER = MetricsApi("other", "datadog/cluster-agent")


def child(kind: str, name: str = builders.NAME, **annotations: str) -> Manifest:
    return {"kind": kind, "metadata": {"name": name, "annotations": annotations}}


def seen(*children: Manifest, keda_autoscaler: Manifest | None = None) -> Observed:
    return builders.observed(*children, keda_autoscaler=keda_autoscaler)


def chosen(backend: str, api: MetricsApi | None, *children: Manifest, **cluster: Any) -> tuple[bool, str]:
    """Whether KEDA makes the autoscaler, and the reason of what stands in its way."""
    service = builders.service(scaling={**LATENCY, "backend": backend})
    facts = builders.cluster(metrics_api=api, **{"keda": True, "prometheus_url": URL, **cluster})
    assert service.spec.scaling is not None
    problem = rule.obstacle(service.spec.scaling, facts)
    assert problem is None or problem.field == "spec.scaling.backend"
    return rule.scaler(service, facts, seen(*children), None).keda, problem.reason if problem else ""


@pytest.mark.parametrize(
    ("backend", "api", "keda", "reason"),
    [
        ("auto", OURS, False, ""),
        ("auto", NOBODY, False, "MetricsAPIMissing"),
        ("auto", KEDA, True, ""),
        ("auto", OTHER, False, "MetricsAPIConflict"),
        ("auto", None, False, ""),
        ("adapter", OURS, False, ""),
        ("adapter", NOBODY, False, "MetricsAPIMissing"),
        ("adapter", KEDA, False, "MetricsAPIConflict"),
        ("adapter", OTHER, False, "MetricsAPIConflict"),
        ("keda", KEDA, True, ""),
        ("keda", NOBODY, True, "MetricsAPIMissing"),
        ("keda", OURS, True, "MetricsAPIConflict"),
        ("keda", OTHER, True, "MetricsAPIConflict"),
        ("prometheusAdapter", OTHER, False, ""),
        ("prometheusAdapter", OURS, False, "MetricsAPIConflict"),
        ("prometheusAdapter", KEDA, False, "MetricsAPIConflict"),
    ],
)
def test_whose_the_metrics_are_decides(backend: str, api: MetricsApi | None, keda: bool, reason: str) -> None:
    assert chosen(backend, api) == (keda, reason)


def test_what_stands_goes_on_while_nobody_can_decide() -> None:
    scaled_object = child("ScaledObject")
    for api in (OTHER, None):
        assert chosen("auto", api, scaled_object)[0]
        assert not chosen("auto", api, child("HorizontalPodAutoscaler"))[0]


def test_keda_has_to_be_there_and_to_know_where_prometheus_is() -> None:
    assert chosen("keda", KEDA, keda=False) == (False, "KedaMissing")
    assert chosen("auto", KEDA, keda=False) == (False, "KedaMissing")
    assert chosen("auto", KEDA, prometheus_url="") == (True, "PrometheusNotConfigured")


@pytest.mark.parametrize("api", [KEDA, None])
def test_keda_has_to_have_a_token_where_the_operator_needs_one(api: MetricsApi | None) -> None:
    assert chosen("keda", api, prometheus_token=True) == (True, "KedaUnauthorized")
    assert chosen("keda", api, prometheus_token=True, keda_access=KedaAccess("prometheus")) == (True, "")
    # First of all somebody has to ask KEDA.
    assert chosen("keda", OTHER, prometheus_token=True) == (True, "MetricsAPIConflict")
    by_cpu = builders.service(scaling={"maxReplicas": 2, "cpu": {"target": 70}, "backend": "keda"})
    assert by_cpu.spec.scaling is not None
    assert rule.obstacle(by_cpu.spec.scaling, builders.cluster(keda=True, prometheus_token=True)) is None


def test_a_chart_that_was_told_of_no_prometheus_is_what_is_missing() -> None:
    service = builders.service(scaling=LATENCY)
    assert service.spec.scaling is not None
    problem = rule.obstacle(service.spec.scaling, builders.cluster(metrics_api=NOBODY))
    assert problem is not None
    assert problem.reason == "PrometheusNotConfigured" and "prometheus.url" in problem.message
    by_cpu = builders.service(scaling={"maxReplicas": 2, "cpu": {"target": 70}})
    assert by_cpu.spec.scaling is not None
    assert rule.obstacle(by_cpu.spec.scaling, builders.cluster(metrics_api=NOBODY)) is None


def test_a_server_that_does_not_answer_is_told() -> None:
    down = MetricsApi("mooring", "mooring/mooring-adapter", "no endpoints available")
    service = builders.service(scaling=LATENCY)
    assert service.spec.scaling is not None
    problem = rule.obstacle(service.spec.scaling, builders.cluster(metrics_api=down))
    assert problem is not None
    assert problem.reason == "AdapterDown"
    assert "no endpoints available" in problem.message


def test_cpu_needs_nobody() -> None:
    service = builders.service(scaling={"maxReplicas": 8, "cpu": {"target": 50}})
    assert service.spec.scaling is not None
    for api in (None, NOBODY, OURS, KEDA, OTHER):
        facts = builders.cluster(metrics_api=api)
        assert rule.obstacle(service.spec.scaling, facts) is None
        assert rule.scaler(service, facts, seen(), None) == Scaler()


def scaler(api: MetricsApi, observed: Observed) -> Scaler:
    facts = builders.cluster(metrics_api=api, keda=True, prometheus_url=URL)
    return rule.scaler(builders.service(scaling=LATENCY), facts, observed, None)


def test_the_other_one_goes_first() -> None:
    ours, theirs = child("HorizontalPodAutoscaler"), child("ScaledObject")
    of_keda = child("HorizontalPodAutoscaler", "keda-hpa-sentiment")
    assert scaler(KEDA, seen(ours)).waits == "HorizontalPodAutoscaler sentiment"
    assert scaler(KEDA, seen(theirs, keda_autoscaler=of_keda)).waits == ""
    assert scaler(OURS, seen(theirs)).waits == "ScaledObject sentiment"
    # KEDA's own goes a moment after the ScaledObject: until then it still writes replicas.
    assert scaler(OURS, seen(keda_autoscaler=of_keda)).waits == "HorizontalPodAutoscaler keda-hpa-sentiment"
    assert scaler(OURS, seen(ours)).waits == ""


def look(reason: str = OK, *, curveless: float = 0.0, limit: float | None = 32.0, workers: float | None = None) -> Look:
    value = 3.0 if reason == OK else None
    answer = Answer(names.METRIC_DESIRED_REPLICAS, value, 1000.0, 1, reason)
    return Look({answer.metric: answer}, Findings(1000.0, batch_limit=limit, workers=workers), curveless)


def stands_in(known: float | None, now: Look | None, **scaling: Any) -> float | None:
    marks = {} if known is None else {names.ANNOTATION_CONCURRENCY: f"{known:g}"}
    observed = seen(child("HorizontalPodAutoscaler", **marks))
    service = builders.service(scaling={**LATENCY, **scaling})
    return rule.scaler(service, builders.cluster(metrics_api=OURS), observed, now).concurrency


BLIND = Look({}, None)


@pytest.mark.parametrize(
    ("known", "now", "expected"),
    [
        (None, None, None),
        (None, BLIND, None),
        (None, look(), None),
        (None, look(NO_CURVE, curveless=CURVELESS - 1), None),  # replicas that have only just begun
        (None, look(NO_CURVE, curveless=CURVELESS), 16.0),
        (None, look(NO_CURVE, curveless=CURVELESS, workers=2.0), 32.0),
        (None, look(NO_CURVE, curveless=CURVELESS, limit=1.0), 1.0),
        (None, look(NO_CURVE, curveless=CURVELESS, limit=None), None),  # nothing to go by
        (16.0, look(NO_CURVE, curveless=CURVELESS, limit=8.0), 16.0),  # no new target each time a model says otherwise
        (16.0, None, 16.0),  # the operator has just been started
        (16.0, BLIND, 16.0),  # Prometheus is away
        (16.0, look(NO_CURVE), 16.0),
        (16.0, look("NoSeries"), 16.0),
        (16.0, look(), None),
    ],
)
def test_the_load_stands_in_only_where_a_curve_is_missing_for_long(
    known: float | None, now: Look | None, expected: float | None
) -> None:
    assert stands_in(known, now) == expected


def test_an_annotation_of_somebody_else_is_no_number() -> None:
    for written in ("many", "nan", "inf", "-3", "0"):
        found = rule.concurrency_of(child("HorizontalPodAutoscaler", **{names.ANNOTATION_CONCURRENCY: written}))
        assert found is None
    assert rule.concurrency_of(None) is None


def test_what_stands_for_the_rule_moves_with_the_back_end() -> None:
    observed = seen(child("HorizontalPodAutoscaler", **{names.ANNOTATION_CONCURRENCY: "7"}))
    assert scaler(KEDA, observed).concurrency == 7.0


def test_the_stand_in_is_on_the_side_of_too_many_replicas() -> None:
    """Simulated replicas at their target had 19.8 requests with batches of up to 32, 9.2 with 16 and 1.2 with 1."""
    for most, simulated in ((32, 19.8), (16, 9.2), (1, 1.2)):
        assert 0.7 * simulated < concurrency(most, 1) <= simulated
    assert concurrency(16, 3) == 3 * concurrency(16, 1)
    assert load_target(builders.service(scaling=LATENCY), Scaler()) is None


@pytest.mark.parametrize(
    ("backend", "scaling", "expected"),
    [
        (Scaler(keda=True), {"cpu": {"target": 50}}, "keda"),
        (Scaler(), {"cpu": {"target": 50}}, None),
        (Scaler(), {"queue": {"target": 5}}, "adapter"),
        (Scaler(), {"queue": {"target": 5}, "backend": "prometheusAdapter"}, "prometheusAdapter"),
    ],
)
def test_who_is_told_to_serve(backend: Scaler, scaling: dict[str, Any], expected: str | None) -> None:
    spec = builders.spec(scaling={"maxReplicas": 3, **scaling})
    assert spec.scaling is not None
    assert rule.backend(spec.scaling, backend) == expected
