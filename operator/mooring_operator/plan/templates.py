"""Pod templates and the marks that a rollout leaves beside them: what it was, what is good, what failed and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..api import names
from ..facts import Manifest

_LONGEST: Final = 1024
"""Annotations of an object may hold 256 KiB in all, and a server may write a long last word."""


@dataclass(frozen=True)
class Marks:
    """The marks on a Deployment or StatefulSet; an empty text is one that is not there."""

    good: str = ""
    failed: str = ""
    failed_message: str = ""
    waits_since: str = ""

    def written(self) -> dict[str, str]:
        """Return the annotations."""
        standing = {
            names.ANNOTATION_GOOD_TEMPLATE: self.good,
            names.ANNOTATION_FAILED_TEMPLATE: self.failed,
            names.ANNOTATION_FAILED_MESSAGE: self.failed_message[:_LONGEST],
            names.ANNOTATION_WAITS_SINCE: self.waits_since,
        }
        return {key: value for key, value in standing.items() if value}


def marks_of(workload: Manifest) -> Marks:
    """Return the marks that a Deployment or StatefulSet carries."""
    annotations = workload["metadata"].get("annotations") or {}
    return Marks(
        good=annotations.get(names.ANNOTATION_GOOD_TEMPLATE, ""),
        failed=annotations.get(names.ANNOTATION_FAILED_TEMPLATE, ""),
        failed_message=annotations.get(names.ANNOTATION_FAILED_MESSAGE, ""),
        waits_since=annotations.get(names.ANNOTATION_WAITS_SINCE, ""),
    )


def hash_of(template: Manifest) -> str:
    """Return the digest that a pod template carries; empty when it carries none."""
    value: str = (template.get("metadata", {}).get("annotations") or {}).get(names.ANNOTATION_TEMPLATE_HASH, "")
    return value


def seen(workload: Manifest) -> bool:
    """Tell whether the controller of a workload has seen its present spec."""
    generation = workload["metadata"].get("generation", 1)
    return bool(workload.get("status", {}).get("observedGeneration", 0) >= generation)


def find(templates: Iterable[Manifest], template_hash: str) -> Manifest | None:
    """Return the template of a digest."""
    return next((each for each in templates if template_hash and hash_of(each) == template_hash), None)


def of_revisions(revisions: Iterable[Manifest]) -> list[Manifest]:
    """Return the pod templates that ControllerRevisions keep, which hold them as patches."""
    kept = [revision.get("data", {}).get("spec", {}).get("template", {}) for revision in revisions]
    return [{key: value for key, value in template.items() if key != "$patch"} for template in kept]
