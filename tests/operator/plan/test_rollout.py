"""Each story of a rollout, told by what stands on the cluster and what the plan does next."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring_operator.api import names
from mooring_operator.facts import Failure, Manifest, Node, Pod, Service, Step
from mooring_operator.plan import plan
from tests.support.builders import check_job, deployment, node, observed, pod, replica_set
from tests.support.builders import service as any_service

OLD, NEW, OTHER = "0ld000000000", "new000000000", "other0000000"
GPU = "nvidia.com/gpu"


def service(**spec: Any) -> Service:
    """One replica on one GPU; None takes a field away."""
    fields = {"accelerator": {"type": GPU}, **spec}
    return any_service(**{key: value for key, value in fields.items() if value is not None})


def live(template_hash: str, *, done: bool = True, surge: bool = True, good: str = "", failed: str = "") -> Manifest:
    """The Deployment, with its marks; not done means that its only pod is not ready yet."""
    marks = {
        names.ANNOTATION_GOOD_TEMPLATE: good,
        names.ANNOTATION_FAILED_TEMPLATE: failed,
        names.ANNOTATION_FAILED_MESSAGE: "ModelInvalid: no" if failed else "",
    }
    standing = {key: value for key, value in marks.items() if value}
    return deployment(template_hash, updated=int(done), ready=int(done), surge=surge, marks=standing)


def failing(template_hash: str) -> Pod:
    failure = Failure("ModelInvalid", "not an ONNX file", "server", permanent=True)
    return pod(template_hash, ready=False, failure=failure)


def gpus(free: int) -> tuple[Node, ...]:
    """Two nodes with a GPU each, of which so many are free."""
    return tuple(node(f"gpu-{i}", accelerators={GPU: 1}, free={GPU: int(i < free)}) for i in range(2))


FULL, SPARE = gpus(0), gpus(1)
WAITING = pod(NEW, ready=False, scheduled=False, unschedulable="full")


def test_first_apply_needs_no_look_at_the_cluster() -> None:
    assert plan(service(), observed(nodes=FULL), NEW) == Step(replicas=1)


def test_a_change_surges_where_an_accelerator_is_free() -> None:
    step = plan(service(), observed(live(OLD, good=OLD), nodes=SPARE), NEW)
    assert (step.surge, step.hold, step.check) == (True, False, False)
    assert step.marks == {names.ANNOTATION_GOOD_TEMPLATE: OLD}


def test_a_service_without_accelerator_always_surges() -> None:
    assert plan(service(accelerator=None), observed(live(OLD)), NEW).surge


def test_without_room_the_change_is_checked_and_the_old_pod_stays() -> None:
    step = plan(service(), observed(live(OLD), nodes=FULL), NEW)
    assert (step.hold, step.check, step.reason) == (True, True, "CheckingModel")


@pytest.mark.parametrize("outcome", ["", "Suspended"])
def test_an_unfinished_check_is_waited_for(outcome: str) -> None:
    assert plan(service(), observed(live(OLD), check_job(NEW, outcome), nodes=FULL), NEW).hold


def test_a_check_of_another_template_proves_nothing() -> None:
    assert plan(service(), observed(live(OLD), check_job(OTHER, "Complete"), nodes=FULL), NEW).hold


def test_a_passed_check_swaps_and_tells_the_gap() -> None:
    step = plan(service(), observed(live(OLD), check_job(NEW, "Complete"), nodes=FULL), NEW)
    assert (step.hold, step.surge, step.reason) == (False, False, "SwappingWithGap")


def test_a_failed_check_is_marked_and_never_swapped() -> None:
    seen = observed(live(OLD, good=OLD), check_job(NEW, "Failed"), nodes=FULL, pods=(failing(NEW),))
    step = plan(service(), seen, NEW)
    assert (step.hold, step.stalled, step.reason) == (True, True, "VersionRejected")
    assert step.marks[names.ANNOTATION_FAILED_TEMPLATE] == NEW
    assert step.marks[names.ANNOTATION_GOOD_TEMPLATE] == OLD
    assert "ModelInvalid: not an ONNX file" in step.message


def test_a_marked_failure_is_remembered_without_its_check_job() -> None:
    found = live(OLD, good=OLD, failed=NEW)
    step = plan(service(), observed(found, nodes=FULL), NEW)
    assert (step.hold, step.check, step.stalled) == (True, False, True)
    assert "ModelInvalid: no" in step.message


def test_another_template_after_a_failure_is_tried_anew() -> None:
    found = live(OLD, good=OLD, failed=OTHER)
    assert plan(service(), observed(found, nodes=FULL), NEW).check


def test_what_fails_after_the_swap_is_put_back() -> None:
    found = live(NEW, done=False, surge=False, good=OLD)
    seen = observed(found, nodes=FULL, pods=(failing(NEW),), replica_sets=(replica_set(OLD),))
    step = plan(service(), seen, NEW)
    assert (step.template, step.stalled, step.reason) == (replica_set(OLD)["spec"]["template"], True, "RolledBack")
    assert step.marks[names.ANNOTATION_FAILED_TEMPLATE] == NEW


def test_without_a_good_template_there_is_nothing_to_put_back() -> None:
    found = live(NEW, done=False, surge=False, good=OLD)
    step = plan(service(), observed(found, nodes=FULL, pods=(failing(NEW),)), NEW)
    assert (step.template, step.stalled, step.reason) == (None, True, "RolloutFailed")


def test_beside_the_old_pod_a_failure_stalls_and_the_old_one_stays() -> None:
    found = live(NEW, done=False, surge=True, good=OLD)
    seen = observed(found, nodes=SPARE, pods=(failing(NEW),), replica_sets=(replica_set(OLD),))
    step = plan(service(), seen, NEW)
    assert (step.template, step.surge, step.reason) == (None, True, "RolloutFailed")


def late(found: Manifest, replica_set_name: str, seen_generation: int = 1) -> Manifest:
    """The same Deployment with its controller's word that a ReplicaSet has timed out."""
    message = f'ReplicaSet "{replica_set_name}" has timed out progressing.'
    word = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": message}
    return {**found, "status": {**found["status"], "observedGeneration": seen_generation, "conditions": [word]}}


