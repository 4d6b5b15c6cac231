"""Services of every kind of delivery, and what the operator renders for them."""

from pathlib import Path
from typing import Any

import yaml

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.api.v1alpha1 import parse
from mooring_operator.facts import Cluster, Images, Manifest, Service, Step

GOLDEN = Path(__file__).parents[1] / "operator" / "golden"
SHA256 = "a" * 64
ORDINAL = "0"
"""What kubelet puts into the one variable that comes from the pod."""
CLUSTER = Cluster(Images({"onnx": "runtime:onnx", "onnx-gpu": "runtime:onnx-gpu", "torch": "runtime:torch"}))

SPECS: dict[str, dict[str, Any]] = {
    "oci": {"model": {"uri": "oci://registry.example/models/a:1"}},
    "oci-digest": {"model": {"uri": f"oci://registry.example/models/a@sha256:{SHA256}", "sha256": SHA256}},
    "pvc": {"model": {"uri": "pvc://claim/a/model.onnx", "format": "onnx"}},
    "https": {"model": {"uri": "https://models.example/a/model%201.onnx?version=2", "sha256": SHA256}},
    "https-credentials": {
        "model": {
            "uri": "https://models.example:8443/a/model.onnx",
            "sha256": SHA256,
            "credentials": {"secretName": "store"},
        }
    },
    "gpu": {"model": {"uri": "oci://registry.example/models/a:1"}, "accelerator": {"type": "nvidia.com/gpu"}},
}


def golden_specs() -> dict[str, dict[str, Any]]:
    """The specs of the golden files, by the name of their folder."""
    return {path.parent.name: yaml.safe_load(path.read_text())["spec"] for path in sorted(GOLDEN.glob("*/spec.yaml"))}


def service(name: str, spec: dict[str, Any]) -> Service:
    """Return a service of the namespace `models`."""
    parsed = parse({"metadata": {"name": name}, "spec": spec})
    return Service("models", name, "00000000-0000-0000-0000-000000000000", 1, parsed.spec)


def children(name: str, spec: dict[str, Any], step: Step | None = None) -> list[Manifest]:
    """Return the children; those of a step that checks hold the check's Job too."""
    return desired.children(service(name, spec), CLUSTER, step or Step(check=True))


def containers(manifests: list[Manifest]) -> list[Manifest]:
    """Return every container of every pod template that runs an image of the runtime."""
    kinds, router = {"Deployment", "StatefulSet", "Job"}, names.COMPONENT_ROUTER
    ours = [m for m in manifests if m["kind"] in kinds and m["metadata"]["labels"][names.LABEL_COMPONENT] != router]
    pods = [manifest["spec"]["template"]["spec"] for manifest in ours]
    return [each for pod in pods for each in (*pod.get("initContainers", ()), *pod["containers"])]


def environment(container: Manifest) -> dict[str, str]:
    """Return the container's variables, as in the first replica."""
    return {variable["name"]: variable.get("value", ORDINAL) for variable in container["env"]}
