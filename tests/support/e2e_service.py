"""One InferenceService on the cluster, as its user handles it: by kubectl and HTTP."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.support.e2e_watch import Manifest, Watch, is_true, told

READY_SECONDS = 60
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Served:
    """A service by its name; it may not exist yet."""

    cluster: Cluster
    namespace: str
    name: str

    @property
    def url(self) -> str:
        """Where it answers, inside the cluster."""
        return f"http://{self.name}.{self.namespace}.svc"

    def kubectl(self, *argv: str, **options: Any) -> str:
        """kubectl in the service's namespace."""
        return self.cluster.kubectl("--namespace", self.namespace, *argv, **options)

    def apply(self, **spec: Any) -> None:
        """Applies a spec whole, as `kubectl apply -f` of the user's file does."""
        manifest = {
            "apiVersion": "mooring.dev/v1alpha1",
            "kind": "InferenceService",
            "metadata": {"name": self.name},
            "spec": spec,
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def delete(self) -> None:
        """Deletes the service; returns when the service itself is gone, its children may not be."""
        self.kubectl("delete", "infsvc", self.name)

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Every state of the service from now on."""
        with Watch(self.cluster, "inferenceservices.mooring.dev", self.namespace, self.name) as watch:
            yield watch

    def ready(self, seconds: float = READY_SECONDS) -> Manifest:
        """Waits until the present spec serves; returns the service.

        Raises:
            AssertionError: it does not in time; the message holds what the cluster tells about it.
        """
        with self.watch() as watch:
            try:
                return watch.until(is_true("Ready"), seconds, "to be ready")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.account()}") from None

    def live(self) -> Manifest:
        """The service as it stands."""
        return self.cluster.get("infsvc", self.name, "--namespace", self.namespace)

    def deployment(self) -> Manifest:
        """Its Deployment."""
        return self.cluster.get("deployment", self.name, "--namespace", self.namespace)

    def pods(self, component: str = "server") -> list[Manifest]:
        """Its pods of a component, those that are going included."""
        labels = f"mooring.dev/inferenceservice={self.name},app.kubernetes.io/component={component}"
        found: list[Manifest] = self.cluster.get("pods", "--namespace", self.namespace, "-l", labels)["items"]
        return found

    def events(self) -> list[Manifest]:
        """The Events about the service itself."""
        about = f"--field-selector=involvedObject.kind=InferenceService,involvedObject.name={self.name}"
        found: list[Manifest] = self.cluster.get("events", "--namespace", self.namespace, about)["items"]
        return found

    def account(self) -> str:
        """What the cluster tells about the service, for the message of a failed test."""
        pods = self.kubectl("get", "pods,jobs,replicasets", "-o", "wide", check=False)
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)
        logs = "".join(
            f"--- the log of {pod['metadata']['name']}\n"
            + self.kubectl("logs", "--all-containers", "--tail=5", pod["metadata"]["name"], check=False)
            for pod in self.pods()
        )
        return f"{told(self.live())}\n{pods}\n{events}\n{logs}"

    def reach(self) -> None:
        """Waits until its Service takes connections."""
        self.cluster.run(sys.executable, "-c", f"from tests.support.e2e_load import reach; reach({self.url!r})")

    def ask(self, number: int = 7) -> int:
        """Asks an adder through the Service; returns the version that answered."""
        argv = [sys.executable, "-c", _ASK, self.url, self.name, str(number)]
        return int(self.cluster.run(*argv, timeout=30).stdout)

    @contextmanager
    def load(self, *versions: int) -> Iterator["Load"]:
        """Asks without pause while the block runs; the report is complete after it."""
        module = [sys.executable, "-m", "tests.support.e2e_load", self.url]
        argv = self.cluster.command(*module, self.name, *map(str, versions))
        # In the cluster's own namespaces a relative path would still be this checkout's.
        with subprocess.Popen(argv, cwd=ROOT, env=self.cluster.env(), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            load = Load({})
            try:
                assert process.stdout.readline() == "asking\n"
                yield load
            finally:
                process.terminate()
                rest, _ = process.communicate(timeout=30)
            load.report.update(json.loads(rest))


@dataclass(frozen=True)
class Load:
    """What the load client saw; filled when it has ended."""

    report: dict[str, Any]

    def check(self, title: str) -> None:
        """Prints the counts. Raises AssertionError if one request failed."""
        report = self.report
        answered = sum(report["answers"].values())
        by_version = ", ".join(f"{count} by version {version}" for version, count in report["answers"].items())
        print(
            f"\n{title}: {answered} answers ({by_version}), {report['failed']} failures, {report['connections']} "
            f"connections, longest gap {report['longest_gap']} s"
        )
        assert not report["failed"], "\n".join(report["failures"])


def uid_of(pod: Manifest) -> str:
    """What tells an object from another one of its name."""
    return str(pod["metadata"]["uid"])


def restarts(pod: Manifest) -> int:
    """How often kubelet has started containers of the pod anew."""
    return sum(container["restartCount"] for container in pod["status"]["containerStatuses"])


_ASK = """
import http.client, sys
from urllib.parse import urlsplit
from tests.support.e2e_load import ask, reach
url, model, number = sys.argv[1:]
reach(url)
print(ask(http.client.HTTPConnection(urlsplit(url).hostname, 80, timeout=10), model, int(number), (1, 2, 3, 4)))
"""
