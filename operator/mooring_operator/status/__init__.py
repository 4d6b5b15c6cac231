"""What the user reads: pure, from what was seen and decided to the status of the service.

Conditions, not phases. `Ready` says that the present spec serves; what served before goes on and `WorkloadReady` says
so. Each condition is made by one function that returns (status, reason, message).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from ..facts import Observed, Problem, Service, Step
from . import autoscaling, stateful
from .replicas import is_rolling, model_ready, progress, serving_revision, workload_ready
from .stateful import given_up
from .view import Rendered, Verdict, Verdicts, View, dated, first, template_hash_of

__all__ = [
    "Rendered",
    "Transition",
    "Verdict",
    "Verdicts",
    "given_up",
    "invalid",
    "status_of",
    "template_hash_of",
    "transitions",
]

_TOLD: Final = {
    ("Stalled", "True"): "Warning",
    ("ModelReady", "False"): "Warning",
    ("AutoscalingReady", "False"): "Warning",
    ("RouterReady", "False"): "Warning",
    ("AtRisk", "True"): "Warning",
    ("SessionsStranded", "True"): "Warning",
    ("Ready", "True"): "Normal",
    ("Reconciling", "True"): "Normal",
}
"""Which conditions become Events when they change to this status, and of which type."""
_ON_THE_WAY: Final = frozenset({"Loading", "NoPod", "NoAutoscaler", "SwitchingBackend", "NoRouter", "NoRouterAnswers"})
"""Reasons that every healthy start passes through: nobody needs to act on them."""
_STANDING: Final = frozenset(
    {"WorkloadReady", "ModelReady", "AutoscalingReady", "RouterReady", "AtRisk", "SessionsStranded", "Suspended"}
)
"""Conditions that a spec which cannot be read does not touch."""


class Transition(NamedTuple):
    """A change of a condition that a person wants to hear of: it becomes an Event."""

    type: str
    reason: str
    message: str


def status_of(
    service: Service, observed: Observed, step: Step, rendered: Rendered, verdicts: Verdicts
) -> dict[str, Any]:
    """Return the whole status to write, with the times of conditions that did not change kept."""
    view = View(service, observed, step, rendered, verdicts)
    workload, model, stalled = workload_ready(view), model_ready(view), _stalled(view)
    known = None if service.spec.state is None else stateful.look(view)
    beside = {} if known is None else stateful.conditions(view, known)
    conditions = {
        **beside,
        "Ready": _ready(view, stalled, model, workload, beside.get("RouterReady")),
        "WorkloadReady": workload,
        "ModelReady": model,
        "Reconciling": _reconciling(view, stalled),
        "Stalled": stalled,
    }
    if service.spec.scaling is not None and service.spec.scaling.max_replicas is not None:
        conditions["AutoscalingReady"] = autoscaling.ready(view)
    if service.spec.suspend:
        message = "the operator leaves the service as it stands; its pods go on. Set spec.suspend: false to go on"
        conditions["Suspended"] = Verdict("True", "Suspended", message)
    return {
        "observedGeneration": service.generation,
        "replicas": view.counts.get("replicas", 0),
        "readyReplicas": view.counts.get("readyReplicas", 0),
        "selector": ",".join(f"{key}={value}" for key, value in sorted(rendered.selector.items())),
        "url": rendered.url,
        "modelRevision": serving_revision(view),
        **({} if known is None else stateful.fields(known)),
        **autoscaling.fields(view),
        "conditions": dated(conditions, observed.status, service.generation, observed.now),
    }


def invalid(status: Mapping[str, Any], generation: int, problems: Iterable[Problem], now: datetime) -> dict[str, Any]:
    """Return the status of an object whose spec cannot even be read: what served goes on, and nothing else is known."""
    standing = {condition["type"]: condition for condition in status.get("conditions", ())}
    verdicts = {
        kind: Verdict(condition["status"], condition["reason"], condition["message"])
        for kind, condition in standing.items()
        if kind in _STANDING
    }
    stalled = first(problems)
    verdicts |= {
        "Ready": Verdict("False", stalled.reason, stalled.message),
        "Reconciling": Verdict("False", "Stalled", "nothing is being changed"),
        "Stalled": stalled,
    }
    return {**status, "observedGeneration": generation, "conditions": dated(verdicts, status, generation, now)}


def transitions(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Transition]:
    """Return the changes between two statuses that deserve an Event, the worst first."""
    before = {condition["type"]: condition for condition in old.get("conditions", ())}
    found = []
    for condition in new["conditions"]:
        was = before.get(condition["type"], {"status": "Unknown", "reason": ""})
        if (was["status"], was["reason"]) == (condition["status"], condition["reason"]):
            continue
        told = _TOLD.get((condition["type"], condition["status"]))
        if told is not None and condition["reason"] not in _ON_THE_WAY:
            found.append(Transition(told, condition["reason"], condition["message"]))
    return sorted(set(found), key=lambda transition: (transition.type != "Warning", transition.reason))


def _ready(view: View, stalled: Verdict, *parts: Verdict | None) -> Verdict:
    if stalled.status == "True":
        return Verdict("False", stalled.reason, stalled.message)
    for part in parts:
        if part is not None and part.status != "True":
            return Verdict("False", part.reason, part.message)
    if is_rolling(view):
        return Verdict("False", "RollingOut", progress(view))
    return Verdict("True", "Serving", f"the model answers at {view.rendered.url}")


def _reconciling(view: View, stalled: Verdict) -> Verdict:
    if stalled.status == "True":
        return Verdict("False", "Stalled", "nothing is being changed")
    if view.service.spec.suspend:
        return Verdict("False", "Suspended", "nothing is being changed")
    if view.step.reason:
        return Verdict("True", view.step.reason, view.step.message)
    if is_rolling(view):
        return Verdict("True", "RollingOut", progress(view))
    return Verdict("False", "UpToDate", "every child is as the spec asks")


def _stalled(view: View) -> Verdict:
    if view.verdicts.problems:
        return first(view.verdicts.problems)
    if view.step.stalled:
        return Verdict("True", view.step.reason, view.step.message)
    return Verdict("False", "NotStalled", "nothing stands in the way")
