"""The operator as a process beside a control plane: what its pod runs, with its pod's environment and rights."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from tests.cluster import assets
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import chart
from tests.support.ports import free_ports

ACCOUNT = "mooring-operator"
USER = f"system:serviceaccount:{chart.NAMESPACE}:{ACCOUNT}"
PEER_KEY = "the key of the tests"
_READS = {"get", "list", "watch"}
START_SECONDS = 60
STOP_SECONDS = 20


@dataclass
class Operator:
    """One operator. Use as a context: it is killed at the end, whatever it does."""

    env: dict[str, str]
    log: Path
    name: str = "operator-0"
    """What its pod is called; two that run at the same time need two names."""
    settings: dict[str, str] = field(default_factory=dict)
    """Variables beside those of the chart, without their prefix."""
    command: str = "run"
    """What it runs: the operator, or its adapter."""
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.health_port, self.metrics_port = free_ports(2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        if self._process is None:
            raise AssertionError(f"{self.name} was not started")
        return self._process

    def start(self) -> Self:
        """Start it, as kubelet would: a second start has the same name and ports."""
        settings = {
            "pod_name": self.name,
            "health_port": str(self.health_port),
            "metrics_port": str(self.metrics_port),
            "log_format": "text",
            **self.settings,
        }
        env = {**self.env, **{f"MOORING_{key.upper()}": value for key, value in settings.items()}}
        argv = [sys.executable, "-m", "mooring_operator", self.command]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        return self

    def start_leading(self) -> Self:
        """Start it and return when it leads and its cache is filled."""
        self.start()
        wait_until(lambda: self._ended() or self.leads(), START_SECONDS, f"{self.name} to lead; see {self.log}")
        if self._ended():
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        return self

    def leads(self) -> bool:
        """Whether it leads and has filled its cache."""
        return self.readyz() == "leads"

    def follows(self) -> bool:
        """Whether it stands by."""
        return self.readyz() == "follows"

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def kill(self) -> None:
        """kill -9, also when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    @contextmanager
    def kept_running(self) -> Iterator[None]:
        """Start it again whenever it ends, as kubelet does, while the block runs."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(0.1):
                if self._ended():
                    self.start()

        thread = threading.Thread(target=keep)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it stand still, with its connections open, while the block runs."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def _ended(self) -> bool:
        return self.process.poll() is not None

    def readyz(self) -> str:
        """What it does, once it is ready for it; empty before."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz", timeout=2) as answer:
                return str(answer.read().decode().strip())
        except (urllib.error.URLError, OSError):
            return ""


def install(cluster: Cluster) -> dict[str, str]:
    """Install what the chart installs but its pods; return the environment of the operator's process.

    Its kubeconfig holds a token of the chart's service account: it has the chart's rights and no other.
    """
    manifests = chart.render(assets.folder() / "helm")
    apply(cluster, manifests)
    told = environment(chart.one(manifests, "Deployment"))
    kubeconfig = str(cluster.token_kubeconfig(chart.NAMESPACE, ACCOUNT))
    # As kubelet mounts the Secret that the first operator has made.
    key = cluster.state / "peer-key"
    key.write_text(PEER_KEY)
    told |= {"MOORING_PEER_KEY_FILE": str(key)}
    return {**cluster.env(), **told, "MOORING_NAMESPACE": chart.NAMESPACE, "KUBECONFIG": kubeconfig}


def apply(cluster: Cluster, manifests: list[chart.Manifest]) -> None:
    """Apply the definitions and the rights of a rendered chart; return when services are served."""
    definitions = [manifest for manifest in manifests if manifest["kind"] == "CustomResourceDefinition"]
    kinds = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": chart.NAMESPACE}}
    rights = [namespace, *(manifest for manifest in manifests if manifest["kind"] in kinds)]
    for group in (definitions, rights):
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(group))
    for definition in definitions:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{definition['metadata']['name']}")
    wait_until(lambda: _listable(cluster), 30, "services to be served")


def environment(deployment: chart.Manifest) -> dict[str, str]:
    """Return the variables that a Deployment gives its container by value."""
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return {variable["name"]: variable["value"] for variable in variables if "value" in variable}


def drop_lease(cluster: Cluster) -> None:
    """Forget who led before: a killed leader's lease would have to run out first."""
    cluster.kubectl("delete", "lease", ACCOUNT, "--namespace", chart.NAMESPACE, "--ignore-not-found")


def written(cluster: Cluster, start: int) -> list[tuple[str, str, str]]:
    """What operators wrote since byte `start` of the audit log: verb, resource and name; Leases left out."""
    found = []
    for entry in cluster.audit(start):
        if entry["user"]["username"] == USER and entry["verb"] not in _READS:
            about = entry.get("objectRef", {})
            if about.get("resource") != "leases":
                found.append((entry["verb"], about.get("resource", ""), about.get("name", "")))
    return found


def elapsed(since: float) -> float:
    """Seconds since a reading of `time.monotonic`."""
    return time.monotonic() - since


def _listable(cluster: Cluster) -> bool:
    return cluster.run("kubectl", "get", "inferenceservices", "-A", check=False).returncode == 0
