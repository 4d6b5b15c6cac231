"""What a service is told that is wrong, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring_operator import validation
from mooring_operator.api import crd, names
from mooring_operator.facts import MissingClass, ObjectKey, Problem, Service
from tests.support import builders
from tests.support.bad_specs import BAD, BAD_NAMES
from tests.support.good_specs import GOOD_SPECS
from tests.support.specs import GOOD, OCI, Bad, but

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab1 -./:%Gi", max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab-/", max_size=5), inner, max_size=3),
    max_leaves=8,
)


def object_fields(node: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each field that stands in no list."""
    for name, item in node.get("properties", {}).items():
        yield (*path, name)
        yield from object_fields(item, (*path, name))


FIELDS = list(object_fields(crd.schema()["properties"]["spec"]))


def problems(spec: object, name: str = "sentiment") -> list[Problem]:
    found = validation.parse_service({"metadata": {"name": name}, "spec": spec})
    assert isinstance(found, list), "the spec was taken"
    return found


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_bad_spec(case: Bad) -> None:
    found = problems(case.spec)
    assert {problem.field for problem in found} == {case.field}
    assert (case.ours or case.says) in "; ".join(problem.message for problem in found)
    assert {problem.reason for problem in found} == {"InvalidSpec"}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_bad_name(name: str) -> None:
    advice = "write at most 40 lower-case letters, digits and '-', beginning with a letter"
    assert problems(GOOD, name) == [Problem("metadata.name", advice)]


@pytest.mark.parametrize("spec", GOOD_SPECS.values(), ids=GOOD_SPECS)
def test_good_spec(spec: dict[str, Any]) -> None:
    assert isinstance(validation.parse_service({"metadata": {"name": "sentiment"}, "spec": spec}), Service)


def test_live_object() -> None:
    metadata = {"name": "sentiment", "namespace": "models", "uid": "1-2", "generation": 7, "labels": {"a": "b"}}
    live = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": GOOD, "status": {}}
    found = validation.parse_service(live)
    assert isinstance(found, Service)
    assert (found.namespace, found.name, found.uid, found.generation) == ("models", "sentiment", "1-2", 7)
    assert found.spec.model.uri == OCI


def test_written_object_has_no_identity_yet() -> None:
    found = validation.parse_service({"metadata": {"name": "sentiment"}, "spec": GOOD})
    assert isinstance(found, Service)
    assert (found.namespace, found.uid, found.generation) == ("default", "", 1)


def test_another_kind_is_refused() -> None:
    assert validation.parse_service({"apiVersion": "v1", "kind": "Pod"}) == [
        Problem("apiVersion", 'found "v1": write mooring.dev/v1alpha1'),
        Problem("kind", 'found "Pod": write InferenceService'),
    ]


@pytest.mark.parametrize(
    ("written", "field", "message"),
    [
        ({}, "metadata", "is missing: set it"),
        ({"metadata": {}, "spec": GOOD}, "metadata.name", "is missing: set it"),
        ({"metadata": {"name": 3}, "spec": GOOD}, "metadata.name", "found 3: write a string"),
        ({"metadata": {"name": "a"}}, "spec", "is missing: set it"),
        ({"metadata": {"name": "a"}, "spec": []}, "spec", "write an object"),
    ],
)
def test_half_an_object(written: dict[str, Any], field: str, message: str) -> None:
    found = validation.parse_service(written)
    assert isinstance(found, list)
    assert found[0].field == field
    assert message in found[0].message


def test_every_mistake_is_told_at_once() -> None:
    spec = but(replicas=0, suspend="no", resources={"cpu": "x"}, scaling={"minReplicas": 2})
    fields = [problem.field for problem in problems(spec)]
    assert sorted(fields) == ["spec.replicas", "spec.resources.cpu", "spec.scaling.maxReplicas", "spec.suspend"]


def test_what_was_found_is_shown() -> None:
    assert problems(but(replicas="two")) == [Problem("spec.replicas", 'found "two": write an integer')]
    assert problems(but(suspend=1)) == [Problem("spec.suspend", "found 1: write true or false")]


