"""Replicas of the metrics adapter as processes beside a control plane, reached by its API server as pods would be."""

import json
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mooring_operator.api import names
from tests.cluster import assets
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import chart, operator
from tests.support.operator import Operator
from tests.support.ports import free_port

API = f"/apis/{names.EXTERNAL_METRICS_GROUP}/{names.EXTERNAL_METRICS_VERSION}"
API_SERVICE = names.EXTERNAL_METRICS_API_SERVICE
SECRET = "mooring-adapter-serving"
READY_SECONDS = 60
_OF_SERVICE = "kubernetes.io/service-name"


@dataclass
class Adapters:
    """The adapter's Service and its replicas. Use as a context: nothing of it is left at the end."""

    cluster: Cluster
    logs: Path
    prometheus_url: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of the chart, without their prefix."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        manifests = chart.render(assets.folder() / "helm", "--set", f"prometheus.url={self.prometheus_url}")
        operator.apply(self.cluster, manifests)
        self._deployment = chart.one(manifests, "Deployment", names.ADAPTER)
        service = chart.one(manifests, "Service", names.ADAPTER)
        # No pod has its labels here: the endpoints are written by hand, as the replicas come and go.
        del service["spec"]["selector"]
        self.cluster.apply(service)
        self._stack.callback(self._remove)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, name: str = "adapter-0", **settings: str) -> "Replica":
        """Start a replica; the API server comes to it when it is ready."""
        replica = self._launched(name, settings)
        replica.wait_ready()
        return replica

    def start_two(self) -> tuple["Replica", "Replica"]:
        """Start two replicas at the same time; the API server comes to both when they are ready."""
        first, second = self._launched("adapter-0", {}), self._launched("adapter-1", {})
        first.wait_ready()
        second.wait_ready()
        return first, second

    def _launched(self, name: str, settings: Mapping[str, str]) -> "Replica":
        kubeconfig = self.cluster.token_kubeconfig(chart.NAMESPACE, names.ADAPTER)
        env = {
            **self.cluster.env(),
            **operator.environment(self._deployment),
            "MOORING_NAMESPACE": chart.NAMESPACE,
            "KUBECONFIG": str(kubeconfig),
        }
        port = free_port()
        own = {"adapter_port": str(port), "adapter_drain_seconds": "1", **self.settings, **settings}
        process = Operator(env, self.logs / f"{name}.log", name, own, command="adapter")
        self._stack.enter_context(process).start()
        return Replica(self.cluster, process, port)

    def available(self) -> bool:
        """Whether the API server finds the adapter well."""
        found = self.cluster.get("apiservice", API_SERVICE)
        conditions = {each["type"]: each["status"] for each in (found.get("status") or {}).get("conditions") or ()}
        return conditions.get("Available") == "True"

    def wait_available(self) -> None:
        """Wait until the API server finds the adapter well."""
        wait_until(self._registered, READY_SECONDS, f"APIService {API_SERVICE} to be made")
        wait_until(self.available, READY_SECONDS, f"APIService {API_SERVICE} to be available")

    def _registered(self) -> bool:
        return bool(self.cluster.kubectl("get", "apiservice", API_SERVICE, "--ignore-not-found", "-o", "name"))

    def ask(self, namespace: str, metric: str, service: str) -> float | None:
        """What the API server answers for a metric of a service, as an autoscaler reads it; None: it says no value."""
        query = f"labelSelector={names.METRIC_LABEL_SERVICE}%3D{service}"
        path = f"{API}/namespaces/{namespace}/{metric}?{query}"
        told = self.cluster.run("kubectl", "get", "--raw", path, check=False)
        return None if told.returncode else sum(amount(item["value"]) for item in json.loads(told.stdout)["items"])

    def _remove(self) -> None:
        # A dead APIService would hold up the deletion of every namespace.
        for kind, place in (
            ("apiservice", []),
            ("secret", ["-n", chart.NAMESPACE]),
            ("service", ["-n", chart.NAMESPACE]),
        ):
            name = {"apiservice": API_SERVICE, "secret": SECRET, "service": names.ADAPTER}[kind]
            self.cluster.kubectl("delete", kind, name, *place, "--ignore-not-found", "--wait=false")
        # Written by hand, they do not go with the Service: of the next test's questions some would come to a dead
        # replica of this one, whose adapter would then look down half of the time.
        of_ours = f"{_OF_SERVICE}={names.ADAPTER}"
        self.cluster.kubectl("delete", "endpointslice", "-n", chart.NAMESPACE, "-l", of_ours)


