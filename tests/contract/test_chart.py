"""The chart as helm renders it: what it holds, what it refuses, and that it never renders differently."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support import chart
from tests.support.chart import CHART, NAMESPACE, ChartError, Manifest, one, render, template

DIGEST = "sha256:" + "0" * 64


def operator(manifests: list[Manifest]) -> dict[str, Any]:
    [container] = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def env(manifests: list[Manifest]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in operator(manifests)["env"]}


def test_lint_is_clean(helm: Path) -> None:
    result = subprocess.run([helm, "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "[WARNING]" not in result.stdout
    assert "[ERROR]" not in result.stdout


def test_renders_the_same_each_time(helm: Path) -> None:
    # Argo CD renders at each look: what differs between two renders is drift that never ends.
    assert template(helm) == template(helm)


def test_no_template_asks_for_chance_the_clock_or_the_cluster() -> None:
    unstable = re.compile(
        r"\b(rand\w+|uuidv4|now|date\w*|gen[A-Z]\w+|lookup|getHostByName|Release\.(Revision|IsUpgrade))\b"
    )
    found = [
        f"{path.name}: {match.group()}"
        for path in (CHART / "templates").iterdir()
        if path.name != "crds.yaml"
        for action in re.findall(r"{{.*?}}", path.read_text(), re.DOTALL)
        if not action.startswith("{{/*") and (match := unstable.search(action))
    ]
    assert found == []


def test_every_object_is_labelled_and_placed(manifests: list[Manifest]) -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    for manifest in manifests:
        if manifest["kind"] == "CustomResourceDefinition":
            continue
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "mooring"
        # The operator watches what carries its own managed-by label: its own parts must not.
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert ("namespace" in manifest["metadata"]) == (manifest["kind"] not in cluster_wide)
        assert manifest["metadata"].get("namespace", NAMESPACE) == NAMESPACE


def test_the_definition_is_kept_on_uninstall(manifests: list[Manifest]) -> None:
    crd = one(manifests, "CustomResourceDefinition", "inferenceservices.mooring.dev")
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_definition_is_the_generated_one(manifests: list[Manifest]) -> None:
    [path] = (chart.ROOT / "crds").glob("*.yaml")
    written = yaml.safe_load(path.read_text())
    assert one(manifests, "CustomResourceDefinition", written["metadata"]["name"])["spec"] == written["spec"]


def test_the_definition_can_be_left_out(helm: Path) -> None:
    kinds = {manifest["kind"] for manifest in render(helm, "--set", "crds.install=false")}
    assert "CustomResourceDefinition" not in kinds
    assert "Deployment" in kinds


def test_pod_is_restricted(manifests: list[Manifest]) -> None:
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert operator(manifests)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(set(volume) <= {"name", "emptyDir", "secret"} for volume in pod["volumes"])
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_selectors_agree(manifests: list[Manifest]) -> None:
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
        one(manifests, "Service", "mooring-operator-metrics")["spec"]["selector"],
        one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()


def test_images_follow_the_version(manifests: list[Manifest]) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert operator(manifests)["image"] == f"mooring/operator:{version}"
    assert env(manifests)["MOORING_RUNTIME_IMAGE"] == f"mooring/runtime:{version}"
    assert env(manifests)["MOORING_RUNTIME_IMAGE_ONNX_GPU"] == f"mooring/runtime:{version}-onnx-gpu"


def test_a_digest_wins_over_a_tag(helm: Path) -> None:
    options = [f"image.digest={DIGEST}", "image.tag=next", f"runtime.images.onnx.digest={DIGEST}"]
    rendered = render(helm, *(word for option in options for word in ("--set", option)))
    assert operator(rendered)["image"] == f"mooring/operator@{DIGEST}"
    assert env(rendered)["MOORING_RUNTIME_IMAGE"] == f"mooring/runtime@{DIGEST}"


def test_a_variant_that_is_not_enabled_is_not_named(helm: Path) -> None:
    off = env(render(helm, "--set", "runtime.images.onnxGpu.enabled=false"))
    on = env(render(helm, "--set", "runtime.images.torch.enabled=true"))
    assert "MOORING_RUNTIME_IMAGE_ONNX_GPU" not in off
    assert "MOORING_RUNTIME_IMAGE_TORCH" not in off
    assert on["MOORING_RUNTIME_IMAGE_TORCH"].endswith("-torch")


def test_one_replica_has_no_disruption_budget(helm: Path) -> None:
    # With one, a budget of one would never let its node be drained.
    kinds = {manifest["kind"] for manifest in render(helm, "--set", "replicas=1")}
    assert "PodDisruptionBudget" not in kinds


def test_options_reach_the_pod(helm: Path) -> None:
    values = {
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": [{"name": "regcred"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "podLabels": {"team": "ml"},
        "podAnnotations": {"note": "x"},
    }
    template = one(
        render(helm, *(f"--set-json={key}={json.dumps(value)}" for key, value in values.items())), "Deployment"
    )["spec"]["template"]
    for key in ("priorityClassName", "imagePullSecrets", "nodeSelector", "tolerations"):
        assert template["spec"][key] == values[key]
    assert template["metadata"]["labels"]["team"] == "ml"
    assert template["metadata"]["annotations"]["note"] == "x"


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("replica=3", "replica"),
        ("replicas=0", "/replicas"),
        ("image.repo=x", "repo"),
        ("image.repository=Mooring:latest", "/image/repository"),
        ("image.digest=abc", "/image/digest"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("runtime.images.tensorrt.repository=x", "tensorrt"),
        ("runtime.images.onnx.enabled=false", "enabled"),
        ("log.level=LOUD", "/log/level"),
        ("tuning.workers=0", "/tuning/workers"),
        ("monitoringNamespace=Not_A_Name", "/monitoringNamespace"),
        ("networkPolicy.apiServerPorts={0}", "/networkPolicy/apiServerPorts/0"),
        ("podLabels.app\\.kubernetes\\.io/name=mine", "app.kubernetes.io/name"),
        ("crds.keep=false", "keep"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Path, option: str, named: str) -> None:
    with pytest.raises(ChartError, match=re.escape(named)):
        render(helm, "--set", option)


def test_values_are_all_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text()), schema)

    def open_objects(node: dict[str, Any], path: str) -> list[str]:
        inner = node.get("properties", {})
        found = [path] if inner and node.get("additionalProperties") is not False else []
        return found + [name for key, value in inner.items() for name in open_objects(value, f"{path}.{key}")]

    assert open_objects(schema, "values") == []


def test_every_value_is_used() -> None:
    text = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert [key for key in values if f".Values.{key}" not in text] == []


def test_versions_agree() -> None:
    meta = yaml.safe_load((CHART / "Chart.yaml").read_text())
    projects = [(chart.ROOT / name / "pyproject.toml").read_text() for name in ("operator", "runtime")]
    dockerfiles = [(chart.ROOT / name / "Dockerfile").read_text() for name in ("operator", "runtime")]
    assert meta["version"] == meta["appVersion"]
    assert all(f'\nversion = "{meta["appVersion"]}"\n' in text for text in projects)
    assert all(f"\nARG VERSION={meta['appVersion']}\n" in text for text in dockerfiles)


def test_notes_name_the_next_steps(helm: Path) -> None:
    argv = [str(helm), "install", chart.RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client"]
    result = subprocess.run(argv, capture_output=True, text=True, check=True)
    notes = result.stdout.partition("NOTES:")[2]
    for step in ("kubectl apply -f -", "--for=condition=Ready", "/v2/models/my-model/infer", "kubectl explain"):
        assert step in notes
