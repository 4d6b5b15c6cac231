"""What the user reads, told by what stands on the cluster."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mooring_operator import status
from mooring_operator.api import names
from mooring_operator.api.v1alpha1 import parse
from mooring_operator.facts import Failure, Manifest, ObjectKey, Observed, Pod, Problem, Service, Step
from mooring_operator.status import Rendered, Transition, Verdicts, status_of

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
OLD, NEW = "0ld000000000", "new000000000"
RENDERED = Rendered(NEW, {"b": "2", "a": "1"}, "http://svc.team.svc:80")
STEADY, NO_PROBLEMS = Step(), Verdicts()
READY = Pod("svc-1", NEW, ready=True, scheduled=True)


def service(generation: int = 1, **spec: Any) -> Service:
    parsed = parse({"metadata": {"name": "svc"}, "spec": {"model": {"uri": "pvc://models/m.onnx"}, **spec}})
    return Service("team", "svc", "uid-1", generation, parsed.spec)


def deployment(template_hash: str = NEW, wanted: int = 1, **counts: Any) -> Manifest:
    healthy = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted}
    return {
        "kind": "Deployment",
        "metadata": {"name": "svc", "generation": 2},
        "spec": {
            "replicas": wanted,
            "template": {"metadata": {"annotations": {names.ANNOTATION_TEMPLATE_HASH: template_hash}}},
        },
        "status": {"observedGeneration": 2, **healthy, **counts},
    }


def seen(*children: Manifest, pods: tuple[Pod, ...] = (READY,), before: dict[str, Any] | None = None) -> Observed:
    by_key = {ObjectKey(child["kind"], child["metadata"]["name"]): child for child in children}
    return Observed(now=NOW, status=before or {}, children=by_key, pods=pods)


def conditions(
    observed: Observed, step: Step = STEADY, verdicts: Verdicts = NO_PROBLEMS, wanted: Service | None = None
) -> dict[str, tuple[str, str, str]]:
    written = status_of(wanted or service(), observed, step, RENDERED, verdicts)
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in written["conditions"]}


def test_a_model_that_answers_is_ready() -> None:
    written = status_of(service(), seen(deployment()), Step(), RENDERED, NO_PROBLEMS)
    assert {c["type"]: c["status"] for c in written["conditions"]} == {
        "Ready": "True",
        "WorkloadReady": "True",
        "ModelReady": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }
    assert (written["replicas"], written["readyReplicas"], written["selector"]) == (1, 1, "a=1,b=2")
    assert (written["url"], written["modelRevision"], written["observedGeneration"]) == (RENDERED.url, NEW, 1)


def test_before_anything_exists() -> None:
    found = conditions(seen(pods=()))
    assert found["Ready"][:2] == ("False", "NoPod")
    assert found["WorkloadReady"][:2] == ("False", "NoWorkload")
    assert found["Reconciling"][0] == "True"


def test_the_last_word_of_a_container_is_told_with_its_pod() -> None:
    pod = Pod("svc-1", NEW, False, True, failure=Failure("DigestMismatch", "expected 9f, found 00", "fetch", False))
    found = conditions(seen(deployment(readyReplicas=0, availableReplicas=0), pods=(pod,)))
    assert found["Ready"] == ("False", "DigestMismatch", "pod svc-1, container fetch: expected 9f, found 00")


def test_an_old_version_that_serves_is_a_working_workload_and_no_ready_service() -> None:
    old = Pod("svc-0", OLD, ready=True, scheduled=True)
    new = Pod("svc-1", NEW, ready=False, scheduled=True)
    found = conditions(seen(deployment(replicas=2, updatedReplicas=1), pods=(old, new)))
    assert (found["WorkloadReady"][0], found["ModelReady"][:2]) == ("True", ("False", "Loading"))
    assert found["Ready"][:2] == ("False", "Loading")


def test_ready_waits_until_the_old_version_is_gone() -> None:
    found = conditions(seen(deployment(replicas=2, updatedReplicas=1)))
    assert (found["Ready"][:2], found["Reconciling"][:2]) == (("False", "RollingOut"), ("True", "RollingOut"))


def test_scaling_up_never_turns_ready_off() -> None:
    growing = deployment(wanted=8, replicas=8, updatedReplicas=8, readyReplicas=1, availableReplicas=1)
    found = conditions(seen(growing))
    assert found["Ready"][0] == "True"
    assert found["WorkloadReady"][2] == "1 of 8 replicas answer"


def test_a_generation_that_its_controller_has_not_seen_yet_is_no_rollout() -> None:
    written = deployment(
        wanted=8, replicas=1, updatedReplicas=1, readyReplicas=1, availableReplicas=1, observedGeneration=1
    )
    found = conditions(seen(written))
    assert found["Ready"][:2] == ("False", "RollingOut"), "without the mark nothing proves that it is the same version"
    written["metadata"]["annotations"] = {names.ANNOTATION_GOOD_TEMPLATE: NEW}
    found = conditions(seen(written))
    assert (found["Ready"][0], found["Reconciling"][0]) == ("True", "False")


def test_a_pod_without_a_node_says_what_was_asked_and_what_to_do() -> None:
    pod = Pod("svc-1", NEW, False, False, unschedulable="0/2 nodes are available: 2 Insufficient nvidia.com/gpu")
    wanted = service(accelerator={"type": "nvidia.com/gpu", "count": 2, "product": "NVIDIA-L40S", "minMemory": "40Gi"})
    found = conditions(seen(deployment(readyReplicas=0, availableReplicas=0), pods=(pod,)), wanted=wanted)
    assert found["ModelReady"][1] == "Unschedulable"
    assert found["ModelReady"][2].startswith(
        "no node has 2 x nvidia.com/gpu (product NVIDIA-L40S, at least 40Gi of memory)"
    )
    assert "Change spec.accelerator" in found["ModelReady"][2]


def test_what_the_replica_set_may_not_create_is_told() -> None:
    refused = [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}]
    live = deployment(replicas=0, readyReplicas=0, availableReplicas=0, updatedReplicas=0, conditions=refused)
    assert conditions(seen(live, pods=()))["Ready"] == ("False", "FailedCreate", "exceeded quota")


def test_problems_of_the_spec_stall_and_name_every_field() -> None:
    problems = (Problem("spec.batching", "remove it", "NotBuiltYet"), Problem("spec.model.uri", "write oci://"))
    found = conditions(seen(deployment()), verdicts=Verdicts(problems))
    assert found["Stalled"] == ("True", "NotBuiltYet", "spec.batching: remove it; spec.model.uri: write oci://")
    assert (found["Ready"][0], found["WorkloadReady"][0], found["Reconciling"][0]) == ("False", "True", "False")


def test_a_rejected_version_stalls_though_the_old_one_answers() -> None:
    step = Step(hold=True, stalled=True, reason="VersionRejected", message="ModelInvalid")
    found = conditions(seen(deployment(OLD), pods=(Pod("svc-0", OLD, True, True),)), step)
    assert found["Stalled"] == ("True", "VersionRejected", "ModelInvalid")
    assert (found["Ready"][0], found["WorkloadReady"][0]) == ("False", "True")


def test_suspended_is_a_condition_of_its_own() -> None:
    assert conditions(seen(deployment()), wanted=service(suspend=True))["Suspended"][0] == "True"


def scaled(**targets: Any) -> Service:
    return service(scaling={"maxReplicas": 4, **targets})


def test_autoscaling_is_told_beside_ready() -> None:
    blind = {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "svc"},
        "status": {
            "conditions": [
                {
                    "type": "ScalingActive",
                    "status": "False",
                    "reason": "FailedGetResourceMetric",
                    "message": "no metrics",
                }
            ]
        },
    }
    found = conditions(seen(deployment(), blind), wanted=scaled(cpu={"target": 70}))
    assert found["AutoscalingReady"] == ("False", "FailedGetResourceMetric", "no metrics")
    assert found["Ready"][0] == "True"


def test_autoscaling_of_a_rule_that_is_not_built() -> None:
    verdicts = Verdicts(autoscaling=(Problem("spec.scaling.queue", "remove it", "NotBuiltYet"),))
    found = conditions(seen(deployment()), verdicts=verdicts, wanted=scaled(queue={"target": 4}))
    assert found["AutoscalingReady"][:2] == ("False", "NotBuiltYet")
    assert found["Ready"][0] == "True"


def test_a_transition_time_changes_only_with_the_status() -> None:
    first = status_of(service(), seen(deployment()), Step(), RENDERED, NO_PROBLEMS)
    later = seen(deployment(wanted=2, readyReplicas=1), before=first)
    second = status_of(
        service(2),
        Observed(NOW + timedelta(hours=1), first, later.children, pods=later.pods),
        Step(),
        RENDERED,
        NO_PROBLEMS,
    )
    assert [c["lastTransitionTime"] for c in second["conditions"]] == [
        c["lastTransitionTime"] for c in first["conditions"]
    ]
    assert {c["observedGeneration"] for c in second["conditions"]} == {2}


@given(ready=st.booleans(), stalled=st.booleans(), old=st.booleans())
def test_writing_the_same_facts_again_changes_nothing(ready: bool, stalled: bool, old: bool) -> None:
    pods = (Pod("p", OLD if old else NEW, ready, True),)
    step = Step(stalled=stalled, reason="RolloutFailed" if stalled else "", message="x" if stalled else "")
    first = status_of(service(), seen(deployment(), pods=pods), step, RENDERED, NO_PROBLEMS)
    again = status_of(service(), seen(deployment(), pods=pods, before=first), step, RENDERED, NO_PROBLEMS)
    assert again == first
    assert status.transitions(first, again) == []


def test_an_unreadable_spec_keeps_what_is_known() -> None:
    good = status_of(service(), seen(deployment()), Step(), RENDERED, NO_PROBLEMS)
    bad = status.invalid(good, 7, [Problem("spec.replicas", "found 0: write 1 or more")], NOW)
    by_type = {c["type"]: c for c in bad["conditions"]}
    assert (by_type["WorkloadReady"]["status"], by_type["Ready"]["status"]) == ("True", "False")
    assert by_type["Stalled"]["message"] == "spec.replicas: found 0: write 1 or more"
    assert {c["observedGeneration"] for c in bad["conditions"]} == {7}
    assert bad["url"] == RENDERED.url


def test_events_tell_the_worst_first() -> None:
    good = status_of(service(), seen(deployment()), Step(), RENDERED, NO_PROBLEMS)
    pod = Pod("svc-1", NEW, False, True, failure=Failure("ModelInvalid", "no ONNX", "server", True))
    step = Step(stalled=True, reason="RolloutFailed", message="ModelInvalid: no ONNX")
    bad = status_of(service(), seen(deployment(), pods=(pod,), before=good), step, RENDERED, NO_PROBLEMS)
    told = status.transitions(good, bad)
    assert told[0].type == "Warning"
    assert Transition("Warning", "RolloutFailed", "ModelInvalid: no ONNX") in told
    assert [t.reason for t in status.transitions(bad, good)] == ["Serving"]
