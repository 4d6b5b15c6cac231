import dataclasses

import pytest

from mooring_operator.adapter.board import Board
from mooring_operator.adapter.replies import Question, reply
from mooring_operator.adapter.wire import ApiError, Document
from mooring_operator.api import names
from mooring_operator.facts import Key
from mooring_operator.scaling import refusals
from mooring_operator.scaling.answers import Answer, unanswered
from mooring_operator.validation import Seen
from tests.support.builders import service

LOAD, DESIRED = names.METRIC_LOAD, names.METRIC_DESIRED_REPLICAS
TAKEN = 1000.0
LASTS = 30.0


def seen(name: str, namespace: str = "team") -> tuple[Key, Seen]:
    return Key(namespace, name), Seen("uid", 1, service(name, namespace=namespace), "")


def told(value: float | None, reason: str = "OK", message: str = "") -> dict[str, Answer]:
    return {metric: Answer(metric, value, 1_795_330_800.0, 2, reason, message) for metric in names.EXTERNAL_METRICS}


SERVICES = [seen("demo"), seen("other"), seen("demo", "elsewhere")]
BOARD = Board(
    TAKEN,
    {
        Key("team", "demo"): told(3.0),
        Key("team", "other"): told(4.0),
        Key("elsewhere", "demo"): told(500.0),
    },
    None,
    LASTS,
)


def ask(
    selector: str = "mooring_service=demo", metric: str = LOAD, board: Board = BOARD, now: float = TAKEN
) -> Document:
    return reply(Question("team", metric, selector), SERVICES, board, now)


def refused(code: int, **how: object) -> str:
    with pytest.raises(ApiError) as caught:
        ask(**how)  # type: ignore[arg-type]
    assert caught.value.code == code
    return str(caught.value)


def values(document: Document) -> list[tuple[str, str]]:
    return [(item["metricLabels"]["mooring_service"], item["value"]) for item in document["items"]]


def test_a_service_is_told_from_its_namesake_in_another_namespace() -> None:
    found = ask()
    assert values(found) == [("demo", "3")]
    assert found["items"][0]["metricLabels"] == {"mooring_service": "demo", "mooring_namespace": "team"}


def test_requests_of_several_services_add_up_and_replicas_do_not() -> None:
    assert values(ask("mooring_service in (demo,other)")) == [("demo", "3"), ("other", "4")]
    assert values(ask("")) == [("demo", "3"), ("other", "4")]
    for metric in (DESIRED, names.METRIC_LATENCY_RATIO):
        assert "selects 2 services (demo, other)" in refused(400, metric=metric, selector="mooring_service")


def test_no_service_is_an_error_and_never_an_empty_list() -> None:
    assert "write mooring_service=<name" in refused(404, selector="mooring_service=third")
    assert "'service=demo'" in refused(404, selector="service=demo")


def test_what_is_no_metric_and_no_selector() -> None:
    assert "mooring_desired_replicas" in refused(404, metric="mooring_rate")
    assert "found '>'" in refused(400, selector="mooring_service>1")


def test_no_value_is_an_error_that_says_why() -> None:
    blind = dataclasses.replace(
        BOARD, answers={**BOARD.answers, Key("team", "demo"): told(None, "NoSeries", "scrape it")}
    )
    assert refused(503, board=blind).endswith("NoSeries: scrape it")
    # One of two that cannot be seen: the sum would be too low, and replicas would be taken away.
    assert "'demo'" in refused(503, board=blind, selector="mooring_service in (demo,other)")
    none = {**BOARD.answers, Key("team", "demo"): unanswered("NoLatencyTarget", "give one")}
    assert "give one" in refused(404, board=dataclasses.replace(BOARD, answers=none))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_is_no_amount_never_leaves(value: float) -> None:
    board = dataclasses.replace(BOARD, answers={**BOARD.answers, Key("team", "demo"): told(value)})
    assert "no amount" in refused(500, board=board)


def test_a_look_stands_for_a_while_and_then_there_is_no_value() -> None:
    failed = dataclasses.replace(BOARD, problem=("PrometheusSlow", "it takes its time"))
    assert values(ask(board=failed, now=TAKEN + LASTS)) == [("demo", "3")]
    assert "PrometheusSlow: it takes its time" in refused(503, board=failed, now=TAKEN + LASTS + 1)
    assert "too old" in refused(503, now=TAKEN + LASTS + 1)
    assert "has not answered yet" in refused(503, board=Board())


def test_a_service_that_was_not_looked_at_yet() -> None:
    assert "ask again" in refused(503, board=dataclasses.replace(BOARD, answers={}))


def in_its_words(said: str) -> str:
    """What an autoscaler says in its condition when it was told this (1.37, `GetExternalMetric`)."""
    return (
        "the HPA was unable to compute the replica count: unable to get external metric team/mooring_load/"
        "&LabelSelector{MatchLabels:map[string]string{mooring_service: demo,},MatchExpressions:"
        f"[]LabelSelectorRequirement{{}},}}: unable to fetch metrics from external metrics API: {said}"
    )


SLOW = dataclasses.replace(BOARD, problem=("PrometheusSlow", "why: it waits"))
ODD = dataclasses.replace(BOARD, answers={Key("team", "demo"): told(None, "NoSeries", "for service 'x': scrape")})


@pytest.mark.parametrize(
    ("board", "now", "reason", "message"),
    [
        (SLOW, 1e9, "PrometheusSlow", "why: it waits"),
        (BOARD, 1e9, "PrometheusSlow", "too old"),
        (Board(), TAKEN, "NoMetricYet", "has not answered yet"),
        (dataclasses.replace(BOARD, answers={}), TAKEN, "NoMetricYet", "ask again"),
        (ODD, TAKEN, "NoSeries", "for service 'x': scrape"),
    ],
)
def test_the_reason_of_each_refusal_is_read_from_the_autoscalers_words(
    board: Board, now: float, reason: str, message: str
) -> None:
    words = in_its_words(refused(503, board=board, now=now))
    found = refusals.told(words)
    assert found is not None and found.reason == reason and found.message.startswith(f"{reason}: ")
    assert found.message.endswith(message) and not refusals.unreached(words)


@pytest.mark.parametrize(
    ("words", "unreached"),
    [
        ("the server is currently unable to handle the request (get mooring_load.external.metrics.k8s.io)", True),
        ('an error on the server ("error trying to reach service: dial tcp 10.0.0.1:8443: connect: refused")', True),
        ("the server could not find the requested resource", True),
        ("rpc error: code = Unknown desc = error when getting metric values: dial tcp: connection refused", False),
        ('external.metrics.k8s.io "mooring_load" is forbidden: no', False),
    ],
)
def test_what_the_api_server_says_in_place_of_a_metrics_server_is_none_of_its_words(
    words: str, unreached: bool
) -> None:
    assert refusals.told(in_its_words(words)) is None
    assert refusals.unreached(in_its_words(words)) == unreached


def test_a_spec_that_cannot_be_read_is_told() -> None:
    bad = (Key("team", "bad"), Seen("uid", 1, None, "spec.model.uri: begin with oci://"))
    with pytest.raises(ApiError, match=r"spec.model.uri: begin with oci://"):
        reply(Question("team", LOAD, "mooring_service=bad"), [bad], BOARD, TAKEN)
