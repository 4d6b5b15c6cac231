"""What the status says of the replicas and their model: who answers, which version, and what keeps a pod from it."""

from ..api import names
from .view import Verdict, View, template_hash_of


def workload_ready(view: View) -> Verdict:
    """At least one replica answers, of whatever version; scaling up never turns it off."""
    if view.workload is None:
        return Verdict("False", "NoWorkload", f"the {view.kind} does not exist yet")
    ready, wanted = view.counts.get("readyReplicas", 0), view.workload["spec"].get("replicas", 1)
    message = f"{ready} of {wanted} replicas answer"
    if ready:
        return Verdict("True", "Answering", message)
    for condition in view.counts.get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Verdict("False", condition.get("reason", "ReplicaFailure"), condition.get("message", message))
    return Verdict("False", "NoReplicaAnswers", message)


def model_ready(view: View) -> Verdict:
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


def _unschedulable(view: View, found: str) -> str:
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


def is_rolling(view: View) -> bool:
    """The present template has not replaced every older pod. Scaling is no rollout."""
    workload = view.workload
    if workload is None or template_hash_of(workload) != view.rendered.template_hash:
        return True
    annotations = workload["metadata"].get("annotations") or {}
    if annotations.get(names.ANNOTATION_GOOD_TEMPLATE) == view.rendered.template_hash:
        # It was rolled out whole before. An autoscaler's write raises the generation, and for a moment the counts are
        # older than it: taken for a rollout, each step of scaling would turn Ready off and on.
        return False
    updated, total = view.counts.get("updatedReplicas", 0), view.counts.get("replicas", 0)
    return not view.stands or updated < total or not view.counts.get("availableReplicas", 0)


def progress(view: View) -> str:
    """Return how far a rollout is, in words."""
    updated, total = view.counts.get("updatedReplicas", 0), view.counts.get("replicas", 0)
    if not total:
        return f"the first replicas of version {view.rendered.template_hash} are being made"
    if not view.stands:
        updated = 0
    return f"{updated} of {total} replicas are of version {view.rendered.template_hash}"


def serving_revision(view: View) -> str:
    """Return the version that serves: the present one, as soon as a pod of it is ready."""
    ready = [pod.template_hash for pod in view.observed.pods if pod.ready]
    if not ready or view.rendered.template_hash in ready:
        return view.rendered.template_hash if ready else ""
    return min(ready)
