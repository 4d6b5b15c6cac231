"""What the runtime leaves in its termination message, the operator reads out of the pod's status."""

import re

import pytest

from mooring_operator.api import names
from mooring_operator.cluster.pods import pod_of
from mooring_runtime.errors import FatalError
from mooring_runtime.errors.termination import LIMIT, termination_message

# As the API server demands of a condition's reason.
REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")


def every(cls: type[FatalError]) -> list[type[FatalError]]:
    return [found for child in cls.__subclasses__() for found in (child, *every(child))]


def ended(container: str, message: str) -> dict[str, object]:
    """The pod as kubelet reports it after the container's end."""
    terminated = {"exitCode": 1, "reason": "Error", "message": message}
    status = {"name": container, "restartCount": 0, "state": {"terminated": terminated}}
    where = "initContainerStatuses" if container == names.CONTAINER_FETCH else "containerStatuses"
    return {"metadata": {"name": "a-1"}, "spec": {"nodeName": "node0"}, "status": {where: [status]}}


@pytest.mark.parametrize("container", [names.CONTAINER_SERVER, names.CONTAINER_FETCH, names.COMPONENT_CHECK])
@pytest.mark.parametrize("error", every(FatalError), ids=lambda error: error.__name__)
def test_reason_and_message_arrive(error: type[FatalError], container: str) -> None:
    failure = pod_of(ended(container, termination_message(error("what was found; what to do")))).failure
    assert failure is not None
    assert (failure.reason, failure.message) == (error.reason, "what was found; what to do")
    assert failure.container == container
    assert REASON.fullmatch(failure.reason)


def test_reasons_tell_the_errors_apart() -> None:
    reasons = [error.reason for error in every(FatalError)]
    assert len(reasons) == len(set(reasons))


def test_a_long_message_still_arrives() -> None:
    [error, *_] = every(FatalError)
    written = termination_message(error("ö" * LIMIT))
    assert len(written.encode()) <= LIMIT
    failure = pod_of(ended(names.CONTAINER_SERVER, written)).failure
    assert failure is not None
    assert failure.reason == error.reason
