"""Decisions about what cannot happen at once: pure, from what the user wants and what was seen to the next step.

A policy never remembers: everything that it knows stands on the cluster (the live workload and its marks, its earlier
templates, the check Job, the membership record, what replicas report, pods, claims and nodes), so an operator that dies
between two steps goes on where it was.
"""

from ..facts import Observed, Service, Step
from . import rollout, stateful
from .replicas import left, replicas

__all__ = ["hold", "plan", "replicas"]


def plan(service: Service, observed: Observed, wanted: str) -> Step:
    """Return what to do with the workload, where `wanted` is the hash of the pod template that the spec asks for."""
    if service.spec.state is None:
        return left(service, observed, rollout.plan(service, observed, wanted))
    return stateful.plan(service, observed, wanted)


def hold(service: Service, observed: Observed) -> Step:
    """Return what goes on while the spec cannot be acted upon: what has begun for a stateful service's sessions."""
    return Step(hold=True) if service.spec.state is None else stateful.hold(service, observed)
