"""The steps that every cluster sees: the chart, the namespaces, the service, and the wait until it answers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.places import ROOT, ClusterError
from tests.cluster.progress import step

CHART = ROOT / "charts" / "mooring"
FILE_TYPE = ROOT / "examples" / "file-type" / "service.yaml"
SPEECH = ROOT / "examples" / "speech" / "service.yaml"
RELEASE = "mooring"
OPERATOR_NAMESPACE = "mooring-system"
NAMESPACE = "demo"
# On each namespace that the demo made: it changes and deletes no other.
OURS = "mooring.dev/demo"
READY_SECONDS = 180


@dataclass(frozen=True)
class Images:
    """What the cluster pulls, or has on its nodes: each `repository:tag` or `repository@digest`."""

    operator: str
    runtime: str
    model: str
    speech: str
    """The model of examples/speech."""
    router: str = ""
    """Envoy, in front of stateful services; empty: the public image that the chart names."""


def install(cluster: Cluster, images: Images, *settings: str) -> None:
    """Installs the chart, or upgrades it; returns when its pods are ready.

    Args:
        settings: further values of the chart, each `NAME=VALUE`.

    Raises:
        ClusterError: helm or the API server refused, or the pods did not become ready; the message says why.
    """
    with step("install the chart"):
        own_namespace(cluster, OPERATOR_NAMESPACE)
        _forget_interrupted(cluster)
        values = [
            *_image("image", images.operator),
            *_image("runtime.images.onnx", images.runtime),
            *(_image("router.image", images.router) if images.router else ()),
            "--set=runtime.images.onnxGpu.enabled=false",
            *(f"--set={setting}" for setting in settings),
        ]
        try:
            cluster.helm(
                *("upgrade", "--install", RELEASE, str(CHART), f"--namespace={OPERATOR_NAMESPACE}", *values),
                *("--wait", "--timeout=3m", "--force-conflicts"),
                timeout=240,
            )
        except ClusterError as error:
            pods = _shown(cluster, OPERATOR_NAMESPACE, "get", "pods,events")
            raise ClusterError(f"{error}\n{pods}\n{_operator_log(cluster)}") from error


def apply(cluster: Cluster, file: Path, model: str) -> str:
    """Applies an example with its model under the name that it has here, and waits until the service is ready.

    Returns:
        The service's name.

    Raises:
        ClusterError: it did not become ready; the message holds what the service and its pods say.
    """
    with step(f"serve {file.relative_to(ROOT)}"):
        own_namespace(cluster, NAMESPACE)
        service = yaml.safe_load(file.read_text())
        name = str(service["metadata"]["name"])
        service["spec"]["model"]["uri"] = f"oci://{model}"
        kubectl = f"--namespace={NAMESPACE}"
        cluster.kubectl("apply", kubectl, "-f", "-", stdin=json.dumps(service))
        waited = ["wait", kubectl, f"inferenceservice/{name}", "--for=condition=Ready", f"--timeout={READY_SECONDS}s"]
        result = cluster.run("kubectl", *waited, check=False, timeout=READY_SECONDS + 30)
        if result.returncode:
            described = _shown(cluster, NAMESPACE, "describe", f"inferenceservice/{name}")
            pods = _shown(cluster, NAMESPACE, "get", "pods,events")
            reason = f"{name} is not ready: {result.stderr.strip()}"
            raise ClusterError(f"{reason}\n{described}\n{pods}\n{_operator_log(cluster)}")
        return name


def own_namespace(cluster: Cluster, name: str) -> None:
    """Makes a namespace that only takes pods of the level `restricted`, or finds the one that an earlier demo made.

    Raises:
        ClusterError: a namespace of that name stands and is not the demo's.
    """
    found = cluster.kubectl("get", "namespace", name, "--ignore-not-found", "-o", "json")
    if found.strip():
        namespace = json.loads(found)
        if OURS not in namespace["metadata"].get("labels", {}):
            raise ClusterError(f"namespace {name} stands already and is not the demo's: choose another cluster")
        if namespace["status"]["phase"] == "Terminating":
            raise ClusterError(f"namespace {name} is still being deleted: try again in a minute")
        return
    labels = {OURS: "true", "pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def _forget_interrupted(cluster: Cluster) -> None:
    """Removes the record of an install that was killed: helm would refuse every later one."""
    result = cluster.run("helm", "status", RELEASE, f"--namespace={OPERATOR_NAMESPACE}", "-o", "json", check=False)
    if result.returncode:
        return  # there is no release yet
    status: dict[str, Any] = json.loads(result.stdout)
    if status["info"]["status"].startswith("pending"):
        cluster.helm("uninstall", RELEASE, f"--namespace={OPERATOR_NAMESPACE}", "--wait")


def _image(value: str, reference: str) -> list[str]:
    repository, at, digest = reference.partition("@")
    if at:
        return [f"--set-string={value}.repository={repository}", f"--set-string={value}.digest={digest}"]
    repository, _, tag = reference.rpartition(":")
    return [f"--set-string={value}.repository={repository}", f"--set-string={value}.tag={tag}"]


def _operator_log(cluster: Cluster) -> str:
    selector = "app.kubernetes.io/name=mooring-operator"
    return _shown(cluster, OPERATOR_NAMESPACE, "logs", f"--selector={selector}", "--tail=10", "--prefix")


def _shown(cluster: Cluster, namespace: str, *argv: str) -> str:
    result = cluster.run("kubectl", f"--namespace={namespace}", *argv, check=False)
    return f"--- kubectl -n {namespace} {' '.join(argv)}\n{result.stdout}{result.stderr}"
