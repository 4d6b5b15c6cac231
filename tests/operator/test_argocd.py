"""The health script for Argo CD, run by Lua; test_golden_conditions.py runs it on every golden status too."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mooring_operator import desired
from mooring_operator.facts import Problem, Step
from mooring_operator.status import Rendered, Verdicts, invalid, status_of
from tests.support import builders, golden
from tests.support.argocd import EXAMPLES, SCRIPT, health

ROOT = Path(__file__).parents[2]
CONFIG_KEY = "resource.customizations.health.mooring.dev_InferenceService"


def condition(kind: str, status: str, message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "observedGeneration": 2,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "Test",
        "message": message,
    }


def service(*conditions: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "a", "generation": 2, **metadata},
        "status": {"observedGeneration": 2, "conditions": list(conditions)},
    }


READY = condition("Ready", "True", "serves")
NOT_READY = condition("Ready", "False", "1 of 2 replicas answer")


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        pytest.param(service(READY), ("Healthy", "serves"), id="ready"),
        pytest.param(service(NOT_READY), ("Progressing", "1 of 2 replicas answer"), id="not-ready"),
        pytest.param(service(condition("Ready", "Unknown", "?")), ("Progressing", "?"), id="unknown"),
        pytest.param(
            service(NOT_READY, condition("Stalled", "True", "no such class")),
            ("Degraded", "no such class"),
            id="stalled",
        ),
        pytest.param(service(READY, condition("Stalled", "False")), ("Healthy", "serves"), id="stalled-false"),
        pytest.param(
            service(READY, condition("Suspended", "True", "left alone")), ("Suspended", "left alone"), id="suspended"
        ),
        pytest.param(
            service(condition("Suspended", "True", "left alone"), condition("Stalled", "True", "x")),
            ("Suspended", "left alone"),
            id="suspended-wins",
        ),
        pytest.param(
            service(READY, condition("AutoscalingReady", "False", "no metrics")),
            ("Healthy", "serves"),
            id="blind-autoscaler-does-not-degrade",
        ),
        pytest.param(
            service(READY, deletionTimestamp="2026-01-01T00:00:00Z"), ("Progressing", "Deleting"), id="deleting"
        ),
        pytest.param(
            service(READY, generation=3),
            ("Progressing", "Waiting for generation to be observed"),
            id="old-generation",
        ),
        pytest.param(
            {"metadata": {"generation": 1}},
            ("Progressing", "Waiting for the operator to report status"),
            id="no-status",
        ),
        pytest.param(
            {"metadata": {"generation": 1}, "status": {"observedGeneration": 1}},
            ("Progressing", "Waiting for the operator to report status"),
            id="no-conditions",
        ),
        pytest.param(service(), ("Progressing", "Waiting for the operator to report status"), id="empty-conditions"),
    ],
)
def test_health_of_hand_made_statuses(obj: dict[str, Any], expected: tuple[str, str]) -> None:
    assert health(obj) == expected


def test_config_map_holds_the_script() -> None:
    config = yaml.safe_load((EXAMPLES / "argocd-cm.yaml").read_text())
    assert config["metadata"]["name"] == "argocd-cm"
    assert config["data"] == {CONFIG_KEY: SCRIPT}


@pytest.mark.parametrize("name", ["application.yaml", "service-application.yaml"])
def test_applications_apply_server_side(name: str) -> None:
    application = yaml.safe_load((EXAMPLES / name).read_text())
    assert application["kind"] == "Application"
    # Client-side apply cannot write a definition of more than 256 KiB, and takes fields from those who set them.
    assert "ServerSideApply=true" in application["spec"]["syncPolicy"]["syncOptions"]


def test_application_uses_values_that_the_chart_knows() -> None:
    application = yaml.safe_load((EXAMPLES / "application.yaml").read_text())
    source = application["spec"]["source"]
    values = yaml.safe_load((ROOT / source["path"] / "values.yaml").read_text())

    def unknown(given: dict[str, Any], known: dict[str, Any], path: str) -> list[str]:
        return [
            found
            for key, value in given.items()
            for found in (
                [f"{path}.{key}"]
                if key not in known
                else unknown(value, known[key], f"{path}.{key}")
                if isinstance(value, dict)
                else []
            )
        ]

    assert unknown(source["helm"]["valuesObject"], values, "values") == []


def test_the_operators_own_words_on_a_wrong_spec() -> None:
    problem = Problem("spec.model.uri", "begin with oci://, pvc:// or https://")
    status = invalid({}, 2, [problem], builders.NOW)
    shown, message = health({"metadata": {"generation": 2}, "status": status})
    assert shown == "Degraded"
    assert "spec.model.uri" in message


def test_the_operators_own_words_on_a_suspended_service() -> None:
    service = builders.service(suspend=True)
    rendered = Rendered("abc", desired.pod_selector(service), desired.url(service))
    status = status_of(service, builders.observed(), Step(hold=True), rendered, Verdicts())
    shown, message = health({"metadata": {"generation": 1}, "status": status})
    assert shown == "Suspended"
    assert message


@pytest.mark.parametrize("name", golden.case_names())
def test_children_are_neither_tracked_nor_pruned(name: str) -> None:
    """Argo CD prunes what it tracks and what has no owner: each child has one, and none of Argo CD's marks."""
    for child in golden.case(name).children():
        assert [owner["kind"] for owner in child["metadata"]["ownerReferences"]] == ["InferenceService"]
        marks = {*child["metadata"].get("annotations", {}), *child["metadata"]["labels"]}
        assert not [mark for mark in marks if mark.startswith("argocd.argoproj.io/")]
