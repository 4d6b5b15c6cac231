"""From a pod's status to one fact: does it answer, and if not, why. Pure."""

import json
from typing import Any

from ..api import names
from ..api.membership import MOST_REPLICAS
from ..facts import Failure, Manifest, Pod

_HOPELESS = frozenset({"CrashLoopBackOff", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
"""Waiting reasons that say: tried more than once, or cannot change."""
_HARMLESS = frozenset({"ContainerCreating", "PodInitializing", ""})


def pod_of(manifest: Manifest, permanent: bool = False) -> Pod:
    """Return the fact of a pod. `permanent`: whoever made the pod has given it up, so that any failure of it stands."""
    meta, status = manifest["metadata"], manifest.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    ready = conditions.get("Ready", {}).get("status") == "True"
    return Pod(
        name=meta["name"],
        template_hash=(meta.get("annotations") or {}).get(names.ANNOTATION_TEMPLATE_HASH, ""),
        ready=ready,
        scheduled=scheduled.get("status") == "True" or "nodeName" in manifest.get("spec", {}),
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else "",
        failure=None if ready else _failure(status, permanent),
        uid=meta.get("uid", ""),
        node=manifest.get("spec", {}).get("nodeName", ""),
        ordinal=ordinal_of(manifest),
    )


def ordinal_of(manifest: Manifest) -> int | None:
    """Return the number of a StatefulSet's pod; None for any other pod, and for a number that none of ours has."""
    index = (manifest["metadata"].get("labels") or {}).get(names.LABEL_ORDINAL, "")
    return int(index) if index.isdecimal() and int(index) < MOST_REPLICAS else None


def is_router(manifest: Manifest) -> bool:
    """Tell whether a pod is one of a stateful service's router: it carries the service's label, and is no replica."""
    labels = manifest["metadata"].get("labels") or {}
    return bool(labels.get(names.LABEL_COMPONENT) == names.COMPONENT_ROUTER)


def lives(manifest: Manifest) -> bool:
    """A pod that is being deleted, or that kubelet has ended for good (evicted), serves no more and is replaced."""
    return "deletionTimestamp" not in manifest["metadata"] and not has_ended(manifest)


def has_ended(manifest: Manifest) -> bool:
    """Tell whether no container of a pod will ever run again."""
    return manifest.get("status", {}).get("phase") in {"Failed", "Succeeded"}


def _failure(status: Manifest, permanent: bool) -> Failure | None:
    """The first container that does not run; kubelet starts them in this order."""
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        found = _container_failure(container, permanent)
        if found is not None:
            return found
    return None


def _container_failure(container: Manifest, permanent: bool) -> Failure | None:
    state, restarts = container.get("state") or {}, container.get("restartCount", 0)
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    failed = bool(ended) and ended.get("exitCode", 0) != 0
    waiting = state.get("waiting")
    if waiting is not None:
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _HARMLESS and not failed:
            return None
        if failed:
            return Failure(*_last_word(ended), container["name"], permanent or reason in _HOPELESS or restarts >= 2)
        return Failure(
            reason, message or "kubelet gives no message", container["name"], permanent or reason in _HOPELESS
        )
    if not failed:
        return None
    # It runs again or is about to; until it is ready, the reason of its last end is the best that is known.
    return Failure(*_last_word(ended), container["name"], permanent or restarts >= 2)


def _last_word(ended: Manifest) -> tuple[str, str]:
    """Return what a container wrote before it ended: reason and message, ours or kubelet's."""
    text = (ended.get("message") or "").strip()
    try:
        said: Any = json.loads(text)
    except ValueError:
        said = None
    if isinstance(said, dict) and said.get("reason"):
        return str(said["reason"]), str(said.get("message") or "no message")
    reason = ended.get("reason") or "Error"
    return reason, f"ended with exit code {ended.get('exitCode')}" + (f": {text[-1024:]}" if text else "")