def test_a_deadline_that_passed_puts_back() -> None:
    found = late(live(NEW, done=False, surge=False, good=OLD), replica_set(NEW)["metadata"]["name"])
    seen = observed(found, nodes=FULL, replica_sets=(replica_set(OLD), replica_set(NEW)))
    assert plan(service(), seen, NEW).reason == "RolledBack"


@pytest.mark.parametrize(("about", "seen_generation"), [(NEW, 0), (OTHER, 1)])
def test_the_word_on_an_earlier_rollout_says_nothing_of_this_one(about: str, seen_generation: int) -> None:
    found = live(NEW, done=False, surge=False, good=OLD)
    sets = (replica_set(OLD), replica_set(OTHER), replica_set(NEW))
    stale = late(found, replica_set(about)["metadata"]["name"], seen_generation)
    step = plan(service(), observed(stale, nodes=FULL, replica_sets=sets), NEW)
    assert (step.template, step.stalled) == (None, False)


def test_going_back_to_the_last_good_version_needs_no_check() -> None:
    found = live(NEW, done=False, good=OLD)
    step = plan(service(), observed(found, nodes=FULL, pods=(pod(OLD),)), OLD)
    assert (step.hold, step.check, step.stalled, step.surge) == (False, False, False, False)


def test_a_broken_pod_of_ours_gives_its_place_to_the_correction() -> None:
    found = live(NEW, done=False, good=OLD)
    step = plan(service(), observed(found, nodes=FULL, pods=(pod(OLD), failing(NEW))), OTHER)
    assert (step.surge, step.check) == (True, False)


def test_a_rejected_version_leaves_the_good_one_in_our_care() -> None:
    found = live(OLD, good=OLD, failed=NEW)
    step = plan(service(replicas=5), observed(found, nodes=FULL, replica_sets=(replica_set(OLD),)), NEW)
    assert (step.hold, step.replicas, step.template) == (False, 5, replica_set(OLD)["spec"]["template"])
    assert step.stalled


def test_a_check_that_ends_without_a_pod_tells_its_job_s_own_word() -> None:
    job = check_job(NEW, "Failed")
    job["status"]["conditions"][0] |= {"reason": "DeadlineExceeded", "message": "Job was active longer than specified"}
    step = plan(service(), observed(live(OLD), job, nodes=FULL), NEW)
    assert "DeadlineExceeded: Job was active longer than specified" in step.message


def test_where_nothing_serves_a_lost_place_is_taken_at_once() -> None:
    found = live(NEW, done=False, good=OLD)
    step = plan(service(), observed(found, nodes=FULL, pods=(WAITING,)), NEW)
    assert (step.surge, step.hold) == (False, False)


def test_success_is_marked_and_an_old_failure_forgotten() -> None:
    found = live(NEW, good=OLD, failed=OTHER)
    assert plan(service(), observed(found, nodes=FULL), NEW).marks == {names.ANNOTATION_GOOD_TEMPLATE: NEW}


