"""When what Prometheus says is worth a status: at once when something goes blind or sees again, else seldom. Pure.

The numbers are new every few seconds. Written each time, they would be most of what the API server does.
"""

from typing import Final

from ..api import names
from .answers import FEW_REQUESTS, OK, Answer
from .look import Look
from .rule import CURVELESS

SELDOM: Final = 60.0
"""Seconds between two statuses that differ by numbers only."""


def worth_telling(told: Look | None, now: Look, since: float) -> bool:
    """Tell whether a look should replace the one that was told `since` seconds ago."""
    if told is None or _health(told) != _health(now):
        return True
    return since >= SELDOM and _numbers(told) != _numbers(now)


def _health(look: Look) -> tuple[object, ...]:
    # Whether enough requests came for a percentile is one way now and the other way in five seconds.
    reasons = {name: OK if each.reason == FEW_REQUESTS else each.reason for name, each in look.answers.items()}
    answers = [(name, reasons[name], answer.value is None) for name, answer in sorted(look.answers.items())]
    return (*answers, look.curveless >= CURVELESS)


def _numbers(look: Look) -> tuple[object, ...]:
    answers = [(name, _digits(answer), answer.series) for name, answer in sorted(look.answers.items())]
    decision = look.answers[names.METRIC_DESIRED_REPLICAS].decision if look.answers else None
    rule = (decision.reason, f"{decision.capacity:.2g}", f"{decision.planned:.2g}") if decision is not None else ()
    return (*answers, *rule, look.cpu)


def _digits(answer: Answer) -> str:
    """The value as the status has it: of a noisy number the third digit is never the same."""
    return "" if answer.value is None else f"{answer.value:.2g}"
