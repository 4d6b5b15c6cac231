"""What only the loop can see to be wrong with a stateful service."""

from typing import Any

import pytest

from mooring_operator import validation
from mooring_operator.api import names
from mooring_operator.facts import Manifest, MissingClass, ObjectKey, Problem
from tests.support import builders

STATE = {"volume": {"size": "10Gi"}}


def stateful_set(size: str) -> Manifest:
    claim = {
        "metadata": {"name": names.CLAIM_SESSIONS},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    }
    meta = {"name": builders.NAME, "namespace": builders.NAMESPACE}
    return {"kind": "StatefulSet", "metadata": meta, "spec": {"volumeClaimTemplates": [claim]}}


def check(*children: Manifest, state: dict[str, Any] | None = STATE, **facts: Any) -> list[Problem]:
    service = builders.service(state=state) if state else builders.service()
    return validation.check(service, builders.observed(*children), builders.cluster(**facts))


@pytest.mark.parametrize("standing", ["10Gi", "10240Mi", "5Gi"])
def test_a_volume_may_stay_or_grow(standing: str) -> None:
    assert check(stateful_set(standing)) == []


def test_a_volume_does_not_shrink() -> None:
    assert check(stateful_set("20Gi")) == [
        Problem("spec.state.volume.size", 'found "10Gi": a volume can only grow: it is 20Gi now')
    ]


def test_a_service_keeps_its_nature() -> None:
    # The API server refuses the change; an older definition may have let it in.
    [problem] = check(builders.deployment("abc"))
    assert problem.field == "spec.state"
    assert "made without sessions (it has a Deployment), for life: remove it" in problem.message
    [problem] = check(stateful_set("10Gi"), state=None)
    assert "made with sessions (it has a StatefulSet), for life: write it again" in problem.message


def test_an_installation_without_a_key_says_so() -> None:
    [problem] = check(peer_key=False)
    assert (problem.field, problem.reason) == ("spec.state", "PeerKeyMissing")
    assert check(state=None, peer_key=False) == []


def test_a_storage_class_that_is_not_there_is_named() -> None:
    missing = MissingClass("spec.state.volume.storageClassName", "StorageClass", "fast")
    observed = builders.observed(missing=(missing,))
    [problem] = validation.check(builders.service(state=STATE), observed, builders.cluster())
    assert (problem.field, problem.reason) == ("spec.state.volume.storageClassName", "StorageClassNotFound")


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("Service", "-peers"), ("StatefulSet", ""), ("Deployment", "-router"), ("ConfigMap", "-router")],
)
def test_a_name_that_is_taken_is_told(kind: str, suffix: str) -> None:
    observed = builders.observed(foreign={ObjectKey(kind, f"{builders.NAME}{suffix}"): "Deployment theirs"})
    [problem] = validation.check(builders.service(state=STATE), observed, builders.cluster())
    assert problem.reason == "NameTaken"
    assert f"{kind} '{builders.NAME}{suffix}'" in problem.message
