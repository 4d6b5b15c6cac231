"""What is made of a pod's status."""

import json
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.cluster.nodes import requested
from mooring_operator.cluster.pods import pod_of
from mooring_operator.facts import Failure, Manifest

CONTRACT = json.dumps({"reason": "DigestMismatch", "message": "the file has another digest"})


def pod(*containers: Manifest, init: Manifest | None = None, ready: bool = False, **condition: str) -> Manifest:
    scheduled = {"type": "PodScheduled", "status": "True", **condition}
    return {
        "metadata": {"name": "pod-1", "annotations": {names.ANNOTATION_TEMPLATE_HASH: "abc"}},
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}, scheduled],
            "initContainerStatuses": [init] if init else [],
            "containerStatuses": list(containers),
        },
    }


def container(name: str = "server", *, restarts: int = 0, last: Manifest | None = None, **state: Any) -> Manifest:
    return {"name": name, "restartCount": restarts, "state": state, "lastState": {"terminated": last} if last else {}}


def ended(message: str = "", code: int = 1, reason: str = "Error") -> Manifest:
    return {"exitCode": code, "reason": reason, "message": message}


def failure(manifest: Manifest, permanent: bool = False) -> Failure:
    found = pod_of(manifest, permanent).failure
    assert found is not None
    return found


def test_a_ready_pod() -> None:
    found = pod_of(pod(container(running={}), ready=True))
    assert (found.name, found.template_hash, found.ready, found.scheduled) == ("pod-1", "abc", True, True)
    assert found.failure is None
    assert found.unschedulable == ""


def test_a_pod_without_a_place_says_why() -> None:
    message = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu"
    found = pod_of(pod(status="False", reason="Unschedulable", message=message))
    assert (found.scheduled, found.unschedulable) == (False, message)


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_waiting_for_its_turn_is_no_failure(reason: str) -> None:
    assert pod_of(pod(container(waiting={"reason": reason}))).failure is None


def test_loading_is_no_failure() -> None:
    assert pod_of(pod(container(running={"startedAt": "now"}))).failure is None


@pytest.mark.parametrize(
    ("reason", "permanent"),
    [
        ("ErrImagePull", False),
        ("ImagePullBackOff", True),
        ("InvalidImageName", True),
        ("CreateContainerConfigError", False),
    ],
)
def test_what_kubelet_says(reason: str, permanent: bool) -> None:
    found = failure(pod(container(waiting={"reason": reason, "message": "said by kubelet"})))
    assert found == Failure(reason, "said by kubelet", "server", permanent)


def test_the_last_word_of_a_container_is_told() -> None:
    crashed = container(restarts=3, last=ended(CONTRACT), waiting={"reason": "CrashLoopBackOff", "message": "back-off"})
    assert failure(pod(crashed)) == Failure("DigestMismatch", "the file has another digest", "server", True)


def test_a_container_that_runs_again_is_not_well_yet() -> None:
    again = container(restarts=1, last=ended(CONTRACT), running={})
    assert failure(pod(again)) == Failure("DigestMismatch", "the file has another digest", "server", False)
    assert pod_of(pod(again, ready=True)).failure is None


def test_a_container_that_ended_in_peace_is_no_failure() -> None:
    assert pod_of(pod(container(terminated=ended(code=0, reason="Completed")))).failure is None


def test_other_words_are_quoted_and_bounded() -> None:
    found = failure(pod(container(terminated=ended("x" * 5000 + "Segmentation fault", 139))))
    assert found.reason == "Error"
    assert found.message.startswith("ended with exit code 139: ")
    assert found.message.endswith("Segmentation fault")
    assert len(found.message) < 1100


def test_without_words_the_reason_is_kubelets() -> None:
    found = failure(pod(container(restarts=2, terminated=ended(code=137, reason="OOMKilled"))))
    assert found == Failure("OOMKilled", "ended with exit code 137", "server", True)


def test_the_first_container_that_fails_is_named() -> None:
    fetching = container("fetch", restarts=2, terminated=ended(CONTRACT))
    assert failure(pod(container(waiting={"reason": "PodInitializing"}), init=fetching)).container == "fetch"


def test_a_pod_that_was_given_up_fails_for_good() -> None:
    once = pod(container(terminated=ended(CONTRACT)))
    assert not failure(once).permanent
    assert failure(once, permanent=True).permanent


def test_requests_are_counted_as_the_scheduler_does() -> None:
    def asks(count: int, **fields: str) -> Manifest:
        return {"resources": {"requests": {"nvidia.com/gpu": str(count), "cpu": "1"}}, **fields}

    assert requested({"spec": {"containers": [asks(1), asks(2)]}}, "nvidia.com/gpu") == 3
    # An init container runs alone: the larger of the two counts. One that goes on running counts beside the others.
    assert requested({"spec": {"containers": [asks(1)], "initContainers": [asks(4)]}}, "nvidia.com/gpu") == 4
    sidecar = asks(2, restartPolicy="Always")
    assert requested({"spec": {"containers": [asks(1)], "initContainers": [sidecar]}}, "nvidia.com/gpu") == 3
    assert requested({"spec": {"containers": [{}]}}, "nvidia.com/gpu") == 0
