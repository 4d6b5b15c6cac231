"""The answer to one question: which services it is about, and what is known of them. Pure.

No value is an error, never 0 and never an empty list: an autoscaler that gets an error holds, and one that gets 0
would take the fleet away under full load.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ..api import names
from ..cluster.prometheus_http import SlowError
from ..facts import Key
from ..scaling.answers import NO_LATENCY_TARGET, Answer
from ..scaling.refusals import NOT_YET, refusal, whose
from ..validation import Seen
from . import labels
from .board import Board
from .wire import ApiError, Document, Item, value_list

_ADDITIVE: Final = frozenset({names.METRIC_LOAD, names.METRIC_QUEUE_DEPTH})
"""An autoscaler adds up what it gets. A sum of requests is an amount of requests; a sum of ratios is nothing."""


class Question(NamedTuple):
    """What is asked: a metric of the services in a namespace that a label selector selects."""

    namespace: str
    metric: str
    selector: str


def reply(question: Question, services: Iterable[tuple[Key, Seen]], board: Board, now: float) -> Document:
    """Return the ExternalMetricValueList. Raises `ApiError` where there is no value, and says why.

    `now` is in the seconds of `board.taken`.
    """
    if question.metric not in names.EXTERNAL_METRICS:
        known = ", ".join(names.EXTERNAL_METRICS)
        raise ApiError(404, f"there is no external metric {question.metric!r} here: the metrics are {known}")
    chosen = _select(question, services)
    if not board.fresh(now):
        reason, message = board.problem or (SlowError.reason, "the last look at Prometheus is too old")
        raise ApiError(503, refusal(question.metric, reason, message))
    try:
        return value_list(question.metric, [_item(question.metric, key, seen, board) for key, seen in chosen])
    except ValueError as error:
        raise ApiError(500, f"no value of {question.metric}: {error}") from error


def labels_of(key: Key) -> dict[str, str]:
    """Return the labels by which the metrics of a service are selected."""
    return {names.METRIC_LABEL_NAMESPACE: key.namespace, names.METRIC_LABEL_SERVICE: key.name}


def _select(question: Question, services: Iterable[tuple[Key, Seen]]) -> list[tuple[Key, Seen]]:
    try:
        requirements = labels.parse(question.selector)
    except labels.SelectorError as error:
        raise ApiError(400, str(error)) from error
    chosen = sorted(
        (key, seen)
        for key, seen in services
        if key.namespace == question.namespace and all(each.matches(labels_of(key)) for each in requirements)
    )
    if not chosen:
        raise ApiError(
            404,
            f"no InferenceService in namespace {question.namespace!r} has labelSelector {question.selector!r}: "
            f"write {names.METRIC_LABEL_SERVICE}=<name of the service>",
        )
    if len(chosen) > 1 and question.metric not in _ADDITIVE:
        found = ", ".join(key.name for key, _ in chosen)
        raise ApiError(
            400,
            f"labelSelector {question.selector!r} selects {len(chosen)} services ({found}), and {question.metric} "
            f"cannot be added up: select one by {names.METRIC_LABEL_SERVICE}=<name>",
        )
    return chosen


def _item(metric: str, key: Key, seen: Seen, board: Board) -> Item:
    service = whose(key.namespace, key.name)
    if seen.service is None:
        raise ApiError(503, refusal(metric, "InvalidSpec", f"its spec cannot be read: {seen.problem}", service))
    answer = board.answers.get(key, {}).get(metric)
    if answer is None:
        message = "it is newer than the last look at Prometheus; ask again"
        raise ApiError(503, refusal(metric, NOT_YET, message, service))
    if answer.value is None:
        raise ApiError(_code(answer), refusal(metric, answer.reason, answer.message, service))
    return Item(labels_of(key), answer.time, answer.value)


def _code(answer: Answer) -> int:
    """Return the code of an answer without a value: 404 for what this service never has, 503 for what may come."""
    return 404 if answer.reason == NO_LATENCY_TARGET else 503
