"""Each story of a rollout, told by what stands on the cluster and what the plan does next."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.api import names
from mooring_operator.api.v1alpha1 import parse
from mooring_operator.facts import Failure, Manifest, Node, ObjectKey, Observed, Pod, Service, Step
from mooring_operator.plan import plan

OLD, NEW = "0ld000000000", "new000000000"
GPU = "nvidia.com/gpu"


def service(**spec: Any) -> Service:
    written = {"model": {"uri": "pvc://models/m.onnx"}, "accelerator": {"type": GPU}, **spec}
    parsed = parse({"metadata": {"name": "svc"}, "spec": {key: value for key, value in written.items() if value}})
    return Service("team", "svc", "uid-1", 1, parsed.spec)


def template(template_hash: str) -> Manifest:
    return {"metadata": {"annotations": {names.ANNOTATION_TEMPLATE_HASH: template_hash}}, "spec": {"containers": []}}


def deployment(template_hash: str, *, done: bool = True, surge: int = 1, **marks: str) -> Manifest:
    annotations = {f"mooring.dev/{key.replace('_', '-')}": value for key, value in marks.items()}
    return {
        "kind": "Deployment",
        "metadata": {"name": "svc", "generation": 3, "annotations": annotations},
        "spec": {"template": template(template_hash), "strategy": {"rollingUpdate": {"maxSurge": surge}}},
        "status": {
            "observedGeneration": 3,
            "replicas": 1,
            "updatedReplicas": int(done),
            "availableReplicas": int(done),
        },
    }


def job(template_hash: str, outcome: str = "") -> Manifest:
    conditions = [{"type": outcome, "status": "True"}] if outcome else []
    annotations = {names.ANNOTATION_TEMPLATE_HASH: template_hash}
    return {
        "kind": "Job",
        "metadata": {"name": f"svc-check-{template_hash}", "annotations": annotations},
        "status": {"conditions": conditions},
    }


def node(free: int, **labels: str) -> Node:
    return Node("n", labels, (), True, {GPU: 1}, {GPU: free})


def seen(
    *children: Manifest,
    pods: tuple[Pod, ...] = (),
    nodes: tuple[Node, ...] = (),
    replica_sets: tuple[Manifest, ...] = (),
) -> Observed:
    by_key = {ObjectKey(child["kind"], child["metadata"]["name"]): child for child in children}
    return Observed(
        now=datetime(2026, 11, 1, tzinfo=UTC),
        status={},
        children=by_key,
        pods=pods,
        nodes=nodes,
        replica_sets=replica_sets,
    )


def failing(template_hash: str) -> Pod:
    failure = Failure("ModelInvalid", "not an ONNX file", "server", permanent=True)
    return Pod("svc-x", template_hash, ready=False, scheduled=True, failure=failure)


FULL, SPARE = (node(0),), (node(0), node(1))


def test_first_apply_needs_no_look_at_the_cluster() -> None:
    assert plan(service(), seen(nodes=FULL), NEW) == Step(replicas=1)


def test_a_change_surges_where_an_accelerator_is_free() -> None:
    step = plan(service(), seen(deployment(OLD, good_template=OLD), nodes=SPARE), NEW)
    assert (step.surge, step.hold, step.check) == (True, False, False)
    assert step.marks == {names.ANNOTATION_GOOD_TEMPLATE: OLD}


def test_a_service_without_accelerator_always_surges() -> None:
    assert plan(service(accelerator=None), seen(deployment(OLD)), NEW).surge


def test_without_room_the_change_is_checked_and_the_old_pod_stays() -> None:
    step = plan(service(), seen(deployment(OLD), nodes=FULL), NEW)
    assert (step.hold, step.check, step.reason) == (True, True, "CheckingModel")


@pytest.mark.parametrize("outcome", ["", "Suspended"])
def test_an_unfinished_check_is_waited_for(outcome: str) -> None:
    assert plan(service(), seen(deployment(OLD), job(NEW, outcome), nodes=FULL), NEW).hold


def test_a_check_of_another_template_proves_nothing() -> None:
    assert plan(service(), seen(deployment(OLD), job("other0000000", "Complete"), nodes=FULL), NEW).hold


def test_a_passed_check_swaps_and_tells_the_gap() -> None:
    step = plan(service(), seen(deployment(OLD), job(NEW, "Complete"), nodes=FULL), NEW)
    assert (step.hold, step.surge, step.reason) == (False, False, "SwappingWithGap")


def test_a_failed_check_is_marked_and_never_swapped() -> None:
    observed = seen(deployment(OLD, good_template=OLD), job(NEW, "Failed"), nodes=FULL, pods=(failing(NEW),))
    step = plan(service(), observed, NEW)
    assert (step.hold, step.stalled, step.reason) == (True, True, "VersionRejected")
    assert step.marks[names.ANNOTATION_FAILED_TEMPLATE] == NEW
    assert step.marks[names.ANNOTATION_GOOD_TEMPLATE] == OLD
    assert "ModelInvalid: not an ONNX file" in step.message


def test_a_marked_failure_is_remembered_without_its_job() -> None:
    live = deployment(OLD, good_template=OLD, failed_template=NEW, failed_message="ModelInvalid: no")
    step = plan(service(), seen(live, nodes=FULL), NEW)
    assert (step.hold, step.check, step.stalled) == (True, False, True)
    assert "ModelInvalid: no" in step.message


def test_another_template_after_a_failure_is_tried_anew() -> None:
    live = deployment(OLD, good_template=OLD, failed_template="other0000000", failed_message="no")
    assert plan(service(), seen(live, nodes=FULL), NEW).check


def test_what_fails_after_the_swap_is_put_back() -> None:
    live = deployment(NEW, done=False, surge=0, good_template=OLD)
    observed = seen(live, nodes=FULL, pods=(failing(NEW),), replica_sets=({"spec": {"template": template(OLD)}},))
    step = plan(service(), observed, NEW)
    assert (step.template, step.stalled, step.reason) == (template(OLD), True, "RolledBack")
    assert step.marks[names.ANNOTATION_FAILED_TEMPLATE] == NEW


def test_without_a_good_template_there_is_nothing_to_put_back() -> None:
    live = deployment(NEW, done=False, surge=0, good_template=OLD)
    step = plan(service(), seen(live, nodes=FULL, pods=(failing(NEW),)), NEW)
    assert (step.template, step.stalled, step.reason) == (None, True, "RolloutFailed")


def test_beside_the_old_pod_a_failure_stalls_and_the_old_one_stays() -> None:
    live = deployment(NEW, done=False, surge=1, good_template=OLD)
    observed = seen(live, nodes=SPARE, pods=(failing(NEW),), replica_sets=({"spec": {"template": template(OLD)}},))
    step = plan(service(), observed, NEW)
    assert (step.template, step.surge, step.reason) == (None, True, "RolloutFailed")


def test_success_is_marked_and_an_old_failure_forgotten() -> None:
    live = deployment(NEW, good_template=OLD, failed_template="other0000000", failed_message="no")
    assert plan(service(), seen(live, nodes=FULL), NEW).marks == {names.ANNOTATION_GOOD_TEMPLATE: NEW}


def test_a_surge_that_lost_its_place_becomes_a_checked_swap() -> None:
    waiting = Pod("svc-new", NEW, ready=False, scheduled=False, unschedulable="Insufficient nvidia.com/gpu")
    serving = Pod("svc-old", OLD, ready=True, scheduled=True)
    live = deployment(NEW, done=False, surge=1, good_template=OLD)
    observed = seen(live, nodes=FULL, pods=(waiting, serving))
    assert plan(service(), observed, NEW).check
    checked = seen(live, job(NEW, "Complete"), nodes=FULL, pods=(waiting, serving))
    assert plan(service(), checked, NEW).surge is False


def test_a_surge_that_found_its_place_goes_on_though_the_pool_is_full_now() -> None:
    loading = Pod("svc-new", NEW, ready=False, scheduled=True)
    live = deployment(NEW, done=False, surge=1, good_template=OLD)
    assert plan(service(), seen(live, nodes=FULL, pods=(loading,)), NEW).surge


def test_the_user_may_insist_on_room() -> None:
    assert plan(service(rollout={"maxUnavailable": 0}), seen(deployment(OLD), nodes=FULL), NEW).surge


def test_a_product_that_no_node_has_never_costs_the_old_pod() -> None:
    wanted = service(accelerator={"type": GPU, "product": "NVIDIA-H100"})
    assert plan(wanted, seen(deployment(OLD), nodes=FULL), NEW).surge


def test_dra_devices_are_never_counted_as_spare() -> None:
    assert plan(service(accelerator={"deviceClass": "gpu.nvidia.com"}), seen(deployment(OLD)), NEW).check


def test_scaling_by_cpu_leaves_replicas_alone() -> None:
    scaled = service(accelerator=None, scaling={"maxReplicas": 4, "cpu": {"target": 70}})
    assert plan(scaled, seen(deployment(OLD)), OLD).replicas is None


def test_a_rule_that_is_not_built_still_bounds_replicas() -> None:
    scaled = service(accelerator=None, scaling={"minReplicas": 2, "maxReplicas": 4, "queue": {"target": 4}})
    assert plan(scaled, seen(deployment(OLD)), OLD).replicas == 2


@given(
    live=st.sampled_from([OLD, NEW]),
    done=st.booleans(),
    surge=st.sampled_from([0, 1]),
    outcome=st.sampled_from([None, "", "Complete", "Failed"]),
    free=st.sampled_from([0, 1]),
    marks=st.fixed_dictionaries(
        {}, optional={"good_template": st.sampled_from([OLD, NEW]), "failed_template": st.just(NEW)}
    ),
    pods=st.lists(
        st.sampled_from(
            [failing(NEW), Pod("a", OLD, True, True), Pod("b", NEW, True, True), Pod("c", NEW, False, False, "full")]
        ),
        max_size=3,
    ),
)
def test_no_working_pod_is_taken_for_what_was_not_checked(
    live: str, done: bool, surge: int, outcome: str | None, free: int, marks: dict[str, str], pods: list[Pod]
) -> None:
    children = [deployment(live, done=done, surge=surge, **marks)]
    if outcome is not None:
        children.append(job(NEW, outcome))
    observed = seen(
        *children, pods=tuple(pods), nodes=(node(free),), replica_sets=({"spec": {"template": template(OLD)}},)
    )
    step = plan(service(), observed, NEW)
    begins_swap = not step.hold and not step.surge and step.template is None and (live != NEW or surge == 1)
    assert not begins_swap or outcome == "Complete"
    assert not (step.stalled and not step.message)
    assert plan(service(), replace(observed), NEW) == step
