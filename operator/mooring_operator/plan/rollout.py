"""How a new pod template reaches a stateless service without taking its last working pod.

Where there is room for one more pod, the Deployment's own rolling update does it: a bad version stays beside the old
one, which goes on. Where there is none (every accelerator in use), a pod must go before the new one can start, so the
new template is tried first by a Job on a CPU, and what still fails after the swap is rolled back.

The marks on the Deployment are the only memory: the template that was last rolled out whole, and the one that failed.
"""

from dataclasses import dataclass
from typing import Final

from ..api import names
from ..facts import Manifest, ObjectKey, Observed, Service, Step
from .capacity import has_spare, usable_nodes
from .replicas import replicas
from .templates import Marks, find, hash_of, marks_of, seen

_GAP: Final = (
    "there is no spare accelerator: each pod is taken down before its successor starts; "
    "with one replica nothing answers until the new pod is ready"
)


@dataclass(frozen=True)
class _Live:
    """The Deployment as it stands."""

    manifest: Manifest
    template_hash: str
    surge: bool
    done: bool
    standing: Marks
    """They are kept by a round that decides nothing about them."""

    @property
    def good(self) -> str:
        return self.standing.good

    def marks(self) -> dict[str, str]:
        return self.standing.written()


def plan(service: Service, observed: Observed, wanted: str) -> Step:
    """Return what to do with the workload, where `wanted` is the hash of the pod template that the spec asks for."""
    count = replicas(service)
    deployment = observed.children.get(ObjectKey("Deployment", service.name))
    if deployment is None:
        return Step(replicas=count)
    live = _read(deployment)
    if live.template_hash == wanted:
        return _settle(service, observed, live, count)
    if live.standing.failed == wanted:
        return _rejected(observed, live, count, live.standing.failed_message)
    room = (
        service.spec.rollout.max_unavailable == 0 or has_spare(service, observed.nodes) or _gives_way(observed, wanted)
    )
    if room or wanted == live.good:
        # What was rolled out whole before needs no check, and going back must not wait for one.
        return Step(replicas=count, surge=room, marks=live.marks())
    if (
        service.spec.accelerator is not None
        and service.spec.accelerator.type
        and not usable_nodes(service, observed.nodes)
    ):
        # No node could ever run it, so the place of an old pod would not help: keep the old pods, let the new one
        # wait beside them (a cluster autoscaler may bring its node), and let the status say so.
        return Step(replicas=count, marks=live.marks())
    return _checked_swap(observed, live, count, wanted)


def _settle(service: Service, observed: Observed, live: _Live, count: int | None) -> Step:
    """The wanted template is on the Deployment: note its success, or roll it back when it took a pod and failed."""
    if live.done:
        return Step(replicas=count, surge=live.surge, marks={names.ANNOTATION_GOOD_TEMPLATE: live.template_hash})
    failure = failure_of(observed, live.template_hash) or _deadline_exceeded(observed, live)
    if failure and not live.surge:
        good = _template_of(observed, live.good)
        if good is not None and live.good != live.template_hash:
            return _put_back(live, count, good, failure)
    waits = any(pod.template_hash == live.template_hash and pod.unschedulable for pod in observed.pods)
    serves = any(pod.ready for pod in observed.pods)
    blocked = waits and live.surge and service.spec.rollout.max_unavailable != 0
    if blocked and not has_spare(service, observed.nodes) and usable_nodes(service, observed.nodes):
        # The spare accelerator was taken between our look and the scheduler's: without a change of strategy the
        # rollout would wait for ever for a place that only its own old pod can give.
        if not serves:
            return Step(replicas=count, surge=False, marks=live.marks())
        return _checked_swap(observed, live, count, live.template_hash)
    if failure:
        what_serves = "What served before goes on" if serves else "Nothing serves"
        message = f"{failure}. {what_serves}. Correct the spec; the rollout goes on from there"
        return Step(
            replicas=count, surge=live.surge, marks=live.marks(), stalled=True, reason="RolloutFailed", message=message
        )
    if not live.surge and live.good not in {"", live.template_hash}:
        return Step(replicas=count, surge=False, marks=live.marks(), reason="SwappingWithGap", message=_GAP)
    return Step(replicas=count, surge=live.surge, marks=live.marks())


def _checked_swap(observed: Observed, live: _Live, count: int | None, wanted: str) -> Step:
    """Try the template by a Job first; swap only what passed it."""
    job = _check_job(observed, wanted)
    outcome = _outcome(job)
    if outcome == "failed":
        failure = failure_of(observed, wanted) or _last_word(job)
        good = _template_of(observed, live.good)
        if live.template_hash == wanted and good is not None:
            # It waits in the Deployment already: left there, it would be checked again and again, and any accelerator
            # that becomes free would go to it.
            return _put_back(live, count, good, failure)
        return _rejected(observed, live, count, failure, marks=_failed(live, wanted, failure))
    if outcome != "passed":
        return Step(
            replicas=count,
            hold=True,
            check=True,
            marks=live.marks(),
            reason="CheckingModel",
            message="there is no spare accelerator, so the new version is tried on a CPU before a working pod is taken",
        )
    return Step(
        replicas=count,
        surge=False,
        check=True,
        marks=live.marks(),
        reason="SwappingWithGap",
        message=_GAP,
    )


