"""What holds for every child of every service."""

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.facts import Manifest, ObjectKey, Service, Step
from tests.support import builders, golden
from tests.support.restricted import violations

CASES = golden.case_names()
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")

label_values = st.sampled_from(["a", "nlp", "team-1", "x" * 40])
uris = st.sampled_from(
    [
        {"uri": "pvc://claim/dir/model.onnx"},
        {"uri": "oci://registry.example/models/a:1", "sha256": builders.SHA256},
        {"uri": "https://store.example/a/model.onnx", "sha256": builders.SHA256},
        {"uri": "https://10.0.0.7:9000/m.onnx", "sha256": builders.SHA256, "credentials": {"secretName": "store"}},
        {"uri": "https://store.models.svc/m.onnx", "sha256": builders.SHA256, "format": "onnx"},
    ]
)
accelerators = st.one_of(
    st.none(),
    st.builds(
        lambda kind, count: {"type": kind, "count": count},
        st.sampled_from(
            ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "amd.com/gpu", "google.com/tpu", "example.com/npu"]
        ),
        st.integers(1, 64),
    ),
    st.builds(lambda product: {"deviceClass": "gpu.nvidia.com", "product": product}, label_values),
)
pods = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(label_values, label_values, max_size=3),
        "annotations": st.dictionaries(label_values, st.text(max_size=8), max_size=2),
        "nodeSelector": st.dictionaries(label_values, label_values, max_size=2),
        "tolerations": st.lists(st.just({"operator": "Exists"}), max_size=2),
        "serviceAccountName": label_values,
        "runtimeClassName": st.sampled_from(["nvidia", "gvisor"]),
        "topologySpread": st.lists(st.just({"topologyKey": "example.com/rack"}), max_size=1),
    },
)
scalings = st.sampled_from([None, {"maxReplicas": 4, "cpu": {"target": 60}}])
states = st.sampled_from(
    [
        None,
        {"volume": {"size": "20Gi"}},
        {
            "volume": {"size": 2**30, "storageClassName": "fast"},
            "durability": {"mode": "interval", "interval": "1s500ms"},
            "retention": {"whenDeleted": "Delete"},
            "maxSessionBytes": "16M",
            "maxSessions": 7,
        },
    ]
)
services = st.builds(
    lambda name, model, accelerator, pod, scaling, state: builders.service(
        name, model=model, accelerator=accelerator, pod=pod, scaling=scaling, state=state
    ),
    st.sampled_from(["a", "sentiment", "x-1", "y" * 40]),
    uris,
    accelerators,
    pods,
    scalings,
    states,
)
steps = st.builds(
    Step,
    surge=st.booleans(),
    replicas=st.one_of(st.none(), st.integers(1, 20)),
    hold=st.booleans(),
    check=st.booleans(),
)
examples = settings(max_examples=40, deadline=None)


MAKES_PODS = {"Deployment", "Job", "StatefulSet"}
SERVER, ROUTER = names.COMPONENT_SERVER, names.COMPONENT_ROUTER


def templates(children: list[Manifest]) -> list[Manifest]:
    return [child["spec"]["template"] for child in children if child["kind"] in MAKES_PODS]