def test_a_long_value_is_cut() -> None:
    [problem] = problems(but(pod={"priorityClassName": "a" * 300}))
    assert problem.message == f'found "{"a" * 59}... (302 characters): write at most 253 characters'


def test_secrets_are_never_shown() -> None:
    secret = "hunter2"
    spec = {
        "model": {"uri": f"https://me:{secret}@store.example/m?signature={secret}"},
        "runtime": {
            "args": [[secret]],
            "env": [{"name": "TOKEN", "value": [secret]}, {"name": "KEY", "value": secret * 999}],
        },
        "pod": {"annotations": {"token": secret * 999}},
    }
    found = problems(spec)
    assert len(found) == 5
    assert [problem for problem in found if secret in problem.message] == []


def test_the_same_words_for_the_status_of_a_condition() -> None:
    [problem] = problems({"model": {"uri": "https://me:hunter2@store.example/m", "sha256": builders.SHA256}})
    assert problem == Problem(
        "spec.model.uri",
        'found "https://***@store.example/m": must hold no user name or password: put them into a Secret and name it '
        "in model.credentials",
    )


def test_nothing_is_wrong_in_a_good_cluster() -> None:
    service = builders.service(accelerator={"type": "nvidia.com/gpu", "product": "NVIDIA-L40S", "minMemory": "40Gi"})
    assert validation.check(service, builders.observed(), builders.cluster()) == []


def test_missing_classes() -> None:
    missing = (
        MissingClass("spec.pod.priorityClassName", "PriorityClass", "high"),
        MissingClass("spec.accelerator.deviceClass", "DeviceClass", "gpu.example"),
    )
    found = validation.check(builders.service(), builders.observed(missing=missing), builders.cluster())
    assert found == [
        Problem(
            "spec.pod.priorityClassName",
            "the cluster has no PriorityClass 'high': make it, name another one or remove the field",
            "PriorityClassNotFound",
        ),
        Problem(
            "spec.accelerator.deviceClass",
            "the cluster has no DeviceClass 'gpu.example': make it, name another one or remove the field",
            "DeviceClassNotFound",
        ),
    ]


def test_taken_names() -> None:
    foreign = {ObjectKey("Service", "sentiment"): "nobody", ObjectKey("Deployment", "sentiment"): "Rollout 'x'"}
    found = validation.check(builders.service(), builders.observed(foreign=foreign), builders.cluster())
    assert [(problem.field, problem.reason) for problem in found] == [("metadata.name", "NameTaken")] * 2
    assert found[0].message == (
        "Deployment 'sentiment' exists in namespace 'models' and belongs to Rollout 'x': "
        "delete or rename it, or make this service under another name"
    )


def test_variant_without_an_image() -> None:
    cluster = builders.cluster(images={"onnx": "registry.example/onnx:1"})
    service = builders.service(accelerator={"type": "nvidia.com/gpu"})
    assert validation.check(service, builders.observed(), cluster) == [
        Problem(
            "spec.runtime.variant",
            "this installation has no image for variant onnx-gpu: "
            "set runtime.images in the chart's values, or name an image in spec.runtime.image",
            "ImageNotConfigured",
        )
    ]
    own = builders.service(accelerator={"type": "nvidia.com/gpu"}, runtime={"image": "registry.example/mine:1"})
    assert validation.check(own, builders.observed(), cluster) == []


def test_wishes_that_no_label_can_tell() -> None:
    gaudi = {"type": "habana.ai/gaudi", "product": "HL-225"}
    service = builders.service(accelerator=gaudi, runtime={"image": "registry.example/own:1"})
    [problem] = validation.check(service, builders.observed(), builders.cluster())
    assert (problem.field, problem.reason) == ("spec.accelerator.product", "Unsupported")
    assert "spec.pod.nodeSelector" in problem.message