@dataclass
class Replica:
    """One process of the adapter, and the endpoint that leads to it."""

    cluster: Cluster
    process: Operator
    port: int

    def wait_ready(self) -> None:
        """Wait until it says that it is ready, then let the API server know of it, as kubelet would."""
        wait_until(lambda: self.process.readyz() == "serves", READY_SECONDS, f"{self.process.name}: {self.process.log}")
        self.cluster.apply(endpoints(self.process.name, chart.NAMESPACE, names.ADAPTER, self.port))

    def kill(self) -> None:
        """kill -9; its endpoint goes, as that of a pod that is no more."""
        self.process.kill()
        self.forget()

    def stop(self) -> int:
        """SIGTERM; its endpoint goes as that of a pod that is being deleted. Return its exit status."""
        self.process.process.send_signal(signal.SIGTERM)
        self.forget()
        return self.process.process.wait(operator.STOP_SECONDS)

    def forget(self) -> None:
        """Take its endpoint away."""
        self.cluster.kubectl("delete", "endpointslice", self.process.name, "-n", chart.NAMESPACE)

    def ask(
        self, path: str, context: ssl.SSLContext, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, Any]:
        """Ask the process itself; return the HTTP code and the document. Raises `OSError` without a connection."""
        request = urllib.request.Request(
            f"https://localhost:{self.port}{path}", headers=dict(headers or {}), method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def certificate(self) -> str:
        """What it shows at present, PEM."""
        return ssl.get_server_certificate(("127.0.0.1", self.port))

    def handshake(self, bundle: str) -> None:
        """Connect as the API server does that trusts `bundle`. Raises `OSError` where it would not be taken."""
        context = ssl.create_default_context(cadata=bundle)
        host = f"{names.ADAPTER}.{chart.NAMESPACE}.svc"
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return


def endpoints(name: str, namespace: str, service: str, port: int) -> chart.Manifest:
    """What leads the API server from a Service's port `https` to a process of this machine."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {_OF_SERVICE: service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host_address()], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }


def host_address() -> str:
    """An address of this machine that is no loopback: no endpoint may be one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))  # nothing is sent
        address: str = probe.getsockname()[0]
        return address


def client(certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """What a client shows; it believes any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def signed(authority: Path, folder: Path, name: str) -> tuple[Path, Path]:
    """A client's certificate with this common name, and its key; `authority` is NAME.crt beside NAME.key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    usage = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=clientAuth"]
    signer = ["-CA", str(authority), "-CAkey", str(authority.with_suffix(".key"))]
    names_ = ["-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *new, *usage, *signer, *names_], check=True, capture_output=True)
    return certificate, key


def amount(quantity: str) -> float:
    """The number that a quantity says, of those that the adapter writes."""
    return float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)


def autoscaler(namespace: str, metric: str, target: str, most: int = 10) -> chart.Manifest:
    """An HPA as the operator makes it, of Deployment `demo`; it goes down without delay."""
    selector = {"matchLabels": {names.METRIC_LABEL_SERVICE: "demo"}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "demo", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "demo"},
            "minReplicas": 1,
            "maxReplicas": most,
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": {"name": metric, "selector": selector},
                        "target": {"type": "AverageValue", "averageValue": target},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }


def steadily(cluster: Cluster, namespace: str, seconds: float) -> set[int]:
    """The replicas that Deployment `demo` is told to have, at any time within so many seconds."""
    found, end = set(), time.monotonic() + seconds
    while time.monotonic() < end:
        found.add(int(cluster.get("deployment", "demo", "-n", namespace)["spec"]["replicas"]))
        time.sleep(0.2)
    return found