def _put_back(live: _Live, count: int | None, good: Manifest, failure: str) -> Step:
    return Step(
        replicas=count,
        surge=live.surge,
        template=good,
        marks=_failed(live, live.template_hash, failure),
        stalled=True,
        reason="RolledBack",
        message=f"{failure}. The last good version is put back",
    )


def _rejected(
    observed: Observed, live: _Live, count: int | None, failure: str, marks: dict[str, str] | None = None
) -> Step:
    # A rejected spec may stand for days: meanwhile the last good version is kept in shape and can be scaled.
    good = _template_of(observed, live.good) if live.good == live.template_hash else None
    return Step(
        replicas=count,
        surge=live.surge,
        hold=good is None,
        template=good,
        marks=live.marks() if marks is None else marks,
        stalled=True,
        reason="VersionRejected",
        message=f"{failure}. The last good version goes on serving. Change the spec, or remove the annotation "
        f"{names.ANNOTATION_FAILED_TEMPLATE} from the Deployment to try the same version again",
    )


def failure_of(observed: Observed, template_hash: str) -> str:
    """Return why pods of this template cannot come up, in words; empty while there is hope."""
    for pod in observed.pods:
        if pod.template_hash == template_hash and pod.failure is not None and pod.failure.permanent:
            return f"{pod.failure.reason}: {pod.failure.message}".rstrip(".")
    return ""


def _deadline_exceeded(observed: Observed, live: _Live) -> str:
    """Return the Deployment's own word that this rollout has failed; empty while it goes on.

    The word on an earlier rollout stands until the controller has something new to say, also when it has seen the new
    template: taken for this one's, it would put back a version that has only begun.
    """
    if not seen(live.manifest):
        return ""
    others = [
        replica_set["metadata"]["name"]
        for replica_set in observed.replica_sets
        if hash_of(replica_set["spec"]["template"]) != live.template_hash
    ]
    for condition in live.manifest.get("status", {}).get("conditions", ()):
        message = condition.get("message", "")
        if condition["type"] == "Progressing" and condition["status"] == "False":
            if any(f'"{name}"' in message for name in others):
                return ""
            return f"{condition.get('reason', 'ProgressDeadlineExceeded')}: {message}".rstrip(".")
    return ""


def _gives_way(observed: Observed, wanted: str) -> bool:
    """Tell whether a pod of an earlier version holds its place and does not answer.

    A rolling update removes such pods first, so that their accelerators are as good as free: taking the pod that
    answers instead would cost the service for a failed attempt.
    """
    return any(pod.template_hash != wanted and pod.scheduled and not pod.ready for pod in observed.pods)


def _failed(live: _Live, template_hash: str, failure: str) -> dict[str, str]:
    return Marks(live.good, template_hash, failure).written()


def _template_of(observed: Observed, template_hash: str) -> Manifest | None:
    return find((replica_set["spec"]["template"] for replica_set in observed.replica_sets), template_hash)


def _check_job(observed: Observed, template_hash: str) -> Manifest | None:
    for key, manifest in observed.children.items():
        annotations = manifest["metadata"].get("annotations", {})
        if key.kind == "Job" and annotations.get(names.ANNOTATION_TEMPLATE_HASH) == template_hash:
            return manifest
    return None


def _last_word(job: Manifest | None) -> str:
    for condition in (job or {}).get("status", {}).get("conditions", ()):
        if condition["type"] == "Failed":
            word = f"{condition.get('reason', 'Failed')}: {condition.get('message', 'no message')}".rstrip(".")
            return f"the check of the new version failed: {word}"
    return "the check of the new version failed"


def _outcome(job: Manifest | None) -> str:
    for condition in (job or {}).get("status", {}).get("conditions", ()):
        if condition["status"] == "True" and condition["type"] in {"Complete", "Failed"}:
            return "passed" if condition["type"] == "Complete" else "failed"
    return "running"


def _read(deployment: Manifest) -> _Live:
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate", {})
    return _Live(
        manifest=deployment,
        template_hash=hash_of(deployment["spec"]["template"]),
        surge=rolling.get("maxSurge", 1) not in {0, "0%"},
        done=rolled_out(deployment),
        standing=marks_of(deployment),
    )


def rolled_out(deployment: Manifest) -> bool:
    """Tell whether every pod of the Deployment is of its present template and at least one is available."""
    status = deployment.get("status", {})
    whole = status.get("updatedReplicas", 0) == status.get("replicas", 0)
    return bool(seen(deployment) and whole and status.get("availableReplicas", 0) >= 1)
