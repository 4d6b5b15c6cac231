"""KEDA's operator and metrics server as processes beside a control plane, with KEDA's own definitions and rights."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mooring_operator.api import names
from tests.cluster import keda
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import adapters, certificates, foreign
from tests.support.ports import free_port

NAMESPACE, SERVICE = foreign.KEDA
ACCOUNT: Final = "keda-operator"
START_SECONDS: Final = 120
_FREE: Final = '{"metadata": {"finalizers": null}}'
_RIGHTS: Final = (
    *("rbac/role.yaml", "rbac/role_binding.yaml"),
    *("metrics-server/role.yaml", "metrics-server/role_binding.yaml"),
)


@dataclass
class Keda:
    """Both processes. Use as a context: nothing of them, nor of their kinds, is left at the end."""

    cluster: Cluster
    folder: Path
    """Of its own, for certificates and logs."""
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._place = keda.build()
        self.folder.mkdir()
        self._install()
        try:
            self._start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._remove()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Neither process answers while the block runs: they are ended, and started anew."""
        self._end()
        yield
        self._start()

    def show(self, name: str, token: str, authority: Path) -> None:
        """Let KEDA show a token, and know an authority, by a ClusterTriggerAuthentication of this name."""
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": {"token": token, "authority": authority.read_text()},
        }
        told = [
            {"parameter": parameter, "name": name, "key": key}
            for parameter, key in (("bearerToken", "token"), ("ca", "authority"))
        ]
        authentication = {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ClusterTriggerAuthentication",
            "metadata": {"name": name},
            "spec": {"secretTargetRef": told},
        }
        self.cluster.apply(secret, authentication)

    def _install(self) -> None:
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", *self._definitions())
        self.cluster.kubectl("wait", "--for=condition=Established", *self._definitions())
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": NAMESPACE},
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
            "spec": {"ports": [{"name": "https", "port": 443}]},
        }
        self.cluster.apply(namespace, account, service)
        self.cluster.kubectl("apply", *self._rights())
        pair = certificates.signed(certificates.authority(self.folder), self.folder, "tls")
        pair.certificate.rename(self.folder / "tls.crt")
        pair.key.rename(self.folder / "tls.key")
        (self.folder / "ca.pem").rename(self.folder / "ca.crt")

    def _definitions(self) -> list[str]:
        return _files(*sorted((self._place / keda.MANIFESTS / "crd" / "bases").glob("*.yaml")))

    def _rights(self) -> list[str]:
        return _files(*(self._place / keda.MANIFESTS / file for file in _RIGHTS))

    def _start(self) -> None:
        kubeconfig = str(self.cluster.token_kubeconfig(NAMESPACE, ACCOUNT))
        health, metrics, told, served = (free_port() for _ in range(4))
        self._run(
            keda.OPERATOR,
            kubeconfig,
            *(f"--cert-dir={self.folder}", f"--metrics-service-bind-address=127.0.0.1:{told}"),
            *("--enable-prometheus-metrics=false", f"--health-probe-bind-address=127.0.0.1:{health}"),
        )
        wait_until(
            lambda: self._lives() and _answers(f"http://127.0.0.1:{health}/readyz"),
            START_SECONDS,
            f"KEDA to be ready: {self.folder}",
        )
        self._run(
            keda.ADAPTER,
            kubeconfig,
            *(f"--secure-port={served}", f"--cert-dir={self.folder}", f"--port={metrics}"),
            *(f"--tls-cert-file={self.folder}/tls.crt", f"--tls-private-key-file={self.folder}/tls.key"),
            *(f"--{each}-kubeconfig={kubeconfig}" for each in ("lister", "authentication", "authorization")),
            f"--metrics-service-address=127.0.0.1:{told}",
        )
        self.cluster.apply(adapters.endpoints("keda", NAMESPACE, SERVICE, served))
        foreign.serve_metrics(self.cluster, foreign.KEDA)
        wait_until(self._available, START_SECONDS, f"KEDA's metrics to be served: {self.folder}")

    def _run(self, program: str, kubeconfig: str, *options: str) -> None:
        env = {
            **self.cluster.env(),
            "KUBECONFIG": kubeconfig,
            "POD_NAMESPACE": NAMESPACE,
            "WATCH_NAMESPACE": "",
            "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
        }
        with (self.folder / f"{program}.log").open("ab") as log:
            made = subprocess.Popen(
                [self._place / program, *options], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._running.append(made)

    def _lives(self) -> bool:
        assert all(each.poll() is None for each in self._running), f"KEDA has ended; its logs: {self.folder}"
        return True

    def _available(self) -> bool:
        self._lives()
        found = self.cluster.get("apiservice", names.EXTERNAL_METRICS_API_SERVICE)
        conditions = {each["type"]: each["status"] for each in (found.get("status") or {}).get("conditions") or ()}
        return conditions.get("Available") == "True"

    def _end(self) -> None:
        for each in self._running:
            each.kill()
            each.wait()
        self._running.clear()

    def _remove(self) -> None:
        self._end()
        foreign.serve_no_metrics(self.cluster)
        # Nobody is left who would take its finalizers off, and the definitions wait for what has them.
        for kind in ("scaledobjects", "clustertriggerauthentications"):
            listed = json.loads(self.cluster.kubectl("get", kind, "--all-namespaces", "-o", "json"))
            for meta in (item["metadata"] for item in listed["items"]):
                where = ("--namespace", meta["namespace"]) if "namespace" in meta else ()
                self.cluster.kubectl("patch", kind, meta["name"], *where, "--type=merge", f"--patch={_FREE}")
        for given in (self._definitions(), self._rights()):
            self.cluster.kubectl("delete", *given, "--ignore-not-found")
        self.cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")


def _files(*paths: Path) -> list[str]:
    """The options of kubectl that name these files."""
    return [f"--filename={path}" for path in paths]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
