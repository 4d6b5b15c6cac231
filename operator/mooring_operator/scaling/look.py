"""One look at Prometheus, as rounds, statuses and exported series read it. Pure, but for what `Curveless` remembers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ..api import names
from ..facts import Key
from .answers import NO_CURVE, Answer
from .findings import Findings
from .slo import past_the_dead_band


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at Prometheus told of a service.

    Attributes:
        answers: by metric, as the adapter gives them.
        findings: what they were made from; None: Prometheus said nothing.
        curveless: seconds for which replicas have answered and none has had a batch curve.
        cpu: percent of the requested CPU, as the autoscaler measured it; None: it does not go by CPU, or has not yet.
    """

    answers: Mapping[str, Answer]
    findings: Findings | None = None
    curveless: float = 0.0
    cpu: int | None = None


def stepped(answers: Mapping[str, Answer], live: int) -> Mapping[str, Answer]:
    """Return what is told to autoscalers without `tolerance`, which swallow one replica of ten.

    Args:
        answers: by metric.
        live: replicas that the service has.
    """
    desired = answers.get(names.METRIC_DESIRED_REPLICAS)
    if desired is None or desired.value is None:
        return answers
    value = float(past_the_dead_band(round(desired.value), live))
    return {**answers, desired.metric: replace(desired, value=value)}


class Curveless:
    """Remembers since when the replicas of each service answer without a batch curve.

    It is lost with the operator: a new one waits once more before it changes anything.
    """

    def __init__(self) -> None:
        self._since: dict[Key, float] = {}

    def seconds(self, key: Key, answers: Mapping[str, Answer], findings: Findings) -> float:
        """Take in what was found of a service; return for how long none of its replicas has had a curve."""
        if findings.ready and answers[names.METRIC_DESIRED_REPLICAS].reason == NO_CURVE:
            return findings.time - self._since.setdefault(key, findings.time)
        self._since.pop(key, None)
        return 0.0

    def keep(self, keys: Collection[Key]) -> None:
        """Forget every other service."""
        self._since = {key: since for key, since in self._since.items() if key in keys}