def test_a_surge_that_lost_its_place_becomes_a_checked_swap() -> None:
    waiting = pod(NEW, ready=False, scheduled=False, unschedulable="Insufficient nvidia.com/gpu")
    serving = pod(OLD)
    found = live(NEW, done=False, surge=True, good=OLD)
    seen = observed(found, nodes=FULL, pods=(waiting, serving))
    assert plan(service(), seen, NEW).check
    checked = observed(found, check_job(NEW, "Complete"), nodes=FULL, pods=(waiting, serving))
    assert plan(service(), checked, NEW).surge is False


def test_a_surge_that_lost_its_place_and_fails_its_check_is_taken_back() -> None:
    waiting = pod(NEW, ready=False, scheduled=False, unschedulable="Insufficient nvidia.com/gpu")
    found = live(NEW, done=False, surge=True, good=OLD)
    pods = (waiting, pod(OLD), failing(NEW))
    seen = observed(found, check_job(NEW, "Failed"), nodes=FULL, pods=pods, replica_sets=(replica_set(OLD),))
    step = plan(service(), seen, NEW)
    assert (step.template, step.surge, step.stalled) == (replica_set(OLD)["spec"]["template"], True, True)
    assert step.marks[names.ANNOTATION_FAILED_TEMPLATE] == NEW


def test_the_gap_is_told_until_the_new_pod_answers() -> None:
    found = live(NEW, done=False, surge=False, good=OLD)
    step = plan(service(), observed(found, nodes=FULL, pods=(pod(NEW, ready=False),)), NEW)
    assert (step.reason, step.surge, step.stalled) == ("SwappingWithGap", False, False)


def test_a_pod_that_starts_again_after_a_swap_is_no_gap() -> None:
    found = live(NEW, done=False, surge=False, good=NEW)
    assert plan(service(), observed(found, nodes=FULL, pods=(pod(NEW, ready=False),)), NEW).reason == ""


def test_a_surge_that_found_its_place_goes_on_though_the_pool_is_full_now() -> None:
    loading = pod(NEW, ready=False)
    found = live(NEW, done=False, surge=True, good=OLD)
    assert plan(service(), observed(found, nodes=FULL, pods=(loading,)), NEW).surge


def test_the_user_may_insist_on_room() -> None:
    assert plan(service(rollout={"maxUnavailable": 0}), observed(live(OLD), nodes=FULL), NEW).surge


def test_a_product_that_no_node_has_never_costs_the_old_pod() -> None:
    wanted = service(accelerator={"type": GPU, "product": "NVIDIA-H100"})
    assert plan(wanted, observed(live(OLD), nodes=FULL), NEW).surge


def test_dra_devices_are_never_counted_as_spare() -> None:
    assert plan(service(accelerator={"deviceClass": "gpu.nvidia.com"}), observed(live(OLD)), NEW).check


def test_scaling_by_cpu_leaves_replicas_alone() -> None:
    scaled = service(accelerator=None, scaling={"maxReplicas": 4, "cpu": {"target": 70}})
    assert plan(scaled, observed(live(OLD)), OLD).replicas is None


@pytest.mark.parametrize("by", [{"queue": {"target": 4}}, {"latency": {"target": "80ms"}}, {"cpu": {"target": 50}}])
def test_an_autoscaler_has_the_replicas_whatever_it_goes_by(by: dict[str, Any]) -> None:
    scaled = service(accelerator=None, scaling={"minReplicas": 2, "maxReplicas": 4, **by})
    assert plan(scaled, observed(live(OLD)), OLD).replicas is None


@settings(max_examples=300)
@given(
    stands=st.sampled_from([OLD, NEW]),
    done=st.booleans(),
    surge=st.booleans(),
    outcome=st.sampled_from([None, "", "Complete", "Failed"]),
    free=st.sampled_from([0, 1]),
    marks=st.fixed_dictionaries({}, optional={"good": st.sampled_from([OLD, NEW]), "failed": st.just(NEW)}),
    pods=st.lists(st.sampled_from([failing(NEW), pod(OLD), pod(NEW), WAITING]), max_size=3),
)
def test_no_working_pod_is_taken_for_what_was_not_checked(
    stands: str, done: bool, surge: bool, outcome: str | None, free: int, marks: dict[str, str], pods: list[Pod]
) -> None:
    children = [live(stands, done=done, surge=surge, **marks)]
    if outcome is not None:
        children.append(check_job(NEW, outcome))
    step = plan(
        service(), observed(*children, pods=tuple(pods), nodes=gpus(free), replica_sets=(replica_set(OLD),)), NEW
    )
    begins_swap = not step.hold and not step.surge and step.template is None and (stands != NEW or surge)
    proved = outcome == "Complete" or marks.get("good") == NEW
    assert not begins_swap or proved or not any(pod.ready for pod in pods)
    assert not (step.stalled and not step.message)