def selectors(children: list[Manifest]) -> dict[tuple[str, str], dict[str, str]]:
    """Return the selectors that stand for serving: who gets traffic, who counts for the budget and the rollout."""
    found = {}
    for child in children:
        selector = child.get("spec", {}).get("selector")
        if selector is not None:
            found[child["kind"], child["metadata"]["name"]] = selector.get("matchLabels", selector)
    return found


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def covers(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a selector with expressions selects what has these labels."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "NotIn"
        if labels.get(expression["key"]) in expression["values"]:
            return False
    return matches(selector["matchLabels"], labels)


def component(manifest: Manifest) -> str:
    found: str = manifest["metadata"]["labels"][names.LABEL_COMPONENT]
    return found


def frozen(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def check_invariants(service: Service, children: list[Manifest]) -> None:
    keys = [(child["kind"], child["metadata"]["name"]) for child in children]
    assert len(set(keys)) == len(keys)
    for child in children:
        meta = child["metadata"]
        assert meta["ownerReferences"] == [service.owner_reference()]
        assert meta["namespace"] == service.namespace
        assert DNS_LABEL.fullmatch(meta["name"])
        assert meta["labels"][names.LABEL_MANAGED_BY] == names.MANAGED_BY
        assert meta["labels"][names.LABEL_SERVICE] == service.name
        assert "status" not in child
    labelled = [child["metadata"] for child in children] + [template["metadata"] for template in templates(children)]
    for meta in labelled:
        for key, value in meta["labels"].items():
            assert LABEL_KEY.fullmatch(key), key
            assert LABEL_VALUE.fullmatch(value), value
    for template in templates(children):
        assert violations(template["spec"]) == []
        assert template["spec"]["automountServiceAccountToken"] is False
        for container in (*template["spec"].get("initContainers", []), *template["spec"]["containers"]):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            given = container["resources"]
            assert set(given["requests"]) == set(given["limits"])
            assert given["requests"] == given["limits"] or component(template) == ROUTER


@pytest.mark.parametrize("name", CASES)
def test_invariants_of_the_golden_cases(name: str) -> None:
    case = golden.case(name)
    check_invariants(case.service, case.children())


@examples
@given(services, steps)
def test_invariants_of_any_service(service: Service, step: Step) -> None:
    check_invariants(service, desired.children(service, builders.cluster(), step))


@examples
@given(services, steps)
def test_a_selector_finds_what_serves_and_never_what_checks(service: Service, step: Step) -> None:
    children = desired.children(service, builders.cluster(), step)
    serving = selectors(children)
    assert {("Service", service.name), ("PodDisruptionBudget", service.name)} <= set(serving)
    for (kind, name), selector in serving.items():
        assert selector[names.LABEL_COMPONENT] in {SERVER, ROUTER}
        for template in templates(children):
            found = matches(selector, template["metadata"]["labels"])
            assert found == (component(template) == selector[names.LABEL_COMPONENT]), f"{kind} {name}"


@examples
@given(services, steps)
def test_the_policy_covers_what_serves_and_what_checks(service: Service, step: Step) -> None:
    children = desired.children(service, builders.cluster(), step)
    policies = [child["spec"]["podSelector"] for child in children if child["kind"] == "NetworkPolicy"]
    for template in templates(children):
        # One and no second one: what either lets through, passes.
        assert [covers(policy, template["metadata"]["labels"]) for policy in policies].count(True) == 1


@examples
@given(services, steps)
def test_the_same_input_gives_the_same_output_and_stays_as_it_was(service: Service, step: Step) -> None:
    cluster, before = builders.cluster(), frozen(service.spec.model_dump())
    first = desired.children(service, cluster, step)
    kept = frozen(first)
    assert frozen(desired.children(service, cluster, step)) == kept
    for child in first:
        child.clear()  # whoever spoils what it was given spoils nothing else
    assert frozen(desired.children(service, cluster, step)) == kept
    assert frozen(service.spec.model_dump()) == before


@pytest.mark.parametrize("name", CASES)
def test_no_manifest_shares_a_part_with_another_or_with_the_step(name: str) -> None:
    case = golden.case(name)
    template = copy.deepcopy(case.step.template)
    seen: dict[int, str] = {}
    first, second = case.children(), case.children()
    for place, manifest in enumerate([*first, *second]):
        for part in parts(manifest):
            where = f"{place} {manifest['kind']}"
            assert id(part) not in seen, f"{where} shares {part} with {seen[id(part)]}"
            seen[id(part)] = where
    assert case.step.template == template


def parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value, *(part for item in value.values() for part in parts(item))]
    if isinstance(value, list):
        return [value, *(part for item in value for part in parts(item))]
    return []


@examples
@given(services, steps)
def test_the_hash_depends_on_the_template_alone(service: Service, step: Step) -> None:
    cluster = builders.cluster()
    wanted = desired.template_hash(service, cluster)
    assert re.fullmatch(r"[0-9a-f]{12}", wanted)
    for child in desired.children(service, cluster, step):
        if child["kind"] in MAKES_PODS and component(child) != ROUTER:
            assert child["metadata"]["annotations"][names.ANNOTATION_TEMPLATE_HASH] == wanted
            assert child["spec"]["template"]["metadata"]["annotations"][names.ANNOTATION_TEMPLATE_HASH] == wanted


@examples
@given(services, steps)
def test_a_held_workload_is_neither_rendered_nor_forgotten(service: Service, step: Step) -> None:
    rendered = {
        ObjectKey(child["kind"], child["metadata"]["name"])
        for child in desired.children(service, builders.cluster(), step)
    }
    held = desired.held(service, step)
    assert not rendered & held
    assert ObjectKey(desired.workload_kind(service), service.name) in rendered | held
