"""How many replicas the operator writes, and when it keeps its hands off."""

from dataclasses import replace

from ..api import names
from ..facts import ObjectKey, Observed, Service, Step


def replicas(service: Service) -> int | None:
    """Return the replicas to write, or None where an autoscaler owns the number.

    It owns it also while it cannot read its metrics: it then keeps what stands, and still holds the bounds.
    """
    scaling = service.spec.scaling
    return service.spec.replicas if scaling is None or scaling.max_replicas is None else None


def left(service: Service, observed: Observed, step: Step) -> Step:
    """Return the step of a stateless service with the replicas that its autoscaler left, where that was taken away.

    `spec.replicas` is what somebody wrote before there was an autoscaler, or the default of 1: to go back to it would
    take most replicas of a service away under full load. So what stands is kept until somebody writes another number.
    """
    deployment = observed.children.get(ObjectKey("Deployment", service.name))
    if deployment is None:
        return step
    mark: str = (deployment["metadata"].get("annotations") or {}).get(names.ANNOTATION_REPLICAS, "")
    written, _, kept = mark.partition(" ")
    if step.replicas is None:
        return _marked(step, str(service.spec.replicas))
    if written != str(service.spec.replicas):
        return step
    # Of the mark, once it is there: after a round that was cut off the Deployment may have any number.
    count = int(kept) if kept.isdecimal() else deployment["spec"].get("replicas", step.replicas)
    return replace(_marked(step, f"{written} {count}"), replicas=count)


def _marked(step: Step, mark: str) -> Step:
    return replace(step, marks={**step.marks, names.ANNOTATION_REPLICAS: mark})
