"""One installation for all end-to-end tests: the chart as a user installs it, and the images on the nodes."""

import os
import signal
import unittest
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import cgroups, host, network
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.demo import build, install
from tests.support import e2e_models

OPERATOR_NAMESPACE = install.OPERATOR_NAMESPACE
_OPERATOR = b"\0mooring_operator\0run\0"
_OPERATOR_PODS = "app.kubernetes.io/component=operator"

PROMETHEUS = f"{network.node_address(0)}:9090"
"""Where the operator and the metrics adapter look for Prometheus. Only tests of autoscaling start one."""
SCRAPE_SECONDS = 2
ANSWER_SECONDS = 5
"""How long the adapter answers from what it saw last, where it looks closely."""
_CLOSELY = {
    "mooring-operator": {"SCALING_SECONDS": 2},
    # Sixty looks at its registration in the life of a certificate.
    "mooring-adapter": {
        "ADAPTER_REFRESH_SECONDS": 1,
        "ADAPTER_ANSWER_SECONDS": ANSWER_SECONDS,
        "ADAPTER_CERTIFICATE_SECONDS": 600,
    },
}
_SETTINGS = (f"prometheus.url=http://{PROMETHEUS}", f"prometheus.scrapeSeconds={SCRAPE_SECONDS}")


@dataclass(frozen=True)
class Site:
    """The cluster with Mooring on it.

    Attributes:
        models: the reference of each model image of `e2e_models`, by its name.
    """

    cluster: Cluster
    images: install.Images
    models: dict[str, str]

    def uri(self, model: str) -> str:
        """The URI of a model image."""
        return f"oci://{self.models[model]}"

    def spec(self, model: str, **fields: Any) -> dict[str, Any]:
        """A small spec of that model; `fields` are those of a spec and win."""
        return {"model": {"uri": self.uri(model)}, "resources": {"cpu": "250m", "memory": "256Mi"}, **fields}

    def kill_operator(self) -> None:
        """kill -9 for every operator of the cluster: none can give the lease back. kubelet starts them anew.

        It waits longer each time: `renew_operator` before the next.
        """
        assert self._kill_operators(), "no operator runs"

    def _kill_operators(self) -> int:
        running = [pid for pid in cgroups.processes(self.cluster.state) if _OPERATOR in _command(pid)]
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(running)

    def take_operator_away(self) -> None:
        """Returns when none runs, and none will; `bring_operator_back` ends it."""
        self._scale_operator(0)
        argv = ["get", "pods", "--namespace", OPERATOR_NAMESPACE, "-l", _OPERATOR_PODS, "-o", "name"]

        def none_left() -> bool:
            self._kill_operators()  # One that has just begun does not hear that it is to end, and is given its time.
            return not self.cluster.kubectl(*argv).strip()

        wait_until(none_left, 60, "the operator's pods to go")

    def bring_operator_back(self) -> None:
        """Returns at once; one leads within seconds."""
        self._scale_operator(2)

    def _scale_operator(self, pods: int) -> None:
        deployment = ["--namespace", OPERATOR_NAMESPACE, "deployment/mooring-operator"]
        self.cluster.kubectl("scale", *deployment, f"--replicas={pods}")

    def renew_operator(self) -> None:
        """Replaces the operator's pods; returns when the new ones are ready."""
        deployment = ["--namespace", OPERATOR_NAMESPACE, "deployment/mooring-operator"]
        self.cluster.kubectl("rollout", "restart", *deployment)
        self.cluster.kubectl("rollout", "status", *deployment, "--timeout=120s", timeout=150)

    def look_closely(self) -> None:
        """Lets the operator look at the autoscalers every other second instead of every 15, and the adapter at
        Prometheus each second and at its registration each 10, which faults wait for.
        """
        for name, settings in _CLOSELY.items():
            variables = [f"MOORING_{setting}={seconds}" for setting, seconds in settings.items()]
            self.cluster.kubectl("set", "env", "--namespace", OPERATOR_NAMESPACE, f"deployment/{name}", *variables)
        for name in _CLOSELY:
            argv = ["rollout", "status", "--namespace", OPERATOR_NAMESPACE, f"deployment/{name}", "--timeout=120s"]
            self.cluster.kubectl(*argv, timeout=150)

    def delete_operator_pods(self) -> None:
        """Deletes every pod of the operator; they are told to end, and others are made."""
        pods = ["delete", "pod", "--namespace", OPERATOR_NAMESPACE, "-l", _OPERATOR_PODS, "--wait=false"]
        self.cluster.kubectl(*pods)

    def leader(self) -> str:
        """The pod that leads now; empty while none does."""
        lease = self.cluster.get("lease", "mooring-operator", "--namespace", OPERATOR_NAMESPACE)
        return str(lease["spec"].get("holderIdentity") or "")


def _command(pid: int) -> bytes:
    """The command line of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def make(cluster: Cluster) -> Site:
    """Builds what changed, loads it, and installs the chart.

    Raises:
        unittest.SkipTest: the cluster is the user's own, or this host cannot build images.
    """
    cluster.load()  # nothing yet: a cluster that takes no images is found out before they are built
    if reason := host.unable_to_build_images():
        raise unittest.SkipTest(reason)
    built = build.local()
    models = e2e_models.build()
    loaded = (built.operator, built.runtime, built.router, built.model, *models.values())
    cluster.load(*(image.archive for image in loaded))
    install.install(cluster, built.names, *_SETTINGS)
    return Site(cluster, built.names, {name: image.reference for name, image in models.items()})


def make_namespace(cluster: Cluster, name: str) -> None:
    """Makes a namespace whose pods must pass Pod Security `restricted`; returns when pods can be made there."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    account = ["get", "serviceaccount", "default", "--namespace", name, "--ignore-not-found"]
    wait_until(lambda: cluster.kubectl(*account) != "", 30, f"the default account of namespace {name}")
