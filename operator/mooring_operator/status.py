"""What the user reads: pure, from what was seen and decided to the status of the service.

Conditions, not phases. `Ready` says that the present spec serves; what served before goes on and `WorkloadReady` says
so. Each condition is made by one function that returns (status, reason, message).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from .api import names
from .facts import Manifest, ObjectKey, Observed, Problem, Service, Step

_TOLD: Final = {
    ("Stalled", "True"): "Warning",
    ("ModelReady", "False"): "Warning",
    ("AutoscalingReady", "False"): "Warning",
    ("Ready", "True"): "Normal",
    ("Reconciling", "True"): "Normal",
}
"""Which conditions become Events when they change to this status, and of which type."""
_ON_THE_WAY: Final = frozenset({"Loading", "NoPod", "NoAutoscaler"})
"""Reasons that every healthy start passes through: nobody needs to act on them."""


class Verdict(NamedTuple):
    """One condition without its times."""

    status: str
    reason: str
    message: str


class Transition(NamedTuple):
    """A change of a condition that a person wants to hear of: it becomes an Event."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Rendered:
    """What `desired/` says of the service, handed over because the two floors do not know each other."""

    template_hash: str
    selector: Mapping[str, str]
    url: str


@dataclass(frozen=True)
class Verdicts:
    """What validation found: what stops the service, and what only its autoscaler lacks."""

    problems: tuple[Problem, ...] = ()
    autoscaling: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _View:
    """Everything that the conditions read."""

    service: Service
    observed: Observed
    step: Step
    rendered: Rendered
    verdicts: Verdicts

    @property
    def deployment(self) -> Manifest | None:
        return self.observed.children.get(ObjectKey("Deployment", self.service.name))

    @property
    def counts(self) -> Mapping[str, Any]:
        counts: Mapping[str, Any] = (self.deployment or {}).get("status", {})
        return counts

    @property
    def stands(self) -> bool:
        """The Deployment carries the wanted template, and its controller has seen it."""
        deployment = self.deployment
        return (
            deployment is not None
            and template_hash_of(deployment) == self.rendered.template_hash
            and self.counts.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
        )


def status_of(
    service: Service, observed: Observed, step: Step, rendered: Rendered, verdicts: Verdicts
) -> dict[str, Any]:
    """Return the whole status to write, with the times of conditions that did not change kept."""
    view = _View(service, observed, step, rendered, verdicts)
    workload, model, stalled = _workload(view), _model(view), _stalled(view)
    conditions = {
        "Ready": _ready(view, workload, model, stalled),
        "WorkloadReady": workload,
        "ModelReady": model,
        "Reconciling": _reconciling(view, stalled),
        "Stalled": stalled,
    }
    if service.spec.scaling is not None and service.spec.scaling.max_replicas is not None:
        conditions["AutoscalingReady"] = _autoscaling(view)
    if service.spec.suspend:
        message = "the operator leaves the service as it stands; its pods go on. Set spec.suspend: false to go on"
        conditions["Suspended"] = Verdict("True", "Suspended", message)
    return {
        "observedGeneration": service.generation,
        "replicas": view.counts.get("replicas", 0),
        "readyReplicas": view.counts.get("readyReplicas", 0),
        "selector": ",".join(f"{key}={value}" for key, value in sorted(rendered.selector.items())),
        "url": rendered.url,
        "modelRevision": _serving_revision(view),
        "conditions": _dated(conditions, observed.status, service.generation, observed.now),
    }


def invalid(status: Mapping[str, Any], generation: int, problems: Iterable[Problem], now: datetime) -> dict[str, Any]:
    """Return the status of an object whose spec cannot even be read: what served goes on, and nothing else is known."""
    standing = {condition["type"]: condition for condition in status.get("conditions", ())}
    verdicts = {
        kind: Verdict(condition["status"], condition["reason"], condition["message"])
        for kind, condition in standing.items()
        if kind in {"WorkloadReady", "ModelReady", "AutoscalingReady", "Suspended"}
    }
    stalled = _first(problems)
    verdicts |= {
        "Ready": Verdict("False", stalled.reason, stalled.message),
        "Reconciling": Verdict("False", "Stalled", "nothing is being changed"),
        "Stalled": stalled,
    }
    return {**status, "observedGeneration": generation, "conditions": _dated(verdicts, status, generation, now)}


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


def template_hash_of(workload: Manifest) -> str:
    """Return the hash that the pod template of a workload carries; empty when it carries none."""
    annotations = workload["spec"]["template"].get("metadata", {}).get("annotations", {})
    value: str = annotations.get(names.ANNOTATION_TEMPLATE_HASH, "")
    return value


def _ready(view: _View, workload: Verdict, model: Verdict, stalled: Verdict) -> Verdict:
    if stalled.status == "True":
        return Verdict("False", stalled.reason, stalled.message)
    if model.status != "True":
        return Verdict("False", model.reason, model.message)
    if workload.status != "True":
        return Verdict("False", workload.reason, workload.message)
    if _rolling(view):
        return Verdict("False", "RollingOut", _progress(view))
    return Verdict("True", "Serving", f"the model answers at {view.rendered.url}")


def _workload(view: _View) -> Verdict:
    """At least one replica answers, of whatever version; scaling up never turns it off."""
    if view.deployment is None:
        return Verdict("False", "NoWorkload", "the Deployment does not exist yet")
    ready, wanted = view.counts.get("readyReplicas", 0), view.deployment["spec"].get("replicas", 1)
    message = f"{ready} of {wanted} replicas answer"
    if ready:
        return Verdict("True", "Answering", message)
    for condition in view.counts.get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Verdict("False", condition.get("reason", "ReplicaFailure"), condition.get("message", message))
    return Verdict("False", "NoReplicaAnswers", message)


