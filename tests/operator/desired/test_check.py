"""The Job that tries a new model before a working pod is taken for it."""

from typing import Any

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.facts import Manifest, Service, Step
from tests.support import builders

GPU = {"type": "nvidia.com/gpu", "product": "NVIDIA-L40S", "minMemory": "40Gi"}
HTTPS = {"uri": "https://store.example/a/model.onnx", "sha256": builders.SHA256}


def job(service: Service, **cluster: Any) -> Manifest:
    step = Step(check=True, hold=True)
    [found] = [
        child for child in desired.children(service, builders.cluster(**cluster), step) if child["kind"] == "Job"
    ]
    return found


def pod(service: Service, **cluster: Any) -> Manifest:
    spec: Manifest = job(service, **cluster)["spec"]["template"]["spec"]
    return spec


def test_it_asks_for_no_accelerator() -> None:
    spec = pod(builders.service(model=HTTPS, accelerator=GPU))
    assert "affinity" not in spec
    assert "tolerations" not in spec
    for container in (*spec["initContainers"], *spec["containers"]):
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    dra = pod(builders.service(model=HTTPS, accelerator={"deviceClass": "gpu.nvidia.com"}))
    assert "resourceClaims" not in dra
    assert all("claims" not in container["resources"] for container in dra["containers"])


def test_it_runs_the_cpu_image_throughout_where_that_can_parse_the_model() -> None:
    spec = pod(builders.service(model=HTTPS, accelerator=GPU))
    images = {container["image"] for container in (*spec["initContainers"], *spec["containers"])}
    assert images == {builders.IMAGES["onnx"]}
    only = {"onnx-gpu": builders.IMAGES["onnx-gpu"]}
    assert pod(builders.service(accelerator=GPU), images=only)["containers"][0]["image"] == only["onnx-gpu"]
    torch: dict[str, Any] = {
        "model": {"uri": "pvc://models/m", "format": "torchscript"},
        "runtime": {"allowUnsafeFormats": True},
    }
    assert pod(builders.service(**torch, accelerator=GPU))["containers"][0]["image"] == builders.IMAGES["torch"]
    own = builders.service(accelerator=GPU, runtime={"image": "registry.example/own:1"})
    assert pod(own)["containers"][0]["image"] == "registry.example/own:1"


def test_it_sees_what_the_server_sees() -> None:
    service = builders.service(model=HTTPS, accelerator=GPU, runtime={"args": ["--verbose"]})
    [deployment] = [c for c in desired.children(service, builders.cluster(), Step()) if c["kind"] == "Deployment"]
    [serving], [checking] = deployment["spec"]["template"]["spec"]["containers"], pod(service)["containers"]
    assert checking["env"] == serving["env"]
    assert checking["args"] == ["check"]  # further arguments are the server's
    assert [mount["name"] for mount in checking["volumeMounts"]] == ["model", "tmp"]


def test_it_ends() -> None:
    spec = job(builders.service(rollout={"progressDeadline": "5m"}))["spec"]
    assert spec["activeDeadlineSeconds"] == 300
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_disruption_says_nothing_about_the_model() -> None:
    [rule] = job(builders.service())["spec"]["podFailurePolicy"]["rules"]
    assert rule["action"] == "Ignore"
    assert rule["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_it_carries_none_of_the_users_labels() -> None:
    template = job(builders.service(pod={"labels": {"app": "web"}, "annotations": {"note": "kept"}}))["spec"][
        "template"
    ]
    assert "app" not in template["metadata"]["labels"]
    assert template["metadata"]["annotations"]["note"] == "kept"


def test_its_annotations_tell_what_it_checks() -> None:
    service = builders.service()
    wanted = {names.ANNOTATION_TEMPLATE_HASH: desired.template_hash(service, builders.cluster())}
    found = job(service)
    assert found["metadata"]["annotations"] == wanted
    assert found["spec"]["template"]["metadata"]["annotations"] == wanted


def test_its_name_changes_with_its_contents() -> None:
    service = builders.service("a" * 40, accelerator=GPU)
    upgraded = {**builders.IMAGES, "onnx": "registry.example/mooring/runtime:2.0"}
    first, second = job(service), job(service, images=upgraded)
    assert first["metadata"]["annotations"] == second["metadata"]["annotations"]
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert len(first["metadata"]["name"]) <= 63


def test_it_never_counts_as_ready() -> None:
    [gate] = pod(builders.service())["readinessGates"]
    assert gate["conditionType"].startswith("mooring.dev/")


def test_a_claim_ties_it_to_the_replicas_node() -> None:
    spec = pod(builders.service(accelerator=GPU))
    [preferred] = spec["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert preferred["podAffinityTerm"]["labelSelector"]["matchLabels"] == desired.pod_selector(builders.service())
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def test_a_node_selector_of_the_users_brings_the_taints_of_its_nodes() -> None:
    service = builders.service(model=HTTPS, accelerator=GPU, pod={"nodeSelector": {"pool": "gpu"}})
    spec = pod(service)
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def test_a_vendors_runtime_class_is_left_out_and_a_sandbox_stays() -> None:
    nvidia = builders.service(accelerator=GPU, pod={"runtimeClassName": "nvidia"})
    assert "runtimeClassName" not in pod(nvidia)
    assert pod(builders.service(pod={"runtimeClassName": "gvisor"}))["runtimeClassName"] == "gvisor"
