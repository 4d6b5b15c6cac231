"""A running cluster, as tests and the command line see it."""

import json
import os
import secrets
import signal
import subprocess
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import assets, controlplane, credentials, network, nodes, processes
from .places import MARK, ClusterError

Manifest = dict[str, Any]


class NotOurs(unittest.SkipTest):
    """The cluster is the user's own: its API server is not restarted, its audit log not read. Skips the test."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that stands.

    Attributes:
        name: its name; "mooring" unless told otherwise.
        state: the folder of its logs, credentials and data.
        address: the loopback address that the API server has on the host and inside; "" for a borrowed cluster.
        nodes: how many real nodes it has; 0 is a control plane alone.
    """

    name: str
    state: Path
    address: str
    nodes: int = 0

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; it serves on the host and inside the cluster's network alike."""
        return self.state / "kubeconfig"

    @property
    def server(self) -> str:
        """The API server's URL."""
        self._own("its address is in its kubeconfig")
        return f"https://{self.address}:{controlplane.API_PORT}"

    @property
    def authority(self) -> Path:
        """The certificate of the authority that signed the API server's."""
        self._own("its authority is in its kubeconfig")
        return self.state / "pki" / "ca.crt"

    def env(self) -> dict[str, str]:
        """The environment for a command that works on this cluster; `kubectl` and `helm` are on its PATH.

        Processes started with it are taken down with the cluster, also after the run that started them was killed.
        """
        folder = assets.folder()
        helm = {f"HELM_{kind.upper()}_HOME": str(self.state / "helm" / kind) for kind in ("cache", "config", "data")}
        return {
            **os.environ,
            **helm,
            MARK: str(self.state),
            # The user's own settings and cache of kubectl stay out of it.
            "KUBERC": "off",
            "KUBECACHEDIR": str(self.state / "kubectl"),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{folder}:{os.environ.get('PATH', '')}",
        }

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` inside the cluster's network, in the working folder of this process.

        Without nodes the cluster is on the host's network and this is `argv` itself.
        """
        return [*network.enter(self.state, Path.cwd()), *argv] if self.nodes and self.address else list(argv)

    def run(
        self, *argv: str, stdin: str | None = None, check: bool = True, timeout: float | None = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside the cluster's network and captures its output as text.

        Raises:
            ClusterError: it failed and `check` is set; the message holds its output.
        """
        result = subprocess.run(
            self.command(*argv),
            env=self.env(),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode:
            raise ClusterError(f"`{' '.join(argv)}` ended with {result.returncode}:\n{result.stdout}{result.stderr}")
        return result

    def kubectl(self, *argv: str, stdin: str | None = None, check: bool = True, timeout: float | None = 60) -> str:
        """Runs kubectl as the administrator; returns what it printed to standard output."""
        return self.run("kubectl", *argv, stdin=stdin, check=check, timeout=timeout).stdout

    def get(self, kind: str, *argv: str) -> Manifest:
        """One object, or a list of them (`items`), as kubectl's JSON."""
        found: Manifest = json.loads(self.kubectl("get", kind, *argv, "-o", "json"))
        return found

    def apply(self, *manifests: Manifest, namespace: str | None = None) -> None:
        """Applies manifests, server-side, as the field manager "test"."""
        documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        target = ["--namespace", namespace] if namespace else []
        self.kubectl("apply", "--server-side", "--field-manager=test", *target, "-f", "-", stdin=documents)

    def helm(self, *argv: str, timeout: float | None = 120) -> str:
        """Runs helm as the administrator; returns what it printed to standard output."""
        return self.run("helm", *argv, timeout=timeout).stdout

    def token_kubeconfig(self, namespace: str, service_account: str) -> Path:
        """A kubeconfig with a fresh token (8 hours) of a service account, and its namespace as the default."""
        token = self.kubectl("create", "token", service_account, "--namespace", namespace, "--duration=8h").strip()
        path = self.state / "kubeconfigs" / f"{namespace}-{service_account}"
        return credentials.write_kubeconfig(path, self.server, self.authority, token, namespace)

    def audit_size(self) -> int:
        """The audit log's length in bytes: where a later `audit` may begin."""
        self._own("its audit log cannot be read")
        return (self.state / "audit.log").stat().st_size

    def audit(self, start: int = 0) -> list[Manifest]:
        """The entries of the audit log (level Metadata, finished requests only) from byte `start` on."""
        self._own("its audit log cannot be read")
        with (self.state / "audit.log").open("rb") as log:
            log.seek(start)
            # The last line may be half-written.
            return [json.loads(line) for line in log if line.endswith(b"\n")]

    def load(self, *archives: Path) -> None:
        """Puts images (OCI archives) on every node."""
        self._own("load images by its registry")
        nodes.load(self.state, self.nodes, archives)

    @contextmanager
    def door(self, service: str, namespace: str, port: int) -> Iterator[str]:
        """A way from the host to a Service: yields "ADDRESS:PORT"; connections to it are made anew inside."""
        address = self.get("service", service, "-n", namespace)["spec"]["clusterIP"]
        with self.door_to(service, address, port) as outside:
            yield outside

    @contextmanager
    def door_to(self, name: str, address: str, port: int) -> Iterator[str]:
        """A way from the host to an address inside, such as a pod's: yields "ADDRESS:PORT" on the host."""
        self._own("forward the port by kubectl")
        forwarder, listening = network.forward(
            self.state, f"door-{name}-{secrets.token_hex(3)}", (self.address, 0), (address, port)
        )
        try:
            yield f"{self.address}:{listening}"
        finally:
            processes.stop(forwarder)
            processes.forget(self.state, forwarder)

    def stop_apiserver(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Stops the API server; etcd and the rest go on."""
        self._own("its API server is not restarted")
        processes.stop(processes.find(self.state, "apiserver"), how, timeout=90)

    def start_apiserver(self) -> None:
        """Starts the API server as it was: same port, certificate and tokens; returns when it is ready."""
        self._own("its API server is not restarted")
        processes.start(self.state, "apiserver", processes.find(self.state, "apiserver").argv)
        controlplane.wait_ready(self.state, self.server)

    def restart_apiserver(self, downtime: float = 0.0) -> None:
        """Kills the API server, leaves it down for `downtime` seconds, starts it; returns when it is ready."""
        self.stop_apiserver()
        time.sleep(downtime)
        self.start_apiserver()

    def restart_controllers(self) -> None:
        """Kills the controllers and starts them; returns when one of them has done something.

        After the API server was away each of them waits, for itself and up to half a minute, before it looks again.
        """
        self._own("its controllers are not restarted")
        controllers = processes.find(self.state, "controller-manager")
        processes.stop(controllers)
        processes.start(self.state, controllers.name, controllers.argv)
        name = f"back-{secrets.token_hex(4)}"
        self.kubectl("create", "namespace", name)
        account = ["get", "serviceaccount", "default", "--namespace", name, "--ignore-not-found"]
        processes.wait_until(lambda: bool(self.kubectl(*account)), 120, f"the controllers of {self.name} to work")
        self.kubectl("delete", "namespace", name, "--wait=false")

    def save(self) -> None:
        """Writes down what `find` reads."""
        (self.state / "cluster.json").write_text(json.dumps({**asdict(self), "state": str(self.state)}))

    def _own(self, otherwise: str) -> None:
        if not self.address:
            raise NotOurs(f"cluster {self.name} is not run by the tests: {otherwise}")


def find(state: Path) -> Cluster:
    """The cluster that stands in a state folder.

    Raises:
        ClusterError: there is none.
    """
    try:
        values = json.loads((state / "cluster.json").read_text())
    except (OSError, ValueError) as error:
        raise ClusterError(f"no cluster stands in {state}: start one by `python -m tests.cluster up`") from error
    return Cluster(values["name"], Path(values["state"]), values["address"], values["nodes"])


def borrow(context: str, state: Path) -> Cluster:
    """The user's own cluster: the named context of KUBECONFIG, copied so that no other can be hit by mistake.

    Raises:
        ClusterError: kubectl knows no such context.
    """
    state.mkdir(parents=True, exist_ok=True)
    argv = ["kubectl", "config", "view", "--minify", "--flatten", "--raw", f"--context={context}"]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ClusterError(f"context {context!r} of KUBECONFIG: {result.stderr.strip()}")
    cluster = Cluster(context, state, address="")
    cluster.kubeconfig.touch(mode=0o600)
    cluster.kubeconfig.write_text(result.stdout)
    subprocess.run(["kubectl", "config", "use-context", context, f"--kubeconfig={cluster.kubeconfig}"], check=True)
    return cluster