def _model(view: _View) -> Verdict:
    """The model of the present spec is loaded somewhere."""
    own = [pod for pod in view.observed.pods if pod.template_hash == view.rendered.template_hash]
    if any(pod.ready for pod in own):
        return Verdict("True", "Loaded", "the model is loaded and answers its probe")
    for pod in own:
        if pod.failure is not None:
            return Verdict(
                "False", pod.failure.reason, f"pod {pod.name}, container {pod.failure.container}: {pod.failure.message}"
            )
    for pod in own:
        if pod.unschedulable:
            return Verdict("False", "Unschedulable", _unschedulable(view, pod.unschedulable))
    for condition in view.counts.get("conditions", ()):
        if view.stands and condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Verdict("False", condition.get("reason", "ReplicaFailure"), condition.get("message", ""))
    if not own:
        return Verdict("False", "NoPod", "no pod of this version exists yet")
    return Verdict("False", "Loading", f"pod {own[0].name} is getting or loading the model")


def _unschedulable(view: _View, found: str) -> str:
    accelerator = view.service.spec.accelerator
    found = found.rstrip(". ")
    if accelerator is None:
        return f"no node takes the pod: {found}. Lower spec.resources or add a node"
    asked = accelerator.type or f"device class {accelerator.device_class}"
    wishes = [
        text
        for text in (
            f"product {accelerator.product}" if accelerator.product else "",
            f"at least {accelerator.min_memory} of memory" if accelerator.min_memory else "",
        )
        if text
    ]
    wish = f" ({', '.join(wishes)})" if wishes else ""
    remedy = "Change spec.accelerator, add a node or free one"
    return f"no node has {accelerator.count} x {asked}{wish} free: {found}. {remedy}"


def _reconciling(view: _View, stalled: Verdict) -> Verdict:
    if stalled.status == "True":
        return Verdict("False", "Stalled", "nothing is being changed")
    if view.service.spec.suspend:
        return Verdict("False", "Suspended", "nothing is being changed")
    if view.step.reason:
        return Verdict("True", view.step.reason, view.step.message)
    if _rolling(view):
        return Verdict("True", "RollingOut", _progress(view))
    return Verdict("False", "UpToDate", "every child is as the spec asks")


def _stalled(view: _View) -> Verdict:
    if view.verdicts.problems:
        return _first(view.verdicts.problems)
    if view.step.stalled:
        return Verdict("True", view.step.reason, view.step.message)
    return Verdict("False", "NotStalled", "nothing stands in the way")


def _first(problems: Iterable[Problem]) -> Verdict:
    found = list(problems)
    return Verdict("True", found[0].reason, "; ".join(f"{problem.field}: {problem.message}" for problem in found))


def _autoscaling(view: _View) -> Verdict:
    if view.verdicts.autoscaling:
        found = _first(view.verdicts.autoscaling)
        return Verdict("False", found.reason, found.message)
    autoscaler = view.observed.children.get(ObjectKey("HorizontalPodAutoscaler", view.service.name))
    if autoscaler is None:
        return Verdict("False", "NoAutoscaler", "the HorizontalPodAutoscaler does not exist yet")
    for condition in autoscaler.get("status", {}).get("conditions", ()):
        if condition["type"] == "ScalingActive":
            active = condition["status"] == "True"
            return Verdict(
                "True" if active else "False", condition.get("reason", "Unknown"), condition.get("message", "")
            )
    return Verdict("Unknown", "NoMetricYet", "the HorizontalPodAutoscaler has not read its metric yet")


def _rolling(view: _View) -> bool:
    """The present template has not replaced every older pod. Scaling is no rollout."""
    deployment = view.deployment
    if deployment is None or template_hash_of(deployment) != view.rendered.template_hash:
        return True
    annotations = deployment["metadata"].get("annotations") or {}
    if annotations.get(names.ANNOTATION_GOOD_TEMPLATE) == view.rendered.template_hash:
        # It was rolled out whole before. An autoscaler's write raises the generation, and for a moment the counts are
        # older than it: taken for a rollout, each step of scaling would turn Ready off and on.
        return False
    updated, total = view.counts.get("updatedReplicas", 0), view.counts.get("replicas", 0)
    return not view.stands or updated < total or not view.counts.get("availableReplicas", 0)


def _progress(view: _View) -> str:
    updated, total = view.counts.get("updatedReplicas", 0), view.counts.get("replicas", 0)
    if not total:
        return f"the first replicas of version {view.rendered.template_hash} are being made"
    if not view.stands:
        updated = 0
    return f"{updated} of {total} replicas are of version {view.rendered.template_hash}"


def _serving_revision(view: _View) -> str:
    ready = [pod.template_hash for pod in view.observed.pods if pod.ready]
    if not ready or view.rendered.template_hash in ready:
        return view.rendered.template_hash if ready else ""
    return min(ready)


def _dated(
    verdicts: Mapping[str, Verdict], status: Mapping[str, Any], generation: int, now: datetime
) -> list[dict[str, Any]]:
    before = {condition["type"]: condition for condition in status.get("conditions", ())}
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    dated = []
    for kind, verdict in sorted(verdicts.items()):
        was = before.get(kind)
        kept = was["lastTransitionTime"] if was and was["status"] == verdict.status else stamp
        dated.append(
            {
                "type": kind,
                "status": verdict.status,
                "reason": verdict.reason,
                "message": verdict.message[:32768],
                "observedGeneration": generation,
                "lastTransitionTime": kept,
            }
        )
    return dated