def test_device_classes_need_their_api() -> None:
    service = builders.service(accelerator={"deviceClass": "gpu.nvidia.com"})
    [problem] = validation.check(service, builders.observed(), builders.cluster(dra=False))
    assert (problem.field, problem.reason) == ("spec.accelerator.deviceClass", "Unsupported")
    assert problem.message.endswith("use type instead")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": {"uri": "s3://bucket/m.onnx"}}, "spec.model.uri"),
        ({"model": {"uri": "gs://bucket/m.onnx"}}, "spec.model.uri"),
        ({"model": {"uri": "hf://me/m"}}, "spec.model.uri"),
    ],
)
def test_not_built(fields: dict[str, Any], field: str) -> None:
    [problem] = validation.not_built(builders.spec(**fields))
    assert (problem.field, problem.reason) == (field, "NotBuiltYet")
    assert problem.message.startswith("not built yet: ")


def test_what_is_built() -> None:
    scaling = {"minReplicas": 1, "maxReplicas": 2, "cpu": {"target": 50}, "behavior": {"scaleUp": {"tolerance": "5%"}}}
    spec = builders.spec(scaling=scaling, runtime={"args": ["--verbose"]}, model={"uri": OCI, "format": "onnx"})
    assert validation.not_built(spec) == []
    assert validation.check_scaling(spec.scaling, builders.cluster()) == []
    assert validation.check_scaling(None, builders.cluster()) == []


def test_an_older_autoscaler_is_told_of_its_tolerance() -> None:
    behavior = {"scaleUp": {"tolerance": "5%"}, "scaleDown": {"stabilizationWindowSeconds": 60}}
    spec = builders.spec(scaling={"maxReplicas": 2, "cpu": {"target": 50}, "behavior": behavior})
    [problem] = validation.check_scaling(spec.scaling, builders.cluster(hpa_tolerance=False))
    assert (problem.field, problem.reason) == ("spec.scaling.behavior.scaleUp.tolerance", "Unsupported")


@pytest.mark.parametrize(
    ("accelerator", "fits"),
    [
        ({"type": "nvidia.com/mig-1g.10gb"}, True),
        ({"deviceClass": "gpu.nvidia.com"}, True),
        ({"deviceClass": "team-gpus"}, True),
        ({"type": "amd.com/gpu"}, False),
        ({"type": "google.com/tpu"}, False),
        ({"deviceClass": "gpu.amd.com"}, False),
    ],
)
def test_our_images_are_for_nvidia(accelerator: dict[str, Any], fits: bool) -> None:
    found = validation.check(builders.service(accelerator=accelerator), builders.observed(), builders.cluster())
    assert [problem.field for problem in found] == ([] if fits else ["spec.runtime.image"])
    own = builders.service(accelerator=accelerator, runtime={"image": "registry.example/own:1"})
    assert validation.check(own, builders.observed(), builders.cluster()) == []


@settings(deadline=None)
@given(JSON)
def test_any_spec_is_judged(spec: object) -> None:
    """Whatever an older definition let in: the loop never fails on an object, it says what is wrong."""
    validation.parse_service({"metadata": {"name": "sentiment"}, "spec": spec})


@settings(deadline=None)
@given(st.sampled_from(FIELDS), JSON)
def test_any_value_of_any_field_is_judged(path: tuple[str, ...], value: Any) -> None:
    for name in reversed(path):
        value = {name: value}
    found = validation.parse_service({"metadata": {"name": "sentiment"}, "spec": {**GOOD, **value}})
    for problem in found if isinstance(found, list) else []:
        assert problem.field.startswith("spec")
        assert "{" not in problem.message, "a placeholder or a repr"


def test_a_spec_is_read_again_only_when_it_has_changed() -> None:
    parsed = validation.Parsed()

    def look(uid: str = "one", generation: int = 1, **spec: Any) -> validation.Seen:
        meta = {"namespace": "models", "name": "sentiment", "uid": uid, "generation": generation}
        return parsed.look({"metadata": meta, "spec": {**GOOD, **spec}})

    first = look()
    assert first.service is not None and first.problem == ""
    assert look(replicas=2) is first  # a status of the same generation
    later = look(generation=2, replicas=2)
    assert later.service is not None and later.service.spec.replicas == 2
    broken = look(uid="two", replicas="many")
    assert broken.service is None and broken.problem.startswith("spec.replicas: ")
    assert look(uid="two") is broken
    parsed.keep([])
    assert look(uid="two").service is not None
