"""What each metric asks for, and when that is worth a status."""

from dataclasses import replace

import pytest

from mooring_operator.api import names
from mooring_operator.facts import Key, Scaler
from mooring_operator.scaling.answers import NO_CURVE, OK, Answer
from mooring_operator.scaling.findings import Findings
from mooring_operator.scaling.look import Curveless, Look, stepped
from mooring_operator.scaling.rule import CURVELESS
from mooring_operator.scaling.slo import Decision
from mooring_operator.scaling.telling import SELDOM, worth_telling
from mooring_operator.scaling.wishes import wishes
from tests.support import builders

DECISION = Decision(3, 20.0, 50.0, 0.0, learning=False, reason="rate")


def look(replicas: float | None = 3.0, load: float | None = 12.0, reason: str = OK, **rest: float) -> Look:
    rule = Answer(names.METRIC_DESIRED_REPLICAS, replicas, 0.0, 2, reason, decision=DECISION)
    queue = Answer(names.METRIC_QUEUE_DEPTH, load, 0.0, 2, OK)
    found = {each.metric: each for each in (rule, queue, replace(queue, metric=names.METRIC_LOAD))}
    return Look(found, None, rest.get("curveless", 0.0), None if "cpu" not in rest else int(rest["cpu"]))


def test_the_first_look_is_told() -> None:
    assert worth_telling(None, look(), 0.0)


@pytest.mark.parametrize(
    "now",
    [
        look(replicas=None, reason="NoSeries"),
        look(load=None),
        look(reason="Learning"),
        look(curveless=CURVELESS),
    ],
)
def test_what_changes_whether_it_can_see_is_told_at_once(now: Look) -> None:
    assert worth_telling(look(), now, 0.0)
    assert worth_telling(now, look(), 0.0)


@pytest.mark.parametrize("now", [look(replicas=4.0), look(load=20.0), look(cpu=50)])
def test_numbers_are_told_seldom(now: Look) -> None:
    assert not worth_telling(look(), now, SELDOM - 1)
    assert worth_telling(look(), now, SELDOM)


def test_a_percentile_that_comes_and_goes_with_a_request_more_or_less_is_told_seldom() -> None:
    few = look(reason="FewRequests")
    assert not worth_telling(look(), few, SELDOM - 1)
    assert not worth_telling(few, look(), SELDOM - 1)


def test_what_is_the_same_when_rounded_is_never_told() -> None:
    assert not worth_telling(look(load=120.0), look(load=121.0), 10 * SELDOM)
    assert not worth_telling(look(curveless=1.0), look(curveless=2.0), 10 * SELDOM)


def test_each_metric_has_its_own_wish() -> None:
    scaling = {
        "maxReplicas": 8,
        "latency": {"target": "80ms"},
        "queue": {"target": 5},
        "cpu": {"target": 50, "force": True},
    }
    service = builders.service(scaling=scaling)
    found = wishes(service, Scaler(), look(cpu=60), ready=4)
    assert [(wish.metric, wish.replicas) for wish in found] == [
        (names.METRIC_DESIRED_REPLICAS, 3),
        (names.METRIC_QUEUE_DEPTH, 3),
        ("cpu", 5),
    ]
    by_load = wishes(service, Scaler(concurrency=8), look(), ready=4)
    assert [(wish.metric, wish.replicas) for wish in by_load] == [
        (names.METRIC_LOAD, 3),
        (names.METRIC_QUEUE_DEPTH, 3),
        ("cpu", None),
    ]
    assert wishes(service, Scaler(), None, ready=4) == []


def test_a_whole_number_of_replicas_is_not_rounded_up() -> None:
    service = builders.service(scaling={"maxReplicas": 8, "queue": {"target": 3}})
    assert [wish.replicas for wish in wishes(service, Scaler(), look(load=0.3 * 30), ready=1)] == [3]
    assert [wish.replicas for wish in wishes(service, Scaler(), look(load=None), ready=1)] == [None]


def test_a_dead_band_is_stepped_over() -> None:
    found = stepped(look(replicas=11.0).answers, live=10)
    assert found[names.METRIC_DESIRED_REPLICAS].value == 12.0
    assert found[names.METRIC_QUEUE_DEPTH] == look().answers[names.METRIC_QUEUE_DEPTH]
    assert stepped(look(replicas=None).answers, live=10) == look(replicas=None).answers
    assert stepped({}, live=10) == {}


def test_how_long_a_curve_has_been_missing() -> None:
    curveless, key = Curveless(), Key("models", "sentiment")

    def seconds(time: float, reason: str = NO_CURVE, ready: int = 1) -> float:
        return curveless.seconds(key, look(None, reason=reason).answers, Findings(time, ready=ready))

    assert (seconds(100.0), seconds(130.0)) == (0.0, 30.0)
    assert (seconds(140.0, OK), seconds(150.0)) == (0.0, 0.0), "a curve that was there counts anew"
    assert (seconds(160.0, ready=0), seconds(170.0)) == (0.0, 0.0), "nobody answers, so nobody can have one"
    assert seconds(180.0) == 10.0
    curveless.keep({key})
    assert seconds(190.0) == 20.0
    curveless.keep(set())
    assert seconds(200.0) == 0.0
