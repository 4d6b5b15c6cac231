"""The demo on the user's own cluster: images go to a registry that it can pull from."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.cluster import Cluster, borrow
from tests.cluster.places import ROOT, ClusterError
from tests.cluster.progress import step

from . import ask, build, install, speech
from .install import NAMESPACE, OPERATOR_NAMESPACE, OURS, RELEASE, Images

DEFINITION = "inferenceservices.mooring.dev"
_TOOLS = {"kubectl": "kubectl", "helm": "helm 3 or 4", "buildah": "buildah"}
# Verb, resource, namespace: what installing the chart and the example needs.
_RIGHTS = (
    ("create", "namespaces", ""),
    ("create", "customresourcedefinitions", ""),
    ("create", "clusterroles", ""),
    ("create", "clusterrolebindings", ""),
    ("create", "deployments", OPERATOR_NAMESPACE),
    # Whoever hands out rights must hold them: the operator's are the widest here.
    ("delete", "deployments", ""),
    ("patch", "services", ""),
)


def up(context: str, registry: str, insecure: bool) -> None:
    """Builds, pushes, installs, serves, asks.

    Raises:
        ClusterError: a tool, a right, the registry or the cluster stands in the way; the message says what to do.
    """
    with _installed(context, registry, insecure) as (cluster, images):
        service = install.apply(cluster, install.FILE_TYPE, images.model)
        with ask.forwarded(cluster, service) as url:
            ask.ask(ask.client(url), cluster.env())
    again = _client(context, service, ask.CLIENT, "/bin/ls")
    print(ask.next_steps(_prepare(context), again, f"make demo-down CONTEXT={context}"))


def stateful(context: str, registry: str, insecure: bool) -> None:
    """Builds, pushes, installs, and streams sound to a service whose pod is deleted by force meanwhile.

    Raises:
        ClusterError: as `up`; or something was lost.
    """
    with _installed(context, registry, insecure) as (cluster, images):
        service = install.apply(cluster, install.SPEECH, images.speech)
        with ask.forwarded(cluster, service) as url:
            speech.play(cluster, url)
        speech.back(cluster)
    again = _client(context, service, speech.CLIENT)
    print(speech.next_steps(_prepare(context), again, f"make demo-down CONTEXT={context}"))


def down(context: str) -> None:
    """Takes away what `up` made; the definition too, when no service is left that it would take along.

    Raises:
        ClusterError: the cluster cannot be reached, or a namespace is not the demo's.
    """
    with _borrowed(context) as cluster:
        names = [name for name in (NAMESPACE, OPERATOR_NAMESPACE) if _ours(cluster, name)]
        if not names:
            print(f"nothing of the demo stands in context {context}")
            return
        if NAMESPACE in names:
            with step(f"delete namespace {NAMESPACE}"):
                cluster.kubectl("delete", "namespace", NAMESPACE, timeout=300)
        if OPERATOR_NAMESPACE in names:
            with step("uninstall the chart"):
                cluster.helm("uninstall", RELEASE, f"--namespace={OPERATOR_NAMESPACE}", "--ignore-not-found", "--wait")
                cluster.kubectl("delete", "namespace", OPERATOR_NAMESPACE, timeout=300)
                _remove_definition(cluster)


@contextmanager
def _installed(context: str, registry: str, insecure: bool) -> Iterator[tuple[Cluster, Images]]:
    with _borrowed(context) as cluster:
        _check(cluster, context)
        images = build.push(registry, insecure)
        install.install(cluster, images)
        yield cluster, images


def _prepare(context: str) -> list[str]:
    return [f"kubectl config use-context {context}"]


def _client(context: str, service: str, script: Path, *arguments: str) -> str:
    """The command that runs an example's client by a forwarded port."""
    forward = f"kubectl --context {context} -n {NAMESPACE} port-forward service/{service} 8000:80"
    words = [".venv/bin/python", str(script.relative_to(ROOT)), "--url", "http://127.0.0.1:8000", *arguments]
    return f"{forward} & sleep 2; {' '.join(words)}"


def _remove_definition(cluster: Cluster) -> None:
    found = cluster.run("kubectl", "get", "inferenceservices", "--all-namespaces", "-o", "name", check=False)
    if found.returncode:
        return  # it is gone already
    left = found.stdout.split()
    if left:
        print(f"kept the definition: {len(left)} InferenceServices of yours need it")
        return
    cluster.kubectl("delete", "customresourcedefinition", DEFINITION, "--ignore-not-found")


def _ours(cluster: Cluster, namespace: str) -> bool:
    found = cluster.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "json")
    return bool(found.strip()) and OURS in json.loads(found)["metadata"].get("labels", {})


def _check(cluster: Cluster, context: str) -> None:
    path = cluster.env()["PATH"]
    absent = [words for tool, words in _TOOLS.items() if shutil.which(tool, path=path) is None]
    if absent:
        raise ClusterError(f"not installed: {', '.join(absent)}")
    reached = cluster.run("kubectl", "version", "--request-timeout=10s", check=False)
    if reached.returncode:
        raise ClusterError(f"context {context}: the cluster cannot be reached: {reached.stderr.strip()}")
    lacking = [
        f"{verb} {resource}" + (f" in {namespace}" if namespace else "")
        for verb, resource, namespace in _RIGHTS
        if not _may(cluster, verb, resource, namespace)
    ]
    if lacking:
        raise ClusterError(f"context {context} may not {', '.join(lacking)}: use one of a cluster administrator")


def _may(cluster: Cluster, verb: str, resource: str, namespace: str) -> bool:
    where = f"--namespace={namespace}" if namespace else "--all-namespaces"
    result = cluster.run("kubectl", "auth", "can-i", verb, resource, where, check=False)
    return result.stdout.strip() == "yes"


@contextmanager
def _borrowed(context: str) -> Iterator[Cluster]:
    """The context as a cluster, with a kubeconfig of its own that is removed at the end: it holds credentials."""
    if shutil.which("kubectl") is None:
        raise ClusterError("not installed: kubectl")
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="demo-", dir=ROOT / "build") as folder:
        yield borrow(context, Path(folder))
