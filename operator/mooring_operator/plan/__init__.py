"""Decisions about what cannot happen at once: pure, from what the user wants and what was seen to the next step.

A policy never remembers: everything that it knows stands on the cluster (the live workload and its marks, its earlier
templates, the check Job, the membership record, what replicas report, pods, claims and nodes), so an operator that dies
between two steps goes on where it was.
"""

from ..facts import Observed, Service, Step
from . import rollout, stateful
from .replicas import left, replicas

__all__ = ["plan", "replicas"]


def plan(service: Service, observed: Observed, wanted: str) -> Step:
    """Return what to do with the workload, where `wanted` is the hash of the pod template that the spec asks for."""
    if service.spec.state is None:
        return left(service, observed, rollout.plan(service, observed, wanted))
    return stateful.plan(service, observed, wanted)
