"""A real request about real files, and what to try next."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.cluster.cluster import Cluster
from tests.cluster.places import ROOT, ClusterError
from tests.cluster.progress import step

from .install import NAMESPACE, OPERATOR_NAMESPACE

NAME = "file-type"
CLIENT = ROOT / "examples" / "file-type" / "client.py"
FILES = (
    "README.md",
    "Makefile",
    "LICENSE",
    "pyproject.toml",
    "runtime/Dockerfile",
    "charts/mooring/values.yaml",
    "charts/mooring/values.schema.json",
    "examples/argocd/health.lua",
    "tests/cluster/go/kubernetes/main.go",
    "tests/demo/ask.py",
)


def ask(command: Sequence[str], env: Mapping[str, str]) -> None:
    """Runs the example's client; its table of answers goes to the terminal as it is.

    Raises:
        ClusterError: the client failed, or an answer differs from magika's own.
    """
    print(flush=True)
    result = subprocess.run(command, cwd=ROOT, env=dict(env), timeout=120, check=False)
    print(flush=True)
    if result.returncode:
        raise ClusterError(f"`{' '.join(command)}` ended with {result.returncode}")


def client(url: str) -> list[str]:
    """The client's command line."""
    return [sys.executable, str(CLIENT), "--url", url, *FILES]


@contextmanager
def forwarded(cluster: Cluster, name: str) -> Iterator[str]:
    """A service's address on this machine, by `kubectl port-forward`, for as long as the block runs.

    Raises:
        ClusterError: kubectl could not forward; the message is its own.
    """
    argv = ["kubectl", f"--namespace={NAMESPACE}", "port-forward", f"service/{name}", ":80"]
    with subprocess.Popen(
        argv, env=cluster.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            with step("forward a port to the service"):
                line = process.stdout.readline()
            # Forwarding from 127.0.0.1:41234 -> 8000
            _, found, port = line.partition(" ->")[0].rpartition(":")
            if not found:
                raise ClusterError(f"`{' '.join(argv)}` failed: {process.stderr.read().strip()}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def next_steps(prepare: Sequence[str], again: str, down: str) -> str:
    """What to try next with this service."""
    kubectl = f"kubectl -n {NAMESPACE}"
    steps = [
        ("The service, and what the operator made of it", f"{kubectl} get infsvc,deploy,svc,pod"),
        ("What it says of itself", f"{kubectl} describe infsvc {NAME}"),
        ("Another replica", f"{kubectl} scale infsvc {NAME} --replicas=2"),
        (
            "Take a child away, and see it come back",
            f"{kubectl} delete service {NAME}; sleep 2; {kubectl} get service {NAME}",
        ),
        ("Every field of the spec", "kubectl explain infsvc.spec --recursive"),
        (
            "What the operator does",
            f"kubectl -n {OPERATOR_NAMESPACE} logs -l app.kubernetes.io/name=mooring-operator --prefix",
        ),
        ("Ask about a file of yours", again),
        ("Leave nothing", down),
    ]
    return listed(prepare, steps)


def listed(prepare: Sequence[str], steps: Sequence[tuple[str, str]]) -> str:
    """Words, and commands that work as they stand, from the checkout's folder."""
    lines = ["Try next, in this shell:", "", *(f"  {command}" for command in prepare)]
    for text, command in steps:
        lines += ["", f"  # {text}", f"  {command}"]
    return "\n".join(lines)
