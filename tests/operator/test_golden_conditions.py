"""What a user reads of each golden case, moment by moment: `conditions.yaml` beside its spec and its children.

Argo CD's health script runs on the same statuses, so what it shows is what the operator writes.
"""

from typing import Any

import pytest
import yaml

from mooring_operator import desired, validation
from mooring_operator.facts import Observed, Step
from mooring_operator.status import Rendered, Verdicts, status_of
from tests.support import builders, golden
from tests.support.argocd import health

EARLIER = "an-earlier-one"


def moments(case: golden.Case, template_hash: str) -> dict[str, Observed]:
    """The three moments of a first start, or, where the round was told a step, an older version that serves."""
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
