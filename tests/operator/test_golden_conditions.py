"""What a user reads of each golden case, moment by moment: `conditions.yaml` beside its spec and its children.

Argo CD's health script runs on the same statuses, so what it shows is what the operator writes.
"""

from datetime import timedelta
from typing import Any

import pytest
import yaml

from mooring_operator import desired, validation
from mooring_operator.api import names
from mooring_operator.api.membership import Record, Report
from mooring_operator.facts import Manifest, Members, Observed, Pod, Step
from mooring_operator.status import Rendered, Verdicts, status_of
from tests.support import builders, golden
from tests.support.argocd import health

EARLIER = "an-earlier-one"


def moments(case: golden.Case, template_hash: str) -> dict[str, Observed]:
    """The moments of a first start, or, where the round was told a step, an older version that serves."""
    if case.service.spec.state is not None:
        return stateful_moments(case, template_hash)
    if case.step != Step(replicas=case.step.replicas):
        old = builders.deployment(EARLIER, name=case.service.name)
        return {"an older version serves": builders.observed(old, pods=(builders.pod(EARLIER),))}
    name = case.service.name
    replicas = case.step.replicas or 1
    loading = builders.deployment(template_hash, name=name, replicas=replicas, ready=0)
    serving = builders.deployment(template_hash, name=name, replicas=replicas)
    return {
        "just applied": builders.observed(),
        "loading": builders.observed(loading, pods=(builders.pod(template_hash, ready=False),)),
        "serving": builders.observed(serving, pods=(builders.pod(template_hash),)),
    }


def stateful_moments(case: golden.Case, template_hash: str) -> dict[str, Observed]:
    """The same with what comes to replicas that keep sessions."""
    name, replicas = case.service.name, case.step.replicas or 2
    router = builders.deployment("router", name=f"{name}-router", replicas=2)
    record = Record(3, replicas, (), {ordinal: f"s{ordinal}" for ordinal in range(replicas)})
    moving = Record(4, replicas - 1, (replicas,), record.stores)

    def pods(version: str, ready: bool = True) -> tuple[Pod, ...]:
        return tuple(
            builders.pod(version, f"{name}-{ordinal}", ready=ready, ordinal=ordinal, node=f"node{ordinal}")
            for ordinal in range(replicas)
        )

    def members(kept: Record, *silent: int, **known: Any) -> Members:
        reports = {
            ordinal: Report(
                ordinal, store, 1, kept, ordinal < kept.size, held=5, foreign=0 if ordinal < kept.size else 5
            )
            for ordinal, store in record.stores.items()
            if ordinal not in silent
        }
        return Members(record=kept, version="7", reports=reports, resized=builders.NOW, **known)

    def workload(version: str, ready: int = replicas) -> Manifest:
        return {**builders.deployment(version, name=name, replicas=replicas, ready=ready), "kind": "StatefulSet"}

    if case.step.template is not None or case.step.hold:
        seen = builders.observed(workload(EARLIER), router, pods=pods(EARLIER), members=members(record))
        return {"an older version serves": seen}
    serving = (workload(template_hash), router)
    up, last = pods(template_hash), replicas - 1
    lost = members(record, last, lost_nodes={f"node{last}": "Kubelet stopped posting node status."})
    found = {
        "just applied": builders.observed(members=Members()),
        "loading": builders.observed(
            workload(template_hash, 0), router, pods=pods(template_hash, ready=False), members=Members()
        ),
        "serving": builders.observed(*serving, pods=up, members=members(record)),
        "a node is lost": builders.observed(*serving, pods=up, members=lost),
    }
    if replicas == 1:
        return found
    stranded = members(moving, last, notes={names.ANNOTATION_STRANDED: f'{{"{last}": 5}}'})
    late = builders.NOW + timedelta(hours=24)
    return {
        **found,
        "sessions leave": builders.observed(*serving, pods=up, members=members(moving)),
        "sessions are stranded": builders.observed(*serving, pods=up[:-1], members=stranded, now=late),
    }


def statuses(name: str) -> dict[str, dict[str, Any]]:
    case = golden.case(name)
    rendered = Rendered(
        desired.template_hash(case.service, case.cluster), desired.pod_selector(case.service), desired.url(case.service)
    )
    verdicts = Verdicts(
        (*validation.not_built(case.service.spec), *validation.check(case.service, builders.observed(), case.cluster)),
        tuple(validation.check_scaling(case.service.spec.scaling, case.cluster)),
    )
    return {
        moment: status_of(case.service, seen, case.step, rendered, verdicts)
        for moment, seen in moments(case, rendered.template_hash).items()
    }


@pytest.mark.parametrize("name", golden.case_names())
def test_conditions(name: str, update_golden: bool) -> None:
    documents = [{"moment": moment, "status": status} for moment, status in statuses(name).items()]
    golden.compare(golden.GOLDEN / name / "conditions.yaml", golden.dump(documents), update_golden)


@pytest.mark.parametrize("name", golden.case_names())
def test_argo_cd_shows_what_the_operator_says(name: str) -> None:
    for document in yaml.safe_load_all((golden.GOLDEN / name / "conditions.yaml").read_text()):
        by_type = {condition["type"]: condition for condition in document["status"]["conditions"]}
        obj = {"metadata": {"generation": 1}, "status": document["status"]}
        if by_type["Stalled"]["status"] == "True":
            expected = ("Degraded", by_type["Stalled"]["message"])
        else:
            shown = "Healthy" if by_type["Ready"]["status"] == "True" else "Progressing"
            expected = (shown, by_type["Ready"]["message"])
        assert health(obj) == expected, document["moment"]
