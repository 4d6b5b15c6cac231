"""Decisions about what cannot happen at once: pure, from what the user wants and what was seen to the next step.

A policy never remembers: everything that it knows stands on the cluster (the live Deployment and its marks, its
ReplicaSets, the check Job, pods and nodes), so an operator that dies between two steps goes on where it was.
"""

from .replicas import replicas
from .rollout import plan

__all__ = ["plan", "replicas"]
