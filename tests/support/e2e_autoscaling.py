"""Debian's Prometheus beside the pods of a node cluster: it finds and scrapes them by what docs/autoscaling.md tells.

It is a process in the cluster's network, at the address that the chart's `prometheus.url` names here.
"""

import json
import shutil
import subprocess
import textwrap
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import debian, network
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import e2e_site
from tests.support.e2e_autoscaling_discovery import discovering
from tests.support.e2e_service import ROOT
from tests.support.prometheus_process import START_SECONDS, skip_reason

STRANGER_PORT = 9091
"""Where it scrapes something that is no pod of ours, and is seldom there."""
NAMESPACE = "monitoring"
DOCUMENT = ROOT / "docs" / "autoscaling.md"
_ACCOUNT = "prometheus"
_SECONDS_TO_END = 10


def told_jobs(document: str) -> list[dict[str, Any]]:
    """The scrape jobs that a document tells its readers to write: the block of YAML that begins with one.

    Raises:
        ValueError: it has no such block, or more than one.
    """
    fenced = document.split("```yaml\n")[1:]
    blocks = [block.partition("```")[0] for block in fenced if block.lstrip().startswith("- job_name:")]
    if len(blocks) != 1:
        raise ValueError(f"found {len(blocks)} blocks of YAML that begin with `- job_name:`; write one")
    jobs: list[dict[str, Any]] = yaml.safe_load(textwrap.dedent(blocks[0]))
    return jobs


@dataclass
class Prometheus:
    """A Prometheus that can be stopped and started; `query` asks it from the host."""

    cluster: Cluster
    folder: Path
    door: str
    """ADDRESS:PORT on the host that leads to it."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def pods(self) -> Path:
        """The file in which it finds the cluster's pods."""
        return self.folder / "pods.json"

    def start(self, scrape: bool = True) -> None:
        """Starts it with what it remembers and waits until it answers; without `scrape` it looks for no pod."""
        configuration = {"scrape_configs": self._jobs() if scrape else []}
        # YAML takes JSON.
        (self.folder / "prometheus.yml").write_text(json.dumps(configuration))
        program = debian.program("prometheus", "prometheus")
        argv = [str(program), f"--config.file={self.folder / 'prometheus.yml'}", "--log.level=warn"]
        argv += [f"--storage.tsdb.path={self.folder / 'data'}", f"--web.listen-address={e2e_site.PROMETHEUS}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.cluster.command(*argv),
                env=self.cluster.env(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, START_SECONDS, f"Prometheus to answer; its log: {self.folder / 'log'}")

    def stop(self) -> None:
        """Ends it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def forget(self) -> None:
        """Loses all that it has, as one without a volume does. While it is stopped."""
        shutil.rmtree(self.folder / "data")

    def query(self, query: str) -> float | None:
        """The value of an instant query's first series; None where it has none, or nobody answers."""
        try:
            with self._ask(f"api/v1/query?{urllib.parse.urlencode({'query': query})}") as answer:
                found = json.load(answer)["data"]["result"]
        except (OSError, ValueError):
            return None
        return float(found[0]["value"][1]) if found else None

    def _jobs(self) -> list[dict[str, Any]]:
        jobs = told_jobs(DOCUMENT.read_text())
        for job in jobs:
            job["scrape_interval"] = job["scrape_timeout"] = f"{e2e_site.SCRAPE_SECONDS}s"
            assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
            job["file_sd_configs"] = [{"files": [str(self.pods)]}]
        stranger = {"targets": [f"{network.node_address(0)}:{STRANGER_PORT}"]}
        return [*jobs, {"job_name": "stranger", "scrape_interval": "2s", "static_configs": [stranger]}]

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with self._ask("-/ready"):
                return True
        except OSError:
            return False

    def _ask(self, path: str) -> Any:
        return urllib.request.urlopen(f"http://{self.door}/{path}", timeout=2)


@contextmanager
def running(cluster: Cluster, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes, with an account that may see pods; skips the test where there is none to have."""
    if reason := skip_reason():
        pytest.skip(reason)
    debian.unpack("prometheus", debian.PROMETHEUS)
    e2e_site.make_namespace(cluster, NAMESPACE)
    cluster.apply(*_account())
    address, _, port = e2e_site.PROMETHEUS.partition(":")
    with cluster.door_to("prometheus", address, int(port)) as door:
        made = Prometheus(cluster, folder, door)
        with discovering(cluster, cluster.token_kubeconfig(NAMESPACE, _ACCOUNT), made.pods):
            try:
                made.start()
                yield made
            finally:
                made.stop()


@contextmanager
def without_numbers(cluster: Cluster, folder: Path, namespace: str, service: str) -> Iterator[None]:
    """One more replica of a service, as Prometheus sees it, whose page says of its arrivals that they are no number."""
    page = folder / "stranger"
    page.mkdir(exist_ok=True)
    labels = f'mooring_namespace="{namespace}",mooring_service="{service}",model="{service}",version="1"'
    (page / "metrics").write_text(f"mooring_requests_received_total{{{labels}}} NaN\n")
    argv = ["python3", "-m", "http.server", str(STRANGER_PORT), f"--directory={page}"]
    command = cluster.command(*argv, f"--bind={network.node_address(0)}")
    with subprocess.Popen(command, env=cluster.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.terminate()


def _account() -> list[dict[str, Any]]:
    """What lets Prometheus find pods."""
    name, group = {"name": _ACCOUNT}, "rbac.authorization.k8s.io"
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    role = {"apiGroup": group, "kind": "ClusterRole", "name": _ACCOUNT}
    subject = {"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**name, "namespace": NAMESPACE}},
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": name, "rules": [rule]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": name,
            "roleRef": role,
            "subjects": [subject],
        },
    ]
