from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.facts import Manifest, Service, Step
from tests.support import builders, golden


def one(kind: str, service: Service, step: Step | None = None) -> Manifest:
    [found] = [c for c in desired.children(service, builders.cluster(), step or Step()) if c["kind"] == kind]
    return found


def rolling(most: int | None, surge: bool) -> dict[str, int]:
    rollout = {} if most is None else {"maxUnavailable": most}
    found: dict[str, int] = one("Deployment", builders.service(rollout=rollout), Step(surge=surge))["spec"]["strategy"][
        "rollingUpdate"
    ]
    return found


@pytest.mark.parametrize(
    ("most", "surge", "expected"),
    [
        (None, True, (1, 0)),
        (0, True, (1, 0)),
        (2, True, (1, 2)),
        (None, False, (0, 1)),
        (0, False, (0, 1)),  # the API server refuses 0 and 0
        (2, False, (0, 2)),
    ],
)
def test_strategy(most: int | None, surge: bool, expected: tuple[int, int]) -> None:
    assert rolling(most, surge) == {"maxSurge": expected[0], "maxUnavailable": expected[1]}


def test_replicas_are_left_to_the_autoscaler() -> None:
    assert "replicas" not in one("Deployment", builders.service(), Step(replicas=None))["spec"]
    assert one("Deployment", builders.service(), Step(replicas=7))["spec"]["replicas"] == 7


def test_the_hash_follows_the_spec_and_the_image_but_not_replicas() -> None:
    plain = desired.template_hash(builders.service(), builders.cluster())
    assert desired.template_hash(builders.service(replicas=5), builders.cluster()) == plain
    assert desired.template_hash(builders.service(rollout={"maxUnavailable": 1}), builders.cluster()) == plain
    assert desired.template_hash(builders.service(resources={"cpu": 2}), builders.cluster()) != plain
    upgraded = builders.cluster({"onnx": "registry.example/mooring/runtime:2.0"})
    assert desired.template_hash(builders.service(), upgraded) != plain


def test_a_template_that_is_put_back_keeps_its_hash_and_loses_the_controllers_label() -> None:
    case = golden.case("rolled-back")
    [deployment] = [child for child in case.children() if child["kind"] == "Deployment"]
    assert case.step.template is not None
    assert deployment["metadata"]["annotations"] == {names.ANNOTATION_TEMPLATE_HASH: "0123456789ab"}
    assert "pod-template-hash" not in deployment["spec"]["template"]["metadata"]["labels"]
    assert "pod-template-hash" in case.step.template["metadata"]["labels"]
    assert deployment["spec"]["template"]["spec"] == case.step.template["spec"]


def test_a_template_that_is_put_back_keeps_its_account_and_its_store() -> None:
    children = {child["kind"]: child for child in golden.case("rolled-back").children()}
    assert children["ServiceAccount"]["metadata"]["name"] == "sentiment"
    ports = [port["port"] for rule in children["NetworkPolicy"]["spec"]["egress"] for port in rule["ports"]]
    assert 9443 in ports


def test_a_named_account_is_used_and_none_is_made() -> None:
    service = builders.service(pod={"serviceAccountName": "reader"})
    children = desired.children(service, builders.cluster(), Step())
    assert "ServiceAccount" not in {child["kind"] for child in children}
    assert one("Deployment", service)["spec"]["template"]["spec"]["serviceAccountName"] == "reader"
    # While the Deployment is held, its pods may still run under the account that the new spec no longer asks for.
    assert one("ServiceAccount", service, Step(hold=True))["metadata"]["name"] == service.name


def test_what_pods_need_comes_before_them() -> None:
    service = builders.service(accelerator={"deviceClass": "gpu.nvidia.com"})
    kinds = [child["kind"] for child in desired.children(service, builders.cluster(), Step(check=True))]
    for needed in ("ServiceAccount", "NetworkPolicy", "ResourceClaimTemplate"):
        assert kinds.index(needed) < kinds.index("Deployment")
        assert kinds.index(needed) < kinds.index("Job")


@pytest.mark.parametrize(
    ("runtime", "model", "accelerator", "expected"),
    [
        ({}, {}, None, "1.0"),
        ({}, {}, {"type": "nvidia.com/gpu"}, "1.0-onnx-gpu"),
        ({}, {"format": "onnx"}, {"type": "nvidia.com/gpu"}, "1.0-onnx-gpu"),
        ({"allowUnsafeFormats": True}, {"format": "torchscript"}, None, "1.0-torch"),
        ({"allowUnsafeFormats": True}, {"format": "torch-export"}, {"type": "amd.com/gpu"}, "1.0-torch"),
        ({"allowUnsafeFormats": True}, {"format": "python"}, None, "1.0"),
        ({"allowUnsafeFormats": True}, {"uri": "pvc://models/m.pt2"}, None, "1.0-torch"),
        ({"allowUnsafeFormats": True}, {"uri": "pvc://models/m.pt2", "format": "python"}, None, "1.0"),
        ({"variant": "onnx"}, {}, {"type": "nvidia.com/gpu"}, "1.0"),
    ],
)
def test_variant(
    runtime: dict[str, Any], model: dict[str, Any], accelerator: dict[str, Any] | None, expected: str
) -> None:
    service = builders.service(runtime=runtime, model={"uri": "pvc://models/m", **model}, accelerator=accelerator)
    [container] = one("Deployment", service)["spec"]["template"]["spec"]["containers"]
    assert container["image"].rpartition(":")[2] == expected


def test_a_variant_that_is_not_installed_is_named() -> None:
    service = builders.service(accelerator={"type": "nvidia.com/gpu"})
    with pytest.raises(ValueError, match=r"spec\.runtime\.variant: the runtime image 'onnx-gpu' is not installed"):
        desired.children(service, builders.cluster({"onnx": "registry.example/r:1"}), Step())


@pytest.mark.parametrize("uri", ["s3://bucket/model.onnx", "gs://bucket/model.onnx", "hf://org/model"])
def test_a_scheme_that_is_not_built_is_named(uri: str) -> None:
    with pytest.raises(ValueError, match=r"spec\.model\.uri: .*:// is not built yet"):
        desired.children(builders.service(model={"uri": uri}), builders.cluster(), Step())


def test_url_and_selector() -> None:
    service = builders.service()
    assert desired.url(service) == "http://sentiment.models.svc"
    assert desired.pod_selector(service) == one("Service", service)["spec"]["selector"]
