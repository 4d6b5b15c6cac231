"""Debian's Prometheus beside the pods of a node cluster: it finds and scrapes them by what docs/autoscaling.md tells.

It is a process in the cluster's network, at the address that the chart's `prometheus.url` names here.
"""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import monitoring, network
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import documented_scraping, e2e_site
from tests.support.prometheus_process import START_SECONDS

STRANGER_PORT = 9091
"""Where it scrapes something that is no pod of ours, and is seldom there."""
NAMESPACE = "monitoring"


@dataclass
class Prometheus:
    """A Prometheus that can be stopped and started; `query` asks it from the host."""

    cluster: Cluster
    folder: Path
    door: str
    """ADDRESS:PORT on the host that leads to it."""
    kubeconfig: Path
    """By which it finds pods."""
    process: subprocess.Popen[bytes] | None = None

    def start(self, scrape: bool = True) -> None:
        """Starts it with what it remembers and waits until it answers; without `scrape` it looks for no pod."""
        configuration = {"scrape_configs": self._jobs() if scrape else []}
        # YAML takes JSON.
        (self.folder / "prometheus.yml").write_text(json.dumps(configuration))
        program = monitoring.program("prometheus")
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
            found = self.series(query)
        except (OSError, ValueError):
            return None
        return float(found[0]["value"][1]) if found else None

    def series(self, query: str) -> list[dict[str, Any]]:
        """Each series of an instant query: its labels as `metric`, and its `value`."""
        with self._ask(f"api/v1/query?{urllib.parse.urlencode({'query': query})}") as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def _jobs(self) -> list[dict[str, Any]]:
        jobs = documented_scraping.jobs(self.kubeconfig, e2e_site.SCRAPE_SECONDS)
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
    if reason := monitoring.unavailable():
        pytest.skip(reason)
    e2e_site.make_namespace(cluster, NAMESPACE)
    kubeconfig = documented_scraping.account(cluster, NAMESPACE)
    address, _, port = e2e_site.PROMETHEUS.partition(":")
    with cluster.door_to("prometheus", address, int(port)) as door:
        made = Prometheus(cluster, folder, door, kubeconfig)
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
