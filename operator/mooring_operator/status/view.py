"""What the conditions read, and how one is told: a verdict, and what becomes of it in the status."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from ..api import names
from ..facts import Manifest, ObjectKey, Observed, Problem, Service, Step
from ..scaling.look import Look


class Verdict(NamedTuple):
    """One condition without its times."""

    status: str
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
    """What stops the service, and what concerns its autoscaler alone."""

    problems: tuple[Problem, ...] = ()
    autoscaling: tuple[Problem, ...] = ()
    look: Look | None = None
    """What Prometheus told of the service, when it was last worth telling."""


@dataclass(frozen=True)
class View:
    """Everything that the conditions read."""

    service: Service
    observed: Observed
    step: Step
    rendered: Rendered
    verdicts: Verdicts

    @property
    def kind(self) -> str:
        """Of the workload."""
        return "Deployment" if self.service.spec.state is None else "StatefulSet"

    @property
    def workload(self) -> Manifest | None:
        """What runs the replicas, as it stands."""
        return self.observed.children.get(ObjectKey(self.kind, self.service.name))

    @property
    def counts(self) -> Mapping[str, Any]:
        """The status of the workload; empty before there is one."""
        counts: Mapping[str, Any] = (self.workload or {}).get("status", {})
        return counts

    @property
    def stands(self) -> bool:
        """The workload carries the wanted template, and its controller has seen it."""
        workload = self.workload
        return (
            workload is not None
            and template_hash_of(workload) == self.rendered.template_hash
            and self.counts.get("observedGeneration", 0) >= workload["metadata"].get("generation", 1)
        )


def template_hash_of(workload: Manifest) -> str:
    """Return the hash that the pod template of a workload carries; empty when it carries none."""
    annotations = workload["spec"]["template"].get("metadata", {}).get("annotations", {})
    value: str = annotations.get(names.ANNOTATION_TEMPLATE_HASH, "")
    return value


def first(problems: Iterable[Problem]) -> Verdict:
    """Return the verdict that tells all of them."""
    found = list(problems)
    return Verdict("True", found[0].reason, "; ".join(f"{problem.field}: {problem.message}" for problem in found))


def dated(
    verdicts: Mapping[str, Verdict], status: Mapping[str, Any], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Return conditions with their times: that of one whose status did not change is kept."""
    before = {condition["type"]: condition for condition in status.get("conditions", ())}
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    found = []
    for kind, verdict in sorted(verdicts.items()):
        was = before.get(kind)
        kept = was["lastTransitionTime"] if was and was["status"] == verdict.status else stamp
        found.append(
            {
                "type": kind,
                "status": verdict.status,
                "reason": verdict.reason,
                "message": verdict.message[:32768],
                "observedGeneration": generation,
                "lastTransitionTime": kept,
            }
        )
    return found
