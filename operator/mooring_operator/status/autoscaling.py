"""What the status says of the autoscaler: whether it can see, what it sees, and what it makes of that.

Whatever keeps it from seeing, the replicas stay. So each way of being blind has a reason of its own, here and in the
chart's alerts: nothing else would show it before the load has changed.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..api import names
from ..facts import Manifest, ObjectKey
from ..scaling import refusals, rule
from ..scaling.answers import (
    LEARNING,
    NO_CURVE,
    NO_LATENCY_TARGET,
    NO_SERIES,
    NOT_READY,
    OK,
    TARGET_UNREACHABLE,
    Answer,
)
from ..scaling.wishes import Wish, wishes
from .view import Verdict, View, first

_HELD: Final = {
    "rate": "the requests that come now",
    "rise": "a rise that the last hour has shown more than once",
    "headroom": "spec.scaling.headroom over the requests that come now",
}

_EARLY: Final = frozenset({NO_SERIES, NO_CURVE, NOT_READY})
"""What is the matter with every service that has no replica yet."""

_PASSING: Final = frozenset({refusals.NOT_YET, NO_LATENCY_TARGET})
"""What the adapter says of a service that it has not looked at since it was made, or changed."""

_ON_THE_WAY: Final = frozenset({"NoAutoscaler", "SwitchingBackend", "KedaNotReady", refusals.NOT_YET})


def ready(view: View) -> Verdict:
    """The autoscaler reads all of its metrics, and a number of replicas can do what is asked."""
    if view.verdicts.autoscaling:
        found = first(view.verdicts.autoscaling)
        return Verdict("False", found.reason, found.message)
    if view.step.scaler.waits:
        message = f"{view.step.scaler.waits} is being deleted; the other autoscaler is made when it is gone"
        return Verdict("False", "SwitchingBackend", message)
    autoscaler = _autoscaler(view)
    if autoscaler is None:
        return _missing(view)
    if view.verdicts.look is None and (standing := _standing(view)) is not None:
        return standing
    for answer in _answers(view):
        if answer.value is None:
            message = f"{answer.metric}: {answer.message}. Replicas stay as they are"
            return Verdict("Unknown" if _early(view, answer.reason) else "False", answer.reason, message)
    active = _condition(autoscaler, "ScalingActive")
    if not active:
        message = "the HorizontalPodAutoscaler has not read its metrics yet"
        return Verdict("Unknown", refusals.NOT_YET, message)
    if active["status"] != "True":
        return _inactive(view, active)
    return _works(view, active)


def fields(view: View) -> dict[str, Any]:
    """Return `status.autoscaling`; nothing where no autoscaler is on, or nobody has looked yet."""
    scaling, look = view.service.spec.scaling, view.verdicts.look
    if scaling is None or scaling.max_replicas is None:
        return {}
    backend = rule.backend(scaling, view.step.scaler)
    told: dict[str, Any] = {} if backend is None else {"backend": backend}
    if look is None:
        # The operator has just been started: what the one before saw stands until it has looked, some moments later.
        standing = view.observed.status.get("autoscaling") or told
        return {"autoscaling": standing} if standing else {}
    found = _wishes(view)
    known = [wish for wish in found if wish.replicas is not None]
    if known:
        most = _most(known)
        told |= {"wanted": most.replicas, "heldBy": most.metric}
    answer = look.answers.get(names.METRIC_DESIRED_REPLICAS)
    decision = answer.decision if answer is not None else None
    if decision is not None:
        told |= {
            "capacity": rounded(decision.capacity),
            "planned": rounded(decision.planned),
            "backlog": rounded(decision.backlog),
            "plan": decision.reason,
            "learning": decision.learning,
        }
    now = look.findings.time if look.findings is not None else None
    metrics = {wish.metric: _metric(wish, now) for wish in found}
    return {"autoscaling": {**told, "metrics": [metrics[name] for name in sorted(metrics)]}}


def rounded(value: float) -> str:
    """Return a number of at least 0 as a quantity of two or three digits: one more would change with each look."""
    if value < 100:
        thousandths = round(float(f"{value:.2g}") * 1000)
        return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)
    return f"{float(f'{value:.3g}'):.0f}"


def _metric(wish: Wish, now: float | None) -> Mapping[str, Any]:
    answer = wish.answer
    if answer is None:
        measured = wish.replicas is not None
        told: dict[str, Any] = {
            "name": wish.metric,
            "healthy": measured,
            "reason": OK if measured else refusals.NOT_YET,
        }
        return told | ({"value": f"{wish.value:.0f}%", "replicas": wish.replicas} if measured else {})
    age = None if now is None or not answer.time else f"{max(0.0, now - answer.time):.0f}s"
    return {
        "name": wish.metric,
        "healthy": answer.value is not None,
        "reason": answer.reason,
        **({"message": answer.message} if answer.message else {}),
        **({} if answer.value is None else {"value": rounded(answer.value), "replicas": wish.replicas}),
        "series": answer.series,
        **({} if age is None else {"age": age}),
    }


def _works(view: View, active: Mapping[str, str]) -> Verdict:
    scaling = view.service.spec.scaling
    known = [wish for wish in _wishes(view) if wish.replicas is not None]
    if scaling is None or scaling.max_replicas is None or not known:
        return Verdict("True", active.get("reason", "Unknown"), active.get("message", ""))
    most = _most(known)
    message = f"{most.metric} asks for {most.replicas} replicas{_why(most.answer)}"
    for answer in _answers(view):
        if answer.reason == TARGET_UNREACHABLE:
            return Verdict("False", "TargetUnreachable", answer.message)
    if most.replicas is not None and most.replicas > scaling.max_replicas:
        message += f", and spec.scaling.maxReplicas is {scaling.max_replicas}: raise it, or requests wait too long"
        return Verdict("True", "AtMaximum", message)
    if any(answer.reason == LEARNING for answer in _answers(view)):
        return Verdict("True", "Learning", f"{message}. It learns: {_told(view, LEARNING)}")
    return Verdict("True", active.get("reason", "Unknown"), message)


def _inactive(view: View, active: Mapping[str, str]) -> Verdict:
    """What the autoscaler says, and, where we can see what it cannot, that it is the way between that is broken.

    It says what it was told up to 15 s ago. After an outage of Prometheus that is still the outage, by the adapter's
    own word: an adapter that has just said so is not down.
    """
    reason, message = active.get("reason", "Unknown"), active.get("message", "")
    if reason != "FailedGetExternalMetric" or all(answer.value is None for answer in _answers(view)):
        return Verdict("False", reason, message)
    server = "KEDA" if view.step.scaler.keda else "the server of external metrics"
    if (told := refusals.told(message)) is not None:
        passing = told.reason in _PASSING or _early(view, told.reason)
        message = f"Prometheus has the metrics now, and {server} last told the autoscaler: {told.message}"
        return Verdict("Unknown" if passing else "False", told.reason, f"{message}. Replicas stay as they are")
    if refusals.unreached(message):
        message = f"Prometheus has the metrics, but {server} does not answer the autoscaler: {message}"
        return Verdict("False", "AdapterDown", f"{message}. Replicas stay as they are")
    message = f"Prometheus has the metrics, but {server} gives the autoscaler none: {message}"
    return Verdict("False", reason, f"{message}. Replicas stay as they are")


def _early(view: View, reason: str) -> bool:
    """The first replica brings the first series, and it takes two scrapes until they tell a rate."""
    return reason == LEARNING or (reason in _EARLY and not view.counts.get("readyReplicas"))


def _standing(view: View) -> Verdict | None:
    """Return what an earlier operator told, unless it was on the way."""
    for condition in view.observed.status.get("conditions") or ():
        if condition["type"] == "AutoscalingReady" and condition["reason"] not in _ON_THE_WAY:
            return Verdict(condition["status"], condition["reason"], condition["message"])
    return None


def _missing(view: View) -> Verdict:
    made = view.observed.children.get(ObjectKey("ScaledObject", view.service.name))
    if made is None:
        kind = "ScaledObject" if view.step.scaler.keda else "HorizontalPodAutoscaler"
        return Verdict("False", "NoAutoscaler", f"the {kind} does not exist yet")
    condition = _condition(made, "Ready")
    said = condition.get("message", "") if condition.get("status") == "False" else "it has said nothing yet"
    message = f"KEDA has made no HorizontalPodAutoscaler from ScaledObject {view.service.name!r}: {said}"
    return Verdict("False", "KedaNotReady", message)


def _autoscaler(view: View) -> Manifest | None:
    if view.step.scaler.keda:
        return view.observed.keda_autoscaler
    return view.observed.children.get(ObjectKey("HorizontalPodAutoscaler", view.service.name))


def _condition(autoscaler: Manifest, kind: str) -> Mapping[str, str]:
    found = [each for each in autoscaler.get("status", {}).get("conditions") or () if each["type"] == kind]
    return found[0] if found else {}


def _wishes(view: View) -> list[Wish]:
    return wishes(view.service, view.step.scaler, view.verdicts.look, view.counts.get("readyReplicas", 0))


def _answers(view: View) -> Iterator[Answer]:
    return (wish.answer for wish in _wishes(view) if wish.answer is not None)


def _most(known: list[Wish]) -> Wish:
    return max(known, key=lambda wish: wish.replicas or 0)


def _why(answer: Answer | None) -> str:
    decision = answer.decision if answer is not None else None
    if decision is None:
        return ""
    held = f"{_HELD[decision.reason]}, {rounded(decision.planned)} req/s at {rounded(decision.capacity)} a replica"
    return f" for {held}" + (f", and {rounded(decision.backlog)} req/s of a backlog" if decision.backlog else "")


def _told(view: View, reason: str) -> str:
    return next(answer.message for answer in _answers(view) if answer.reason == reason)
